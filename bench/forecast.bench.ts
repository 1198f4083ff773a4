/**
 * Long-horizon errors on ETTh1 and ETTh2 by the protocol of the literature: look-back 336, horizons 96 192 336 720, every test
 * window, z-scale of the training rows; all seven channels, and ETTh1's oil temperature alone. Writes the tables of
 * docs/forecast-bench.md.
 *
 *   npm run bench:forecast -- --quick     the models that take seconds: some minutes, computed again each time
 *   npm run bench:forecast                all of them; channels that are done are kept in CHAINRULE_HOME and not computed again
 *   ... -- --fresh                        computes the rows that it runs again, trained weights excepted
 *   ... -- --only spacetime               rows whose label has this text
 *   ... -- --only autotimes [--minutes 15] [--pairs 2600] [--blocks 0] [--threads 2]
 *   ... -- --only time-llm                the forecasters over a language model: minutes of training for each, (window, channel) pairs
 *                                         scored, blocks that run (0: all); trainings go on where they were broken off
 *
 * CHAINRULE_DATA names the folder with ett/ETTh1.csv and ett/ETTh2.csv.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, homedir } from "node:os";
import { join } from "node:path";
import { forecasters } from "../src/forecasting/models/index.ts";
import { createPool, type Pool } from "../src/forecasting/pool.ts";
import type {
  FittedForecaster,
  Forecaster,
  History,
  ParameterValues,
  SavedForecaster,
  TrainedForecaster,
} from "../src/forecasting/types.ts";
import { benchLanguageModels, languageModelSeconds, languageModelTasks } from "./forecast-language-models.ts";
import { writeBetween } from "./page.ts";

const page = "docs/forecast-bench.md";

const lookback = 336;
const horizons = [96, 192, 336, 720] as const;
const [trainEnd, testStart, end] = [8640, 11_520, 14_400];

/** Sums over the windows of a channel, by horizon, and the seconds of fitting and scoring (of old results: none). */
type Sums = Record<number, { squared: number; absolute: number; count: number; seconds?: number }>;
/** MSE and MAE by horizon. */
type Scores = Record<number, { mse: number; mae: number }>;

interface Row {
  readonly label: string;
  readonly model: Forecaster | TrainedForecaster;
  /** Fitted step by step: where it doesn't beat ridge, its cell says so. */
  readonly isLearned?: boolean;
  readonly parameters?: ParameterValues;
  readonly slow?: boolean;
  /** One fit per horizon (direct models), or one for all of them. */
  readonly direct?: boolean;
  /** What is fitted: the training rows of each channel, those of all together, each window, or the training and validation rows, of which the model holds the latter out. */
  readonly on: "channel" | "all channels" | "window" | "channel, validated";
  /** Published or measured elsewhere, MSE / MAE at 96 and 720, with the tolerance that the run must keep. */
  readonly floor?: Readonly<Record<string, { readonly 96: readonly [number, number]; readonly 720: readonly [number, number] }>>;
  readonly tolerance?: number;
}

const naive: readonly Row[] = [
  {
    label: "last value",
    model: forecasters.naive,
    on: "channel",
    tolerance: 1e-4,
    floor: {
      ETTh1: { 96: [1.2944, 0.7132], 720: [1.3351, 0.755] },
      ETTh2: { 96: [0.4317, 0.4216], 720: [0.5945, 0.519] },
      "ETTh1 OT": { 96: [0.0693, 0.2033], 720: [0.1292, 0.2834] },
    },
  },
  {
    label: "window mean",
    model: forecasters["window-mean"],
    parameters: { window: lookback },
    on: "channel",
    tolerance: 1e-4,
    floor: {
      ETTh1: { 96: [0.706, 0.5673], 720: [0.7005, 0.5958] },
      ETTh2: { 96: [0.3846, 0.4186], 720: [0.4319, 0.4546] },
      "ETTh1 OT": { 96: [0.0752, 0.2129], 720: [0.1105, 0.2632] },
    },
  },
  {
    label: "repeat last 24",
    model: forecasters["seasonal-naive"],
    on: "channel",
    tolerance: 1e-4,
    floor: {
      ETTh1: { 96: [0.5122, 0.4333], 720: [0.6554, 0.5141] },
      ETTh2: { 96: [0.3905, 0.3802], 720: [0.5255, 0.4739] },
      "ETTh1 OT": { 96: [0.0715, 0.2105], 720: [0.1252, 0.2796] },
    },
  },
];
const ridge: Row = {
  label: "ridge",
  model: forecasters.ridge,
  parameters: { lookback, penalty: 1e-4 },
  direct: true,
  on: "all channels",
  tolerance: 1e-3,
  floor: {
    ETTh1: { 96: [0.3708, 0.3918], 720: [0.4419, 0.4567] },
    ETTh2: { 96: [0.2727, 0.3354], 720: [0.39, 0.4286] },
    "ETTh1 OT": { 96: [0.0539, 0.1769], 720: [0.0886, 0.2347] },
  },
};
const ar: Row = { label: "AR(336), iterated", model: forecasters.ar, parameters: { order: lookback }, on: "channel" };
const arNet: Row = {
  label: "AR-Net(336), iterated",
  model: forecasters["ar-net"],
  parameters: { order: lookback },
  on: "channel",
  slow: true,
  isLearned: true,
};
const theta: Row = { label: "Theta", model: forecasters.theta, on: "window", slow: true };
const ets: Row = { label: "ETS", model: forecasters.ets, on: "channel", slow: true };
const spacetime = {
  label: "SpaceTime",
  model: forecasters.spacetime,
  parameters: { lookback, steps: 200 }, // one thread: two that share their cores with others wait for each other
  on: "channel, validated",
  slow: true,
  isLearned: true,
} as const;

