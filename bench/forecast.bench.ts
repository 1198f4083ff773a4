/**
 * Long-horizon errors on ETTh1 and ETTh2 by the protocol of the literature: look-back 336, horizons 96 192 336 720, every test
 * window, z-scale of the training rows, all seven channels. Writes the table of docs/forecast-bench.md.
 *
 *   npm run bench:forecast -- --quick     last value, window mean, repeat last 24, ridge, AR: some minutes
 *   npm run bench:forecast                these and ETS and Theta; rows that are done are kept in CHAINRULE_HOME and not computed again
 *
 * CHAINRULE_DATA names the folder with ett/ETTh1.csv and ett/ETTh2.csv.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, homedir } from "node:os";
import { join } from "node:path";
import { forecasters } from "../src/forecasting/models/index.ts";
import type { FittedForecaster, Forecaster, History, ParameterValues } from "../src/forecasting/types.ts";

const lookback = 336;
const horizons = [96, 192, 336, 720] as const;
const [trainEnd, testStart, end] = [8640, 11_520, 14_400];

/** MSE and MAE by horizon. */
type Scores = Record<number, { mse: number; mae: number }>;

interface Row {
  readonly label: string;
  readonly model: Forecaster;
  readonly parameters?: ParameterValues;
  readonly slow?: boolean;
  /** One fit per horizon (direct models), or one for all of them. */
  readonly direct?: boolean;
  /** Published or measured elsewhere, MSE / MAE at 96 and 720, with the tolerance that the run must keep. */
  readonly floor?: Readonly<Record<string, { readonly 96: readonly [number, number]; readonly 720: readonly [number, number] }>>;
  readonly tolerance?: number;
}

const rows: readonly Row[] = [
  {
    label: "last value",
    model: forecasters.naive,
    tolerance: 1e-4,
    floor: { ETTh1: { 96: [1.2944, 0.7132], 720: [1.3351, 0.755] }, ETTh2: { 96: [0.4317, 0.4216], 720: [0.5945, 0.519] } },
  },
  {
    label: "window mean",
    model: forecasters["window-mean"],
    parameters: { window: lookback },
    tolerance: 1e-4,
    floor: { ETTh1: { 96: [0.706, 0.5673], 720: [0.7005, 0.5958] }, ETTh2: { 96: [0.3846, 0.4186], 720: [0.4319, 0.4546] } },
  },
  {
    label: "repeat last 24",
    model: forecasters["seasonal-naive"],
    tolerance: 1e-4,
    floor: { ETTh1: { 96: [0.5122, 0.4333], 720: [0.6554, 0.5141] }, ETTh2: { 96: [0.3905, 0.3802], 720: [0.5255, 0.4739] } },
  },
  {
    label: "ridge",
    model: forecasters.ridge,
    parameters: { lookback, penalty: 1e-4 },
    direct: true,
    tolerance: 1e-3,
    floor: { ETTh1: { 96: [0.3708, 0.3918], 720: [0.4419, 0.4567] }, ETTh2: { 96: [0.2727, 0.3354], 720: [0.39, 0.4286] } },
  },
  { label: "AR(336), per channel, iterated", model: forecasters.ar, parameters: { order: lookback } },
  { label: "Theta, fitted to each window", model: forecasters.theta, slow: true },
  { label: "ETS, smoothing from the training rows, states from each window", model: forecasters.ets, slow: true },
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

/** Scores every test window at the horizons given, from forecasts of the longest of them. */
function score(row: Row, channels: readonly Float64Array[], targets: readonly number[]): Scores {
  const longest = Math.max(...targets);
  const history = (values: Float64Array): History => ({ values, seasonalPeriod: 24 });
  const train = channels.map((values) => history(values.slice(0, trainEnd)));
  const isLocal = row.model === forecasters.theta;
  const fits = isLocal ? [] : row.model.fit(train, { horizon: longest }, row.parameters);
  const sums = targets.map(() => ({ squared: 0, absolute: 0, count: 0 }));
  const shortest = Math.min(...targets);
  for (const [c, values] of channels.entries()) {
    const deviation = deviationOf(values.subarray(0, trainEnd));
    for (let origin = testStart; origin + shortest <= end; origin++) {
      const window = history(values.slice(origin - lookback, origin));
      const fitted: FittedForecaster = isLocal ? row.model.fit([window], { horizon: longest })[0]! : fits[c]!.apply(window);
      const { mean } = fitted.forecast(longest);
      for (const [k, horizon] of targets.entries()) {
        if (origin + horizon > end) continue;
        const sum = sums[k]!;
        for (let h = 0; h < horizon; h++) {
          const error = (mean[h]! - values[origin + h]!) / deviation;
          sum.squared += error * error;
          sum.absolute += Math.abs(error);
        }
        sum.count += horizon;
      }
    }
  }
  for (const [k, horizon] of targets.entries()) {
    const windows = sums[k]!.count / horizon / channels.length;
    if (windows !== end - testStart - horizon + 1) throw new Error(`scored ${windows} windows at ${horizon}`);
  }
  return Object.fromEntries(
    targets.map((horizon, k) => [horizon, { mse: sums[k]!.squared / sums[k]!.count, mae: sums[k]!.absolute / sums[k]!.count }]),
  );
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

const cell = (value: number) => value.toFixed(4);

function table(results: Record<string, Scores>): string {
  const lines = [
    `| data | model | ${horizons.join(" | ")} |`,
    `| --- | --- | ${horizons.map(() => "---").join(" | ")} |`,
    ...["ETTh1", "ETTh2"].flatMap((name) =>
      rows.map((row) => {
        const scores = results[`${name} ${row.label}`];
        const cells = horizons.map((horizon) =>
          scores === undefined ? "not run" : `${cell(scores[horizon]!.mse)} / ${cell(scores[horizon]!.mae)}`,
        );
        return `| ${name} | ${row.label} | ${cells.join(" | ")} |`;
      }),
    ),
  ];
  return lines.join("\n");
}

const isQuick = process.argv.includes("--quick");
const home = process.env.CHAINRULE_HOME ?? join(homedir(), ".cache", "chainrule");
const kept = join(home, "bench", "forecast.json");
mkdirSync(join(home, "bench"), { recursive: true });
let results: Record<string, Scores> = {};
try {
  results = JSON.parse(readFileSync(kept, "utf8")) as Record<string, Scores>;
} catch {
  // the first run
}
for (const name of ["ETTh1", "ETTh2"]) {
  const channels = readChannels(name);
  for (const row of rows) {
    const key = `${name} ${row.label}`;
    if (row.slow && (isQuick || results[key] !== undefined)) continue; // quick rows are always computed again
    const start = performance.now();
    const parts = row.direct ? horizons.map((horizon) => score(row, channels, [horizon])) : [score(row, channels, horizons)];
    const scores: Scores = Object.assign({}, ...parts);
    check(row, name, scores);
    results[key] = scores;
    writeFileSync(kept, JSON.stringify(results));
    const shown = horizons.map((horizon) => `${horizon}: ${cell(scores[horizon]!.mse)}/${cell(scores[horizon]!.mae)}`).join("  ");
    console.log(`${key}  ${shown}  (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
}
const [from, to] = ["<!-- table: npm run bench:forecast -->", "<!-- end of table -->"];
const page = readFileSync("docs/forecast-bench.md", "utf8");
const [before, rest] = [page.slice(0, page.indexOf(from) + from.length), page.slice(page.indexOf(to))];
writeFileSync("docs/forecast-bench.md", `${before}\n\n${table(results)}\n\n${rest}`);
console.log(`\n${table(results)}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}; written to docs/forecast-bench.md`);
