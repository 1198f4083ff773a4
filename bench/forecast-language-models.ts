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
  /** Ridge at these horizons, from the table of the cheap models. */
  readonly floor: readonly number[];
  readonly published: readonly (string | undefined)[];
}

const tasks = {
  autotimes: {
    model: forecasters.autotimes,
    lookback: 672,
    horizons: [96, 192, 336, 720],
    parameters: { segment: 96, segments: 7, batch: 32 },
    timed: { readout: 0, stamps: false },
    otherPasses: (2 * 2000 + 20 * 256) / 32,
    pairs: 2600,
    floor: [0.372, 0.4053, 0.4296, 0.4442],
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
    timed: {},
    otherPasses: 5 * 8,
    pairs: 500,
    floor: [0.3708],
    published: [undefined],
  },
} as const satisfies Readonly<Record<string, Task>>;

export type LanguageModelTask = keyof typeof tasks;
export const languageModelTasks = Object.keys(tasks) as LanguageModelTask[];

const variants = ["SmolLM2", "a random model", "no model"] as const;
const [trainEnd, validationEnd, end] = [8640, 11_520, 14_400];
const grid: TimeGrid = { frequency: { unit: "hour", count: 1 }, start: Date.UTC(2016, 6, 1), clock: "local" };

interface Score {
  readonly mse: number;
  readonly error: number;
  readonly pairs: number;
}

interface Result {
  readonly steps: number;
  readonly stepsPerMinute: number;
  readonly scores: readonly Score[];
}

/** Computes what isn't kept yet; trainings go on where they were broken off. */
export async function benchLanguageModels(
  names: readonly LanguageModelTask[],
  channels: readonly Float64Array[],
  options: LanguageModelOptions,
): Promise<string> {
  const { home, minutes, threads, blocks } = options;
  const kept = join(home, "bench", `forecast-language-models-${minutes}-${options.pairs ?? "all"}-${blocks}.json`);
  mkdirSync(join(home, "bench"), { recursive: true });
  const results: Record<string, Result> = existsSync(kept) ? (JSON.parse(readFileSync(kept, "utf8")) as Record<string, Result>) : {};
  const rates: Record<string, { steps: number; stepsPerMinute: number }> = {};
  const ratesPath = kept.replace(".json", "-steps.json");
  if (existsSync(ratesPath)) Object.assign(rates, JSON.parse(readFileSync(ratesPath, "utf8")));
  const { path: base } = await resolveModel("smollm2", { home, quantize });
  for (const name of names) {
    const task: Task = tasks[name];
    for (const variant of variants) {
      const key = `${name} ${variant}`;
      if (results[key] !== undefined) continue;
      const languageModel = variant === "SmolLM2" ? base : variant === "no model" ? "none" : await randomModel(base, home);
      const parameters: ParameterValues = {
        ...task.parameters,
        languageModel,
        threads,
        validation: 0.25,
        ...(blocks > 0 && variant !== "no model" && { blocks }),
      };
      rates[key] ??= variant === "no model" ? rates[`${name} SmolLM2`]! : await calibrate(task, channels, parameters, minutes);
      writeFileSync(ratesPath, JSON.stringify(rates));
      const { steps, stepsPerMinute } = rates[key]!;
      console.log(`${key}: ${steps} steps (${stepsPerMinute.toFixed(1)} a minute)`);
      const histories = channels.map((values) => historyOf(values, 0, validationEnd));
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
      results[key] = { steps, stepsPerMinute, scores: score(task, fitted, channels, options.pairs ?? task.pairs) };
      writeFileSync(kept, JSON.stringify(results));
      const shown = task.horizons.map((horizon, i) => `${horizon}: ${cell(results[key]!.scores[i]!)}`).join("  ");
      console.log(`${key}  ${shown}  (${seconds.toFixed(0)} s of training and loading)`);
    }
  }
  return table(results, options);
}

const historyOf = (values: Float64Array, from: number, to: number): History => ({
  values: values.slice(from, to),
  seasonalPeriod: 24,
  time: { ...grid, start: grid.start + from * 3_600_000 },
});

/** How many steps fill the minutes, beside the solving of the output map: from the times of a few of them. */
async function calibrate(task: Task, channels: readonly Float64Array[], parameters: ParameterValues, minutes: number) {
  const times: number[] = [];
  const histories = channels.map((values) => historyOf(values, 0, validationEnd));
  await task.model.fit(
    histories,
    {
      horizon: Math.max(...task.horizons),
      onProgress: ({ secondsLeft }) => void (secondsLeft !== undefined && times.push(performance.now())),
    },
    { ...parameters, ...task.timed, steps: 6 },
  );
  const between = times.slice(1).map((time, i) => (time - times[i]!) / 1000);
  const seconds = between.sort((a, b) => a - b)[Math.floor(between.length / 2)]!;
  const steps = Math.max(10, Math.floor((minutes * 60 - task.otherPasses * (seconds / 3)) / seconds));
  return { steps, stepsPerMinute: 60 / seconds };
}

/** Mean squared error on the z-scale of the training rows, over a sample of all windows and channels that is the same for every model. */
function score(task: Task, fitted: readonly FittedForecaster[], channels: readonly Float64Array[], pairs: number): readonly Score[] {
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
  const forecasts = task.model.forecastAll(starts, longest);
  const deviations = channels.map((values) => deviationOf(values.subarray(0, trainEnd)));
  return task.horizons.map((horizon) => {
    const errors = places.flatMap(({ channel, origin }, i) => {
      if (origin + horizon > end) return [];
      let sum = 0;
      for (let h = 0; h < horizon; h++) sum += ((forecasts[i]!.mean[h]! - channels[channel]![origin + h]!) / deviations[channel]!) ** 2;
      return [sum / horizon];
    });
    const mse = errors.reduce((sum, value) => sum + value, 0) / errors.length;
    const variance = errors.reduce((sum, value) => sum + (value - mse) ** 2, 0) / (errors.length - 1);
    return { mse, error: Math.sqrt(variance / errors.length), pairs: errors.length };
  });
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

const cell = ({ mse, error }: Score) => `${mse.toFixed(4)} ± ${error.toFixed(4)}`;

function table(results: Record<string, Result>, { minutes, blocks }: LanguageModelOptions): string {
  return languageModelTasks
    .flatMap((name) => {
      const task: Task = tasks[name];
      const row = (label: string, cells: readonly string[]) => `| ${name} | ${label} | ${cells.join(" | ")} |`;
      const own = variants.map((variant) => {
        const result = results[`${name} ${variant}`];
        if (result === undefined)
          return row(
            variant,
            task.horizons.map(() => "not run"),
          );
        const cells = result.scores.map((one, i) => `${cell(one)}${one.mse < task.floor[i]! ? "" : " (floor not beaten)"}`);
        return row(
          `${variant}${blocks > 0 && variant !== "no model" ? `, ${blocks} blocks` : ""}, ${result.steps} steps in ${minutes} min`,
          cells,
        );
      });
      return [
        `| model | over | ${task.horizons.join(" | ")} |`,
        `| --- | --- | ${task.horizons.map(() => "---").join(" | ")} |`,
        ...own,
        row(
          "the floor: linear with the same look-back, every window",
          task.floor.map((value) => value.toFixed(4)),
        ),
        row(
          "published, LLaMA-7B",
          task.published.map((value) => value ?? "–"),
        ),
        "",
      ];
    })
    .join("\n");
}