interface Table {
  /** Its line in the page, between which and the end it is written. */
  readonly marker: string;
  readonly data: readonly { readonly name: string; readonly file: string; readonly channels: readonly number[] }[];
  readonly rows: readonly Row[];
}

const allChannels = [0, 1, 2, 3, 4, 5, 6];
const tables: readonly Table[] = [
  {
    marker: "<!-- table: npm run bench:forecast -->",
    data: ["ETTh1", "ETTh2"].map((name) => ({ name, file: name, channels: allChannels })),
    rows: [...naive, ridge, ar, arNet, { ...spacetime, label: "SpaceTime, trained for 720" }, theta, ets],
  },
  {
    marker: "<!-- table of one channel: npm run bench:forecast -->",
    data: [{ name: "ETTh1 OT", file: "ETTh1", channels: [6] }],
    rows: [...naive, ridge, ar, arNet, { ...spacetime, label: "SpaceTime, trained for each", direct: true }],
  },
];

function readChannels(name: string): readonly Float64Array[] {
  const folder = process.env.CHAINRULE_DATA;
  if (folder === undefined) throw new Error("CHAINRULE_DATA is not set: the folder with ett/ETTh1.csv");
  const lines = readFileSync(join(folder, "ett", `${name}.csv`), "utf8")
    .trim()
    .split("\n")
    .slice(1, end + 1);
  const table = lines.map((line) => line.split(",").slice(1).map(Number));
  return table[0]!.map((_, channel) => Float64Array.from(table, (row) => row[channel]!));
}

function deviationOf(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

const history = (values: Float64Array): History => ({ values, seasonalPeriod: 24 });

/** A channel, and the horizons that one model of it is read at. */
interface Task {
  readonly channel: number;
  readonly values: Float64Array;
  readonly targets: readonly number[];
}

/** A model, and the seconds of fitting it, in this run or, of a kept one, in the run that trained it; NaN where that kept none. */
interface Fitted {
  readonly model: FittedForecaster | undefined;
  readonly seconds: number;
}

/** Fits a row's model to all channels together. */
async function fitTogether({ model, parameters = {} }: Row, tasks: readonly Task[]): Promise<Fitted[]> {
  const start = performance.now();
  const models = await model.fit(
    tasks.map(({ values }) => history(values.slice(0, trainEnd))),
    { horizon: Math.max(...tasks[0]!.targets) },
    parameters,
  );
  const seconds = secondsSince(start) / tasks.length;
  return models.map((one) => ({ model: one, seconds }));
}

/** Fits a row's model to some channels side by side, each in a process of its own; trained ones are kept. */
async function fitEach(pool: Pool, { model, parameters = {}, on }: Row, tasks: readonly Task[]): Promise<Fitted[]> {
  return await Promise.all(
    tasks.map(async ({ values, targets }): Promise<Fitted> => {
      const horizon = Math.max(...targets);
      if (on === "window") return { model: undefined, seconds: 0 };
      const isKept = on === "channel, validated";
      const past = history(values.slice(0, isKept ? testStart : trainEnd));
      const { threads: _, ...same } = parameters; // what the weights depend on
      const identity = createHash("sha256")
        .update(JSON.stringify([model.name, same, horizon]))
        .update(past.values);
      const path = join(home, "bench", `${model.name}-${identity.digest("hex").slice(0, 16)}.json`);
      const saved = isKept ? readJson<SavedForecaster & { seconds?: number }>(path) : undefined;
      if (saved !== undefined) return { model: model.load(saved), seconds: saved.seconds ?? Number.NaN };
      const start = performance.now();
      const combination = [{ name: model.name, parameters }];
      const [fitted] = await pool.run({ kind: "fit", combination, histories: [past], regressors: [undefined], horizon }, [model.name]);
      const seconds = secondsSince(start) / tasks.length; // as many share the time
      if (isKept) {
        writeFileSync(path, JSON.stringify({ ...fitted, seconds }));
        console.log(`  trained ${model.name} for ${horizon} steps: ${path}`);
      }
      return { model: model.load(fitted!), seconds };
    }),
  );
}

const inGroups = <T>(list: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, index) => list.slice(index * size, (index + 1) * size));

