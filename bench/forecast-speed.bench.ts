/**
 * Automatic ETS, Theta and AR against statsforecast's AutoETS and AutoTheta: time on one thread, information criterion, error.
 *
 *   npm run bench:forecast-speed                      1,000 simulated monthly series
 *   npm run bench:forecast-speed -- --m4              100 series of the M4 hourly set (CHAINRULE_DATA)
 *   ... -- --series 40                                a first look, printed only
 *
 * The series are divided into 20 chunks. Each is fitted by both, one after the other, the first turn alternating; the ratio of a chunk's times is one
 * pair. The table of docs/forecast-bench.md has the median of the pairs with its 95 % bootstrap interval, and keeps the other set's row. Ends with 1
 * where a bar is missed: the median ratio of all three models together at least 1, the AICc no worse than the reference's by more than 0.1 % on 95 % of the
 * series, mean MASE not above the reference's by more than 1 %. To be better than the reference by more than that is no miss.
 *
 * PYTHON names an interpreter with statsforecast (default python3), which is started once and warmed up as we are. The reference has no automatic AR by
 * least squares: ours counts in our time and nothing stands for it in theirs.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, homedir, loadavg } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { forecasters } from "../src/forecasting/models/index.ts";
import { normalSampler } from "../src/forecasting/models/normal-sampler.ts";
import type { History } from "../src/forecasting/types.ts";
import { writeBetween } from "./page.ts";
import { summarize } from "./statistics.ts";

interface Item {
  readonly values: Float64Array;
  readonly future: Float64Array;
  readonly period: number;
}

/** Level, slope and season as random walks of different strength, noise additive or multiplicative; positive but for a few. */
function simulatedMonthly(numSeries: number, horizon: number): readonly Item[] {
  const normal = normalSampler(2024);
  const uniform = (low: number, high: number) => low + (high - low) * (0.5 + Math.atan(normal()) / Math.PI);
  return Array.from({ length: numSeries }, (_, index) => {
    const numValues = Math.round(uniform(60, 180));
    const isMultiplicative = index % 5 < 3;
    const strength = index % 4 === 0 ? 0 : uniform(0, 0.3);
    const [noise, wander, drift] = [uniform(0.01, 0.12), uniform(0, 0.06), 0.003 * normal()];
    const phase = uniform(0, 12);
    const shape = Array.from({ length: 12 }, (_, month) => strength * (Math.sin((2 * Math.PI * (month + phase)) / 12) + 0.2 * normal()));
    let level = uniform(50, 2000);
    const base = level;
    const values = Float64Array.from({ length: numValues + horizon }, (_, t) => {
      level += drift * base + wander * (isMultiplicative ? level : base) * normal() * 0.5;
      const season = shape[t % 12]!;
      return isMultiplicative ? level * (1 + season) * (1 + noise * normal()) : level + base * (season + noise * normal());
    });
    return { values: values.slice(0, numValues), future: values.slice(numValues), period: 12 };
  });
}

function m4Hourly(numSeries: number): readonly Item[] {
  const folder = process.env.CHAINRULE_DATA;
  if (folder === undefined) throw new Error("CHAINRULE_DATA is not set: the folder with m4/Hourly-train.csv");
  const read = (name: string) =>
    readFileSync(join(folder, "m4", name), "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) =>
        Float64Array.from(
          line
            .split(",")
            .slice(1)
            .map((text) => text.replaceAll('"', "").trim())
            .filter((text) => text !== ""),
          Number,
        ),
      );
  const [train, test] = [read("Hourly-train.csv"), read("Hourly-test.csv")];
  const stride = Math.max(1, Math.floor(train.length / numSeries));
  return train
    .map((values, index) => ({ values, future: test[index]!, period: 24 }))
    .filter((_, index) => index % stride === 0)
    .slice(0, numSeries);
}

function mase({ values, future, period }: Item, mean: ArrayLike<number>): number {
  let scale = 0;
  for (let t = period; t < values.length; t++) scale += Math.abs(values[t]! - values[t - period]!) / (values.length - period);
  return future.reduce((sum, value, h) => sum + Math.abs(value - mean[h]!), 0) / future.length / scale;
}

/** One model on one chunk: seconds, forecasts, and the information criteria of ETS. */
interface Fits {
  readonly seconds: number;
  readonly means: readonly ArrayLike<number>[];
  readonly aicc: readonly (number | null)[];
}
type Name = "ets" | "theta" | "ar";

