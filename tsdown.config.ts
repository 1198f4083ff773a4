import { defineConfig } from "tsdown";

export default defineConfig({
  entry: [
    "src/index.ts",
    "src/cli/main.ts",
    "src/forecasting/index.ts",
    "src/forecasting/worker.ts",
    "src/server/index.ts",
    "src/server/engine-process.ts",
    "src/server/forecast-process.ts",
    "src/training/index.ts",
    "src/decoding/guidance/grammar/compile-worker.ts",
  ],
  format: "esm",
  platform: "node",
  target: "node20",
  unbundle: true, // one output file per source file: stack traces, workers and lazy imports keep their paths
  fixedExtension: false,
  dts: true,
  copy: [{ from: "src/chat/*.mjs", flatten: false }], // the process that renders templates: Node 20 starts no TypeScript
  logLevel: "warn",
});
