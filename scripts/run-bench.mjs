// node scripts/run-bench.mjs NAME [options]: compiles bench/NAME.bench.ts (Node 20 starts no TypeScript) and runs it.
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { build } from "tsdown";

const [name, ...options] = process.argv.slice(2);
const outDir = resolve("node_modules/.bench", name);
await build({
  config: false,
  entry: [`bench/${name}.bench.ts`],
  outDir,
  format: "esm",
  platform: "node",
  target: "node20",
  fixedExtension: true,
  dts: false,
  logLevel: "warn",
});
spawn(process.execPath, [resolve(outDir, `${name}.bench.mjs`), ...options], { stdio: "inherit" }).on("exit", (code) => {
  process.exitCode = code ?? 1;
});
