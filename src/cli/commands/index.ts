import type { Command } from "commander";

/**
 * Every command of the program, one file each, in the order in which help lists them. A command's code is read when it is run:
 * what forecasting needs must not slow down `generate`. It may depend on the arguments after its name.
 */
export const commands: Readonly<Record<string, (args: readonly string[]) => Promise<Command>>> = {
  generate: async () => (await import("./generate.ts")).generate,
  chat: async () => (await import("./chat.ts")).chat,
  tokenize: async () => (await import("./tokenize.ts")).tokenize,
  explain: async (args) => (await import("./explain.ts")).explain(args),
  score: async () => (await import("./score.ts")).score,
  serve: async () => (await import("./serve.ts")).serve,
  pull: async () => (await import("./pull.ts")).pull,
  models: async () => (await import("./models.ts")).models,
  inspect: async () => (await import("./inspect.ts")).inspect,
  quantize: async () => (await import("./quantize.ts")).quantize,
  merge: async () => (await import("./merge.ts")).merge,
  cut: async () => (await import("./cut.ts")).cut,
  bench: async () => (await import("./bench.ts")).bench,
  train: async () => (await import("./train.ts")).train,
  calibrate: async () => (await import("./calibrate.ts")).calibrate,
  distill: async () => (await import("./distill.ts")).distill,
  doctor: async () => (await import("./doctor.ts")).doctor,
  methods: async () => (await import("./methods.ts")).methods,
  forecast: async () => (await import("./forecast.ts")).forecastCommand,
  backtest: async () => (await import("./forecast.ts")).backtestCommand,
};
