/**
 * AutoTimes with a tiny decoder in the language model's place (64 wide, 2 blocks), trained with its maps: what the segments and the roll-out are worth
 * without a language model. ETTh1 (CHAINRULE_DATA), seven channels, look-back 672, segments of 96, one model rolled out once to 720, every test window. Writes
 * the table of docs/forecast-bench.md, beside the same roll-out of one linear map. Ends with 1 where it doesn't beat that at
 * every horizon, and "repeat last 24" at 96 steps.
 *
 *   npm run bench:tiny-decoder                        some minutes; the weights that forecast the validation rows best are kept
 *   npm run bench:tiny-decoder -- --steps 100         a first look at every 20th window, printed only
 *   ... -- --frozen                                   the decoder stays random, as the language model stays as it is; printed only
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  type AutoTimesShape,
  begin,
  embedSegments,
  nextSegmentLoss,
  type SegmentBatch,
  type TensorName,
  tensorNames,
  tensorShapes,
} from "../src/forecasting/models/autotimes/network.ts";
import { rollOut } from "../src/forecasting/models/autotimes/roll-out.ts";
import { SegmentWindows } from "../src/forecasting/models/autotimes/windows.ts";
import { forecasters } from "../src/forecasting/models/index.ts";
import { normalSampler } from "../src/forecasting/models/normal-sampler.ts";
import { Device } from "../src/ggml/index.ts";
import { familyOf, type WeightSource } from "../src/models/index.ts";
import { input, type Shape } from "../src/tensor/index.ts";
import { train } from "../src/training/index.ts";
import { Metadata, type MetadataValue, Parameters } from "../src/weights/index.ts";
import { writeBetween } from "./page.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string" },
    frozen: { type: "boolean", default: false },
    rate: { type: "string", default: "1e-3" },
    threads: { type: "string", default: "2" },
  },
});
const steps = Number(options.steps ?? 400);
const stride = options.steps === undefined ? 1 : 20; // of the windows scored
const [segment, segments, hiddenSize, sequences, seed] = [96, 7, 64, 32, 1];
const lookback = segment * segments;
const horizons = [96, 192, 336, 720];
const [trainEnd, testStart, end] = [8640, 11_520, 14_400];

const folder = process.env.CHAINRULE_DATA;
if (folder === undefined) throw new Error("CHAINRULE_DATA is not set: the folder with ett/ETTh1.csv");
const lines = readFileSync(join(folder, "ett/ETTh1.csv"), "utf8")
  .trim()
  .split("\n")
  .slice(1, end + 1);
const table = lines.map((line) => line.split(",").slice(1).map(Number));
/** Seven channels on the z-scale of the training rows. */
const channels = table[0]!.map((_, channel) => {
  const values = Float64Array.from(table, (row) => row[channel]!);
  const rows = values.subarray(0, trainEnd);
  const mean = rows.reduce((sum, value) => sum + value, 0) / trainEnd;
  const deviation = Math.sqrt(rows.reduce((sum, value) => sum + (value - mean) ** 2, 0) / trainEnd);
  return values.map((value) => (value - mean) / deviation);
});

/** Errors over every test window of all channels, from forecasts of the longest horizon. */
function errorsOf(
  forecastAll: (windows: readonly Float64Array[]) => readonly ArrayLike<number>[],
): Record<number, { mse: number; mae: number }> {
  const sums = Object.fromEntries(horizons.map((horizon) => [horizon, { mse: 0, mae: 0, count: 0 }]));
  for (const values of channels) {
    const origins = Array.from(
      { length: Math.floor((end - testStart - horizons[0]!) / stride) + 1 },
      (_, index) => testStart + index * stride,
    );
    const forecasts = forecastAll(origins.map((origin) => values.slice(origin - lookback, origin)));
    for (const [index, origin] of origins.entries())
      for (const horizon of horizons.filter((one) => origin + one <= end)) {
        const sum = sums[horizon]!;
        for (let h = 0; h < horizon; h++) {
          const error = forecasts[index]![h]! - values[origin + h]!;
          sum.mse += error * error;
          sum.mae += Math.abs(error);
        }
        sum.count += horizon;
      }
  }
  return Object.fromEntries(
    Object.entries(sums).map(([horizon, { mse, mae, count }]) => [horizon, { mse: mse / count, mae: mae / count }]),
  );
}

const u32 = (value: number): MetadataValue => ({ type: "uint32", value });
const metadata = new Metadata("a tiny decoder", [
  ["general.architecture", { type: "string", value: "llama" }],
  ["llama.vocab_size", u32(1)],
  ["llama.context_length", u32(segments)],
  ["llama.embedding_length", u32(hiddenSize)],
  ["llama.block_count", u32(2)],
  ["llama.feed_forward_length", u32(4 * hiddenSize)],
  ["llama.attention.head_count", u32(4)],
  ["llama.attention.head_count_kv", u32(4)],
  ["llama.attention.layer_norm_rms_epsilon", { type: "float32", value: 1e-5 }],
  ["llama.rope.dimension_count", u32(hiddenSize / 4)],
  ["llama.rope.freq_base", { type: "float32", value: 10_000 }],
]);
const family = familyOf("llama");
const noTable = (name: string, shape: Shape) => input(name, "f32", shape); // there are no tokens: in no pass
const wanted: { name: string; shape: Shape }[] = [];
const asked = (name: string, shape: Shape) => {
  wanted.push({ name, shape });
  return noTable(name, shape);
};
family.build(metadata, { get: asked, find: () => undefined, table: noTable } satisfies WeightSource);
const decoder = wanted.filter(({ name }) => name !== "token_embd.weight");

