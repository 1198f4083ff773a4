// Adds the optional packages of other platforms which npm left out of package-lock.json because the registry in use does not carry
// them (a mirror may lack them): without an entry `npm ci` refuses the lock file on every platform.
// Run after each change of dependencies: npm run lock
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
const systems = {
  android: "android",
  darwin: "darwin",
  mac: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  netbsd: "netbsd",
  openbsd: "openbsd",
  openharmony: "openharmony",
  sunos: "sunos",
  win: "win32",
  win32: "win32",
  aix: "aix",
};
const processors = ["arm64", "arm", "armv7l", "x64", "ia32", "riscv64", "ppc64", "s390x", "loong64", "wasm32"];

for (const [at, parent] of Object.entries({ ...lock.packages })) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    if (lock.packages[`${at}/node_modules/${name}`] || lock.packages[`node_modules/${name}`]) continue;
    const words = name.split(/[/-]/);
    const os = words.map((word) => systems[word]).find(Boolean);
    const cpu = words.find((word) => processors.includes(word));
    if (!os) throw new Error(`${name}: no system in its name; add it by hand`);
    lock.packages[`node_modules/${name}`] = {
      version,
      ...(cpu && cpu !== "wasm32" ? { cpu: [cpu] } : {}),
      ...(at !== "" && parent.dev ? { dev: true } : {}),
      optional: true,
      os: [os],
    };
    console.log(`added ${name}@${version}`);
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