const secondsSince = (start: number) => (performance.now() - start) / 1000;

/** Scores every test window of a channel at the horizons given, from forecasts of the longest of them. */
async function score(row: Row, values: Float64Array, fitted: FittedForecaster | undefined, targets: readonly number[]): Promise<Sums> {
  const longest = Math.max(...targets);
  const deviation = deviationOf(values.subarray(0, trainEnd));
  const sums: Sums = Object.fromEntries(targets.map((horizon) => [horizon, { squared: 0, absolute: 0, count: 0 }]));
  for (let origin = testStart; origin + Math.min(...targets) <= end; origin++) {
    const window = history(values.slice(origin - lookback, origin));
    const { mean } = (fitted?.apply(window) ?? (await row.model.fit([window], { horizon: longest }, row.parameters))[0]!).forecast(longest);
    for (const horizon of targets) {
      if (origin + horizon > end) continue;
      const sum = sums[horizon]!;
      for (let h = 0; h < horizon; h++) {
        const error = (mean[h]! - values[origin + h]!) / deviation;
        sum.squared += error * error;
        sum.absolute += Math.abs(error);
      }
      sum.count += horizon;
    }
  }
  for (const horizon of targets) {
    const windows = sums[horizon]!.count / horizon;
    if (windows !== end - testStart - horizon + 1) throw new Error(`scored ${windows} windows at ${horizon}`);
  }
  return sums;
}

function check(row: Row, name: string, scores: Scores): void {
  for (const horizon of [96, 720] as const) {
    const floor = row.floor?.[name]?.[horizon];
    const got = scores[horizon]!;
    if (floor === undefined) continue;
    if (Math.abs(got.mse - floor[0]) > row.tolerance! || Math.abs(got.mae - floor[1]) > row.tolerance!) {
      throw new Error(`${row.label}, ${name}, ${horizon}: ${got.mse} / ${got.mae}, the protocol has ${floor.join(" / ")}`);
    }
  }
}

function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The means over a row's channels; undefined where one is missing. */
function scoresOf(name: string, channels: readonly number[], row: Row): Scores | undefined {
  const all = channels.map((channel) => kept[keyOf(name, row, channel)]);
  if (all.some((sums) => horizons.some((horizon) => sums?.[horizon] === undefined))) return undefined;
  return Object.fromEntries(
    horizons.map((horizon) => {
      const total = (key: "squared" | "absolute" | "count") => all.reduce((sum, one) => sum + one![horizon]![key], 0);
      return [horizon, { mse: total("squared") / total("count"), mae: total("absolute") / total("count") }];
    }),
  );
}

/** Of what is kept: another parameter is another row. */
const keyOf = (name: string, { label, parameters = {} }: Row, channel: number) =>
  `${name} ${label} ${JSON.stringify(parameters)} ${channel}`;

const cell = (value: number) => value.toFixed(4);

function written({ data, rows }: Table): string {
  const lines = data.flatMap(({ name, channels }) =>
    rows.map((row) => {
      const scores = scoresOf(name, channels, row);
      const floor = scoresOf(name, channels, ridge);
      const cells = horizons.map((horizon) => {
        if (scores === undefined) return "not run";
        const isMarked = row.isLearned === true && floor !== undefined && scores[horizon]!.mse >= floor[horizon]!.mse;
        return `${cell(scores[horizon]!.mse)} / ${cell(scores[horizon]!.mae)}${isMarked ? " †" : ""}`;
      });
      return `| ${name} | ${row.label} | ${cells.join(" | ")} |`;
    }),
  );
  return [`| data | model | ${horizons.join(" | ")} |`, `| --- | --- | ${horizons.map(() => "---").join(" | ")} |`, ...lines].join("\n");
}

/** Of fitting and scoring a row; undefined where a channel is missing or was computed before seconds were kept. */
function secondsOf(name: string, channels: readonly number[], row: Row): number | undefined {
  const all = channels.flatMap((channel) => horizons.map((horizon) => kept[keyOf(name, row, channel)]?.[horizon]?.seconds));
  const seconds = all.reduce((sum: number, one) => sum + (one ?? Number.NaN), 0);
  return Number.isNaN(seconds) ? undefined : seconds;
}