function fitOurs(name: Name, chunk: readonly Item[]): Fits {
  const histories = chunk.map(({ values, period }): History => ({ values, seasonalPeriod: period }));
  const start = performance.now();
  const fits = forecasters[name].fit(histories, { horizon });
  const means = fits.map((fitted) => fitted.forecast(horizon).mean);
  return { seconds: (performance.now() - start) / 1000, means, aicc: fits.map(({ training }) => training?.aicc ?? null) };
}

interface Answer {
  readonly seconds: { readonly ets: number; readonly theta: number };
  readonly fits: readonly {
    readonly ets: { readonly aicc: number | null; readonly mean: number[] };
    readonly theta: { readonly mean: number[] };
  }[];
}

function openReference() {
  const child = spawn(process.env.PYTHON ?? "python3", ["bench/forecast_reference.py"], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the reference ended; PYTHON must name an interpreter with statsforecast");
    return JSON.parse(value) as unknown;
  };
  return {
    versions: async () => ((await answer()) as { versions: Record<string, string> }).versions,
    async fit(chunk: readonly Item[]): Promise<Readonly<Record<"ets" | "theta", Fits>>> {
      child.stdin.write(
        `${JSON.stringify({ horizon, series: chunk.map(({ values, period }) => ({ values: Array.from(values), period })) })}\n`,
      );
      const { seconds, fits } = (await answer()) as Answer;
      return {
        ets: { seconds: seconds.ets, means: fits.map(({ ets }) => ets.mean), aicc: fits.map(({ ets }) => ets.aicc) },
        theta: { seconds: seconds.theta, means: fits.map(({ theta }) => theta.mean), aicc: [] },
      };
    },
    end: () => child.stdin.end(),
  };
}

const { values: options } = parseArgs({ options: { series: { type: "string" }, m4: { type: "boolean", default: false } } });
const numPairs = 20;
const numSeries = Number(options.series ?? (options.m4 ? 100 : 1000));
if (!(Number.isSafeInteger(numSeries) && numSeries >= numPairs)) throw new Error(`--series must be an integer >= ${numPairs}`);
const horizon = options.m4 ? 48 : 18;
const items = options.m4 ? m4Hourly(numSeries) : simulatedMonthly(numSeries, horizon);
const label = `${items.length} ${options.m4 ? "of M4 hourly" : "simulated monthly"}`;
console.log(
  `${label}, horizon ${horizon}, one thread, ${numPairs} pairs, Node ${process.version}, ${cpus()[0]?.model}, load ${loadavg()[0]!.toFixed(1)}`,
);

const reference = openReference();
const versions = await reference.versions();
console.log(`reference: ${JSON.stringify(versions)}`);
const names = ["ets", "theta", "ar"] as const;
const warm = items.slice(0, Math.ceil(items.length / numPairs));
for (const name of names) fitOurs(name, warm);
await reference.fit(warm);

const chunks = Array.from({ length: numPairs }, (_, index) => items.filter((_, at) => at % numPairs === index));
const ours: Record<Name, Fits[]> = { ets: [], theta: [], ar: [] };
const theirs: Record<"ets" | "theta", Fits[]> = { ets: [], theta: [] };
for (const [index, chunk] of chunks.entries()) {
  const weFit = () => {
    for (const name of names) ours[name].push(fitOurs(name, chunk));
  };
  const theyFit = async () => {
    const fits = await reference.fit(chunk);
    for (const name of ["ets", "theta"] as const) theirs[name].push(fits[name]);
  };
  if (index % 2 === 0) weFit();
  await theyFit();
  if (index % 2 === 1) weFit();
  const spent = (fits: Record<string, Fits[]>) => Object.values(fits).reduce((sum, list) => sum + list[index]!.seconds, 0);
  console.log(`  pair ${index + 1}: ${spent(ours).toFixed(2)} s, reference ${spent(theirs).toFixed(2)} s`);
}
reference.end();

const average = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const errorsOf = (fits: readonly Fits[]) => chunks.flatMap((chunk, at) => chunk.map((item, i) => mase(item, fits[at]!.means[i]!)));
const ratio = (own: readonly Name[], other: readonly ("ets" | "theta")[]) =>
  summarize(
    chunks.map((_, at) => {
      const sum = (lists: readonly Fits[][]) => lists.reduce((total, list) => total + list[at]!.seconds, 0);
      return sum(other.map((name) => theirs[name])) / sum(own.map((name) => ours[name]));
    }),
  );