const shape: AutoTimesShape = { segment, hiddenSize, hasStamps: false, embeddingLength: Math.sqrt(hiddenSize) };
const maps = tensorNames.filter((name) => name !== "mix").map((name) => ({ name, shape: tensorShapes(shape)[name] }));
using device = Device.create("cpu", Number(options.threads));
using parameters = Parameters.create(device, options.frozen ? maps : [...decoder, ...maps]);
using frozen = Parameters.create(device, options.frozen ? decoder : []);
const holder = options.frozen ? frozen : parameters;
const normal = normalSampler(seed);
for (const { name, shape: own } of decoder) {
  const values = holder.values(name);
  const deviation = options.frozen ? 1 / Math.sqrt(own.at(-1)!) : 0.02; // random and frozen it must do something
  for (let i = 0; i < values.length; i++) values[i] = own.length === 1 ? 1 : deviation * normal();
}
begin(parameters, shape, seed);
const model = family.build(metadata, {
  get: (name, own) => (name === "token_embd.weight" ? noTable(name, own) : holder.tensor(name)),
  find: () => undefined,
  table: noTable,
});
const tensor = (name: TensorName) => parameters.tensor(name);
const windows = new SegmentWindows(
  channels.map((values) => ({ values: values.slice(0, testStart), trainEnd })),
  { segment, segments, hiddenSize, sequences, seed },
  "ETTh1",
);

let best = { loss: Number.POSITIVE_INFINITY, step: 0, values: new Map<string, Float32Array>() };
const checkpoints = mkdtempSync(join(tmpdir(), "chainrule-tiny-decoder-"));
const start = performance.now();
try {
  await train<SegmentBatch>(
    device,
    {
      ...{ model, parameters, objective: nextSegmentLoss(tensor, sequences * segments, shape), weightBytes: holder.sizeBytes },
      embeddings: () => embedSegments(input("segments", "f32", [sequences * segments, segment]), undefined, tensor, shape),
    },
    windows,
    checkpoints,
    {
      ...{ steps, sequences, length: segments, seed, learningRate: Number(options.rate), beta2: 0.99, weightDecay: 0, floor: 0.05 },
      ...{ validateEvery: Math.max(1, Math.ceil(steps / 20)), validationWindows: 2048 },
    },
    {
      onProgress({ step, validationLoss, secondsLeft }) {
        if (validationLoss === undefined) return;
        console.log(`  step ${step}: validation ${validationLoss.toFixed(4)}, ${secondsLeft.toFixed(0)} s left`);
        if (validationLoss >= best.loss) return;
        best = { loss: validationLoss, step, values: new Map(parameters.names.map((name) => [name, parameters.values(name).slice()])) };
      },
    },
  );
} finally {
  rmSync(checkpoints, { recursive: true });
}
for (const [name, values] of best.values) parameters.values(name).set(values);
const seconds = (performance.now() - start) / 1000;

const own = errorsOf((all) =>
  rollOut(
    { model, device },
    tensor,
    shape,
    all.map((window) => ({ window })),
    Math.max(...horizons),
    { maxSequences: 256 },
  ),
);
const past = channels.map((values) => ({ values: values.slice(0, trainEnd), seasonalPeriod: 24 }));
const [linear] = forecasters.ridge.fit(past, { horizon: segment }, { lookback, penalty: 1e-4 });
const linearErrors = errorsOf((all) =>
  all.map((values) => linear!.apply({ values, seasonalPeriod: 24 }).forecast(Math.max(...horizons)).mean),
);
const cells = (errors: Record<number, { mse: number; mae: number }>) =>
  horizons.map((horizon) => `${errors[horizon]!.mse.toFixed(4)} / ${errors[horizon]!.mae.toFixed(4)}`);
const rows = [
  ["ETTh1, one model rolled out", ...horizons.map(String)],
  ["---", ...horizons.map(() => "---")],
  [`a ${options.frozen ? "random" : "trained"} decoder, 64 wide, 2 blocks`, ...cells(own)],
  ["one linear map of the same tokens (ridge)", ...cells(linearErrors)],
  ["published: without a language model", "0.365 / 0.399", "0.405 / 0.425", "0.429 / 0.441", "0.450 / 0.468"],
].map((row) => `| ${row.join(" | ")} |`);
console.log(
  `\n${rows.join("\n")}\n\n${parameters.count} trained numbers, ${steps} steps of ${sequences} windows in ${seconds.toFixed(0)} s, best after ${best.step}`,
);
console.log(`Node ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
if (options.steps === undefined && !options.frozen)
  writeBetween("docs/forecast-bench.md", "<!-- table: npm run bench:tiny-decoder -->", rows.join("\n"));
const repeated = 0.5122; // of "repeat last 24" at 96 steps
const missed = [
  ...(own[96]!.mse < repeated ? [] : [`${own[96]!.mse.toFixed(4)} at 96 steps, repeating the last day has ${repeated}`]),
  ...horizons
    .filter((horizon) => own[horizon]!.mse >= linearErrors[horizon]!.mse)
    .map((horizon) => `no better than the linear map at ${horizon} steps`),
];
for (const line of missed) console.error(`missed: ${line}`);
if (missed.length > 0) process.exitCode = 1;
