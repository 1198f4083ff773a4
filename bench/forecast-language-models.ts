// Rows of bench/forecast.bench.ts for forecasters over a frozen language model on ETTh1: trained over SmolLM2, over a random model of its shape, and
// without one, the last with as many steps as the first.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { forecasters } from "../src/forecasting/models/index.ts";
import { normalSampler, uniformSampler } from "../src/forecasting/models/normal-sampler.ts";
import type { FittedForecaster, History, ParameterValues, TimeGrid, TrainedForecaster } from "../src/forecasting/types.ts";
import { resolveModel } from "../src/models/index.ts";
import { vocabularyOf, writeRandomModel } from "../src/training/index.ts";
import { openGguf, quantize } from "../src/weights/index.ts";

export interface LanguageModelOptions {
  readonly home: string;
  /** Of training, for each model of SmolLM2's size. */
  readonly minutes: number;
  /** (window, channel) pairs scored; default what the task says. */
  readonly pairs?: number;
  readonly threads: number;
  /** How many blocks of the language model run; 0: all. */
  readonly blocks: number;
  /** Forgets what was kept, trained weights excepted. */
  readonly isFresh: boolean;
}

interface Task {
  readonly model: TrainedForecaster;
  readonly lookback: number;
  readonly horizons: readonly number[];
  readonly parameters: ParameterValues;
  /** What is left out of the few steps that are timed. */
  readonly timed: ParameterValues;
  /** Passes beside the steps. */
  readonly otherPasses: number;
  readonly pairs: number;
  /** MSE / MAE of the published model at these horizons. */
  readonly published: readonly (string | undefined)[];
}

const tasks = {
  autotimes: {
    model: forecasters.autotimes,
    lookback: 672,
    horizons: [96, 192, 336, 720],
    parameters: { segment: 96, segments: 7, batch: 32, readout: 6000 },
    timed: { readout: 0, stamps: false },
    otherPasses: (2 * 6000 + 20 * 256) / 32,
    pairs: 2600,
    published: ["0.360", "0.388", "0.401", "0.406"],
  },
  "time-llm": {
    model: forecasters["time-llm"],
    lookback: 336,
    horizons: [96],
    parameters: {
      ...{ lookback: 336, words: 2000, batch: 8 },
      description: "Electricity transformer temperature: the hourly oil temperature and loads of a power transformer.",
    },
    timed: { readout: 0 },
    otherPasses: 1000 / 8 + 4 * 8,
    pairs: 500,
    published: [undefined],
  },
} as const satisfies Readonly<Record<string, Task>>;

export type LanguageModelTask = keyof typeof tasks;
export const languageModelTasks = Object.keys(tasks) as LanguageModelTask[];

const variants = ["SmolLM2", "a random model", "no model"] as const;
/** What every row is compared with, on the same pairs: ridge of the same look-back, trained for the first horizon and rolled out. */
const floor = "the floor: ridge of the same look-back";
const [trainEnd, validationEnd, end] = [8640, 11_520, 14_400];
const grid: TimeGrid = { frequency: { unit: "hour", count: 1 }, start: Date.UTC(2016, 6, 1), clock: "local" };

/** Mean errors of each pair, in the same order for every row. */
interface Score {
  readonly squared: readonly number[];
  readonly absolute: readonly number[];
}

interface Result {
  readonly steps?: number;
  /** Of training and loading, and of forecasting and scoring. */
  readonly seconds?: readonly [number, number];
  readonly scores: readonly Score[];
}

