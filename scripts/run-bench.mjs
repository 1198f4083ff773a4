// node scripts/run-bench.mjs NAME [options]: compiles bench/NAME.bench.ts (Node 20 starts no TypeScript) and runs it.

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { build } from "tsdown";

const [name, ...options] = process.argv.slice(2);
const outDir = resolve("node_modules/.bench", name);
await build({
  config: false,
  // one output file per source file, as in the package: workers and processes are found beside the files that start them
  entry: [`bench/${name}.bench.ts`, "src/forecasting/worker.ts", "src/decoding/guidance/grammar/compile-worker.ts"],
  unbundle: true,
  copy: [
    { from: "src/chat/*.mjs", to: resolve(outDir, "src/chat") },
    { from: "assets/*", to: resolve(outDir, "assets") },
  ],
  deps: { neverBundle: [/^(?!@oxc-project\/|[A-Za-z]:)[@a-z]/i] }, // all packages but the compiler's own helpers
  outDir,
  format: "esm",
  platform: "node",
  target: "node20",
  fixedExtension: false,
  dts: false,
  logLevel: "warn",
});
mkdirSync(outDir, { recursive: true });
writeFileSync(resolve(outDir, "package.json"), '{"type":"module"}\n'); // ".js" below node_modules belongs to no package
spawn(process.execPath, [resolve(outDir, "bench", `${name}.bench.js`), ...options], { stdio: "inherit" }).on("exit", (code) => {
  process.exitCode = code ?? 1;
});
