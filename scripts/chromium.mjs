// Where Chromium is, for the tests of the playground. Run by `npm test`: gets it where it is missing and that needs nobody's consent
// (root on Debian, as in a container), otherwise says in a line how to install it; the tests are then skipped by name.
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const elsewhere = [
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/** The path of a Chromium, or undefined. `CHAINRULE_CHROMIUM` names one that is somewhere else. */
export function findChromium() {
  const { CHAINRULE_CHROMIUM: named, PATH = "" } = process.env;
  const inPath = names.flatMap((name) => PATH.split(delimiter).map((folder) => join(folder, name)));
  return (named ? [named] : [...inPath, ...elsewhere]).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const hint =
  "no Chromium, so the playground's tests are skipped; install one (Debian: apt-get install chromium) or name it in CHAINRULE_CHROMIUM";

function isRootOnDebian() {
  if (process.getuid?.() !== 0) return false;
  try {
    return /^ID=debian$/m.test(readFileSync("/etc/os-release", "utf8"));
  } catch {
    return false;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url) && findChromium() === undefined) {
  if (isRootOnDebian()) {
    console.error("installing Chromium with apt-get, for the playground's tests");
    const options = { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
    spawnSync("apt-get", ["update", "-qq"], options);
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium"], options);
  }
  if (findChromium() === undefined) console.error(hint);
}