/** Computes what isn't kept yet; trainings go on where they were broken off. */
export async function benchLanguageModels(
  names: readonly LanguageModelTask[],
  channels: readonly Float64Array[],
  options: LanguageModelOptions,
): Promise<string> {
  const { home, minutes, threads, blocks } = options;
  const kept = keptPath(options);
  mkdirSync(join(home, "bench"), { recursive: true });
  const results = readResults(kept);
  if (options.isFresh) for (const name of names) for (const row of [...variants, floor]) delete results[keyOf(name, row)];
  const rates: Record<string, { steps: number; stepsPerMinute: number }> = {};
  const ratesPath = kept.replace(".json", "-steps.json");
  if (existsSync(ratesPath)) Object.assign(rates, JSON.parse(readFileSync(ratesPath, "utf8")));
  const { path: base } = await resolveModel("smollm2", { home, quantize });
  for (const name of names) {
    const task: Task = tasks[name];
    const pairs = options.pairs ?? task.pairs;
    const histories = channels.map((values) => historyOf(values, 0, validationEnd));
    if (results[keyOf(name, floor)] === undefined) {
      const learned = channels.map((values) => historyOf(values, 0, trainEnd));
      const ridge = forecasters.ridge.fit(learned, { horizon: task.horizons[0]! }, { lookback: task.lookback, penalty: 1e-4 });
      results[keyOf(name, floor)] = { scores: score(task, forecastEach, ridge, channels, pairs) };
      writeFileSync(kept, JSON.stringify(results));
      console.log(`${name}, ${floor}: ${shown(task, results[keyOf(name, floor)]!)}`);
    }
    for (const variant of variants) {
      const key = keyOf(name, variant);
      if (results[key] !== undefined) continue;
      const languageModel = variant === "SmolLM2" ? base : variant === "no model" ? "none" : await randomModel(base, home);
      const parameters: ParameterValues = {
        ...task.parameters,
        languageModel,
        threads,
        validation: 0.25,
        ...(blocks > 0 && variant !== "no model" && { blocks }),
      };
      rates[key] ??= rates[keyOf(name, "SmolLM2")] ?? (await calibrate(task, channels, parameters, minutes));
      writeFileSync(ratesPath, JSON.stringify(rates));
      const { steps, stepsPerMinute } = rates[key]!;
      console.log(`${key}: ${steps} steps (${stepsPerMinute.toFixed(1)} a minute)`);
      const start = performance.now();
      let last = 0;
      const fitted = await task.model.fit(
        histories,
        {
          ...{ horizon: Math.max(...task.horizons), home, onNotice: (notice: string) => console.log(notice) },
          onProgress({ done, total, secondsLeft }) {
            if (performance.now() - last < 30_000) return;
            last = performance.now();
            console.log(`  ${done} of ${total}${secondsLeft === undefined ? "" : `, ${Math.round(secondsLeft)} s left`}`);
          },
        },
        { ...parameters, steps },
      );
      const seconds = (performance.now() - start) / 1000;
      const scores = score(task, (all, horizon) => task.model.forecastAll(all, horizon), fitted, channels, pairs);
      const scoring = (performance.now() - start) / 1000 - seconds;
      results[key] = { steps, seconds: [seconds, scoring], scores };
      writeFileSync(kept, JSON.stringify(results));
      console.log(
        `${key}  ${shown(task, results[key])}  (${seconds.toFixed(0)} s of training and loading, ${scoring.toFixed(0)} s of scoring)`,
      );
    }
  }
  return table(results, options);
}

const keptPath = ({ home, minutes, pairs, blocks }: Pick<LanguageModelOptions, "home" | "minutes" | "pairs" | "blocks">) =>
  join(home, "bench", `forecast-language-models-${minutes}-${pairs ?? "all"}-${blocks}.json`);

const readResults = (path: string): Record<string, Result> =>
  existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Record<string, Result>) : {};

/** What training, loading and scoring each row took, of 15 minutes of training each. */
export function languageModelSeconds(home: string): readonly { readonly label: string; readonly seconds: number | undefined }[] {
  const results = readResults(keptPath({ home, minutes: 15, blocks: 0 }));
  return languageModelTasks.flatMap((name) =>
    variants.map((variant) => {
      const seconds = results[keyOf(name, variant)]?.seconds;
      return { label: `${name} ${variant}`, seconds: seconds && seconds[0] + seconds[1] };
    }),
  );
}

/** Of what is kept: another parameter is another row. */
const keyOf = (name: LanguageModelTask, variant: string): string => `${name} ${variant} ${JSON.stringify(tasks[name].parameters)}`;

const shown = ({ horizons }: Task, { scores }: Result) => horizons.map((horizon, i) => `${horizon}: ${cell(scores[i]!)}`).join("  ");

const forecastEach: TrainedForecaster["forecastAll"] = (fitted, horizon) => fitted.map((one) => one.forecast(horizon));

const historyOf = (values: Float64Array, from: number, to: number): History => ({
  values: values.slice(from, to),
  seasonalPeriod: 24,
  time: { ...grid, start: grid.start + from * 3_600_000 },
});

/** How many steps fill the minutes, beside the other passes: by the quickest of a few, since some are followed by a look at held-out windows. */
async function calibrate(task: Task, channels: readonly Float64Array[], parameters: ParameterValues, minutes: number) {
  const times: number[] = [];
  const histories = channels.map((values) => historyOf(values, 0, validationEnd));
  await task.model.fit(
    histories,
    {
      horizon: Math.max(...task.horizons),
      onProgress: ({ secondsLeft }) => void (secondsLeft !== undefined && times.push(performance.now())),
    },
    { ...parameters, ...task.timed, steps: 12 },
  );
  const seconds = Math.min(...times.slice(1).map((time, i) => (time - times[i]!) / 1000));
  const steps = Math.max(10, Math.floor((minutes * 60 - task.otherPasses * (seconds / 3)) / seconds));
  return { steps, stepsPerMinute: 60 / seconds };
}