// where the reference has no criterion (a fit without degrees of freedom) ours is no worse
const excess = chunks.flatMap((chunk, at) =>
  chunk.map((_, i) => {
    const [own, other] = [ours.ets[at]!.aicc[i] ?? Number.POSITIVE_INFINITY, theirs.ets[at]!.aicc[i] ?? null];
    return other === null ? 0 : (own - other) / Math.abs(other);
  }),
);
const share = (test: (one: number) => boolean) => excess.filter(test).length / excess.length;

/** Mean MASE of both, and the share of the series on which ours is lower. */
interface Errors {
  readonly ours: number;
  readonly reference: number;
  readonly lower: number;
}

function compare(name: "ets" | "theta"): Errors {
  const [own, other] = [errorsOf(ours[name]), errorsOf(theirs[name])];
  return { ours: average(own), reference: average(other), lower: own.filter((one, i) => one < other[i]!).length / own.length };
}

/** What stands in the page's row of a set. */
interface Measured {
  readonly label: string;
  readonly ratios: Readonly<Record<"ets" | "theta" | "all", { readonly median: number; readonly low: number; readonly high: number }>>;
  readonly noWorse: number;
  readonly better: number;
  readonly mase: Readonly<Record<"ets" | "theta", Errors>>;
  readonly machine: string;
}
const measured: Measured = {
  label,
  ratios: { ets: ratio(["ets"], ["ets"]), theta: ratio(["theta"], ["theta"]), all: ratio(names, ["ets", "theta"]) },
  noWorse: share((one) => one <= 1e-3),
  better: share((one) => one < -1e-3),
  mase: { ets: compare("ets"), theta: compare("theta") },
  machine: `statsforecast ${versions.statsforecast}, Node ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}`,
};

function table(all: readonly Measured[]): string {
  const times = ({ median, low, high }: { median: number; low: number; high: number }) =>
    `${median.toFixed(1)}x [${low.toFixed(1)}, ${high.toFixed(1)}]`;
  const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
  const errors = (one: Errors) =>
    `${one.ours.toFixed(4)} / ${one.reference.toFixed(4)} (${one.ours > one.reference ? "+" : ""}${percent(one.ours / one.reference - 1)}; lower on ${percent(one.lower)})`;
  const rows = all.map(({ label, ratios, noWorse, better, mase }) => [
    ...[label, times(ratios.ets), times(ratios.theta), times(ratios.all)],
    ...[`${percent(noWorse)} (${percent(better)} better by more)`, errors(mase.ets), errors(mase.theta)],
  ]);
  const header = ["series", "ETS", "Theta", "ETS + Theta + AR", "AICc no worse by 0.1 %", "mean MASE, ETS", "mean MASE, Theta"];
  const lines = [header, header.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
  return `${lines.join("\n")}\n\n${[...new Set(all.map(({ machine }) => machine))].join("; ")}; ${numPairs} pairs each.`;
}

console.log(`\n${table([measured])}`);
console.log(
  `ar: mean MASE ${average(errorsOf(ours.ar)).toFixed(4)}; largest excess of AICc ${(100 * Math.max(...excess)).toFixed(3)} %; load ${loadavg()[0]!.toFixed(1)}`,
);
if (options.series === undefined) {
  const home = join(process.env.CHAINRULE_HOME ?? join(homedir(), ".cache", "chainrule"), "bench");
  const keptPath = join(home, "forecast-speed.json");
  const kept = existsSync(keptPath) ? (JSON.parse(readFileSync(keptPath, "utf8")) as Record<string, Measured>) : {};
  kept[options.m4 ? "m4" : "monthly"] = measured;
  mkdirSync(home, { recursive: true });
  writeFileSync(keptPath, JSON.stringify(kept));
  const rows = [kept.monthly, kept.m4].filter((one) => one !== undefined);
  writeBetween("docs/forecast-bench.md", "<!-- table: npm run bench:forecast-speed -->", table(rows));
}
const missed = [
  ...(measured.ratios.all.median < 1 ? [`ETS + Theta + AR takes longer: ${measured.ratios.all.median.toFixed(2)}x`] : []),
  ...(measured.noWorse < 0.95 ? [`AICc is no worse on ${(100 * measured.noWorse).toFixed(1)} % of the series only`] : []),
  ...(["ets", "theta"] as const).flatMap((name) => {
    const { ours: own, reference: other } = measured.mase[name];
    return own > 1.01 * other ? [`mean MASE of ${name} is ${(100 * (own / other - 1)).toFixed(1)} % above the reference's`] : [];
  }),
];
for (const line of missed) console.error(`missed: ${line}`);
if (missed.length > 0) process.exitCode = 1;