/** How long each row took when it was computed, and all together; the forecasters over a language model as kept for 15 minutes each. */
function durations(): string {
  const cells = tables.flatMap(({ data, rows }) =>
    data.flatMap(({ name, channels }) =>
      rows.map((row) => ({ label: `${name} ${row.label}`, isQuick: !row.slow, seconds: secondsOf(name, channels, row) })),
    ),
  );
  const all = [...cells, ...languageModelSeconds(home).map((one) => ({ ...one, isQuick: false }))];
  const line = (label: string, some: typeof all) => {
    const timed = some.flatMap(({ seconds }) => (seconds === undefined ? [] : [seconds]));
    const minutes = timed.reduce((sum, seconds) => sum + seconds, 0) / 60;
    return `| ${label} | ${timed.length === 0 ? "–" : minutes.toFixed(1)} | ${timed.length} of ${some.length} |`;
  };
  const group = (text: string) => all.filter(({ label, isQuick }) => !isQuick && label.includes(text));
  return [
    "| rows | minutes | timed |\n| --- | --- | --- |",
    line(
      "those of `--quick`",
      all.filter(({ isQuick }) => isQuick),
    ),
    ...["AR-Net", "SpaceTime", "Theta", "ETS", "autotimes", "time-llm"].map((text) => line(text, group(text))),
    line("all", all),
  ].join("\n");
}

const isQuick = process.argv.includes("--quick");
const isFresh = process.argv.includes("--fresh");
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1]!.toLowerCase() : "";
const home = process.env.CHAINRULE_HOME ?? join(homedir(), ".cache", "chainrule");
const keptPath = join(home, "bench", "forecast-channels.json");
mkdirSync(join(home, "bench"), { recursive: true });
const kept: Record<string, Sums> = readJson<Record<string, Sums>>(keptPath) ?? {};
await using pool = createPool(cpus().length);
for (const { data, rows } of tables)
  for (const { name, file, channels } of data) {
    const values = readChannels(file);
    for (const row of rows.filter(({ slow, label }) => !(slow && isQuick) && label.toLowerCase().includes(only))) {
      const started = performance.now();
      const isLeft = ({ channel, targets }: Task) =>
        isFresh || (isQuick && !row.slow) || targets.some((horizon) => kept[keyOf(name, row, channel)]?.[horizon] === undefined);
      const all = (row.direct ? horizons.map((horizon) => [horizon]) : [horizons]).map((targets) =>
        channels.map((channel): Task => ({ channel, targets, values: values[channel]! })),
      );
      const isShared = row.on === "all channels";
      // of the others as many side by side as there are cores, so that what is done is soon kept
      const groups = isShared ? all.filter((group) => group.some(isLeft)) : inGroups(all.flat().filter(isLeft), pool.size);
      for (const group of groups) {
        const fitted = await (isShared ? fitTogether(row, group) : fitEach(pool, row, group));
        for (const [index, { channel, targets, values }] of group.entries()) {
          const scoring = performance.now();
          const sums = await score(row, values, fitted[index]!.model, targets);
          const seconds = fitted[index]!.seconds + secondsSince(scoring);
          for (const horizon of targets) sums[horizon]!.seconds = seconds / targets.length;
          const key = keyOf(name, row, channel);
          kept[key] = { ...kept[key], ...sums };
          writeFileSync(keptPath, JSON.stringify(kept));
        }
      }
      const scores = scoresOf(name, channels, row)!;
      check(row, name, scores);
      const shown = horizons.map((horizon) => `${horizon}: ${cell(scores[horizon]!.mse)}/${cell(scores[horizon]!.mae)}`).join("  ");
      console.log(`${name} ${row.label}  ${shown}  (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    }
  }
for (const table of tables) {
  writeBetween(page, table.marker, written(table));
  console.log(`\n${written(table)}`);
}
const option = (name: string, otherwise: number) =>
  process.argv.includes(`--${name}`) ? Number(process.argv[process.argv.indexOf(`--${name}`) + 1]) : otherwise;
const overModels = isQuick ? [] : languageModelTasks.filter((name) => name.includes(only));
if (overModels.length > 0) {
  const settings = {
    minutes: option("minutes", 15),
    ...(process.argv.includes("--pairs") && { pairs: option("pairs", 0) }),
    blocks: option("blocks", 0),
    threads: option("threads", 2),
    isFresh,
  };
  const text = await benchLanguageModels(overModels, readChannels("ETTh1"), { home, ...settings });
  console.log(`\n${text}`);
  // a first look with fewer minutes or blocks is printed only
  if (settings.minutes === 15 && settings.blocks === 0 && settings.pairs === undefined)
    writeBetween(page, "<!-- table: language models -->", text);
}
writeBetween(page, "<!-- table of minutes: npm run bench:forecast -->", durations());
console.log(`\n${durations()}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}; written to ${page}`);