/** Errors on the z-scale of the training rows, over a sample of all windows and channels that is the same for every model. */
function score(
  task: Task,
  forecastAll: TrainedForecaster["forecastAll"],
  fitted: readonly FittedForecaster[],
  channels: readonly Float64Array[],
  pairs: number,
): readonly Score[] {
  const uniform = uniformSampler(2024);
  const numOrigins = end - validationEnd - task.horizons[0]! + 1;
  const chosen = new Set<number>();
  while (chosen.size < Math.min(pairs, numOrigins * channels.length)) chosen.add(Math.floor(uniform() * numOrigins * channels.length));
  const places = [...chosen].map((index) => ({
    channel: index % channels.length,
    origin: validationEnd + Math.floor(index / channels.length),
  }));
  const longest = Math.max(...task.horizons);
  const starts = places.map(({ channel, origin }) => fitted[channel]!.apply(historyOf(channels[channel]!, origin - task.lookback, origin)));
  const forecasts = forecastAll(starts, longest);
  const deviations = channels.map((values) => deviationOf(values.subarray(0, trainEnd)));
  return task.horizons.map((horizon) => {
    const [squared, absolute]: [number[], number[]] = [[], []];
    for (const [i, { channel, origin }] of places.entries()) {
      if (origin + horizon > end) continue;
      let [squares, sizes] = [0, 0];
      for (let h = 0; h < horizon; h++) {
        const error = (forecasts[i]!.mean[h]! - channels[channel]![origin + h]!) / deviations[channel]!;
        squares += error ** 2;
        sizes += Math.abs(error);
      }
      squared.push(squares / horizon);
      absolute.push(sizes / horizon);
    }
    return { squared, absolute };
  });
}

function meanOf(values: readonly number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return { mean, error: Math.sqrt(variance / values.length) };
}

function deviationOf(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** SmolLM2's shape and vocabulary with random weights: embeddings as large as its own, so that tokens come in the same size. */
async function randomModel(base: string, home: string): Promise<string> {
  const path = join(home, "bench", "smollm2-random.gguf");
  if (existsSync(path)) return path;
  using file = openGguf(base);
  const number = (key: string) => file.metadata.getInteger(`llama.${key}`, { min: 1, max: 2 ** 24 })!;
  const normal = normalSampler(1);
  await writeRandomModel(path, {
    name: "SmolLM2's shape, random",
    shape: {
      ...{ hiddenSize: number("embedding_length"), blocks: number("block_count"), heads: number("attention.head_count") },
      ...{
        kvHeads: number("attention.head_count_kv"),
        feedForward: number("feed_forward_length"),
        contextLength: number("context_length"),
      },
    },
    tokenizer: vocabularyOf(file),
    seed: 1,
    initial: (tensor, shape) =>
      tensor === "token_embd.weight" ? Float32Array.from({ length: shape[0]! * shape[1]! }, () => 0.13 * normal()) : undefined,
  });
  return path;
}

function cell({ squared, absolute }: Score): string {
  const { mean, error } = meanOf(squared);
  return `${mean.toFixed(4)} ± ${error.toFixed(4)} / ${meanOf(absolute).mean.toFixed(4)}`;
}

/** A row's cell, and what it gains over the floor on the same pairs. */
function against(one: Score, other: Score | undefined): string {
  if (other === undefined) return cell(one);
  const { mean, error } = meanOf(one.squared.map((value, i) => value - other.squared[i]!));
  return `${cell(one)} (${mean < 0 ? "" : "†, "}${mean < 0 ? "−" : "+"}${Math.abs(mean).toFixed(4)} ± ${error.toFixed(4)})`;
}

function table(results: Record<string, Result>, { minutes, blocks }: LanguageModelOptions): string {
  return languageModelTasks
    .flatMap((name) => {
      const task: Task = tasks[name];
      const row = (label: string, cells: readonly string[]) => `| ${name} | ${label} | ${cells.join(" | ")} |`;
      const lowest = results[keyOf(name, floor)];
      const own = variants.map((variant) => {
        const result = results[keyOf(name, variant)];
        if (result === undefined)
          return row(
            variant,
            task.horizons.map(() => "not run"),
          );
        const cells = result.scores.map((one, i) => against(one, lowest?.scores[i]));
        return row(
          `${variant}${blocks > 0 && variant !== "no model" ? `, ${blocks} blocks` : ""}, ${result.steps} steps in ${minutes} min`,
          cells,
        );
      });
      return [
        `| model | over | ${task.horizons.join(" | ")} |`,
        `| --- | --- | ${task.horizons.map(() => "---").join(" | ")} |`,
        ...own,
        row(floor, lowest?.scores.map(cell) ?? task.horizons.map(() => "not run")),
        row(
          "published, LLaMA-7B",
          task.published.map((value) => value ?? "–"),
        ),
        "",
      ];
    })
    .join("\n");
}
