/**
 * Automatic ETS, Theta and AR against statsforecast's AutoETS and AutoTheta: time on one thread, information criterion, error.
 *
 *   npm run bench:forecast-speed                                  1000 simulated monthly series
 *   npm run bench:forecast-speed -- --series 100 --m4             100 series of the M4 hourly set (CHAINRULE_DATA)
 *
 * PYTHON names an interpreter with statsforecast (default python3). The reference has no automatic AR by least squares: ours counts in
 * our time and nothing stands for it in theirs.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { forecasters } from "../src/forecasting/models/index.ts";
import { normalSampler } from "../src/forecasting/models/normal-sampler.ts";

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

const { values: options } = parseArgs({
  options: { series: { type: "string", default: "1000" }, m4: { type: "boolean", default: false } },
});
const horizon = options.m4 ? 48 : 18;
const items = options.m4 ? m4Hourly(Number(options.series)) : simulatedMonthly(Number(options.series), horizon);
const histories = items.map(({ values, period }) => ({ values, seasonalPeriod: period }));
console.log(
  `${items.length} series, horizon ${horizon}, one thread, Node ${process.version}, ${cpus()[0]?.model}, load ${loadavg()[0]!.toFixed(1)}`,
);

const ours = Object.fromEntries(
  (["ets", "theta", "ar"] as const).map((name) => {
    forecasters[name].fit(histories.slice(0, 20), { horizon }); // warm up
    const start = performance.now();
    const fits = forecasters[name].fit(histories, { horizon });
    const means = fits.map((fitted) => fitted.forecast(horizon).mean);
    return [name, { seconds: (performance.now() - start) / 1000, fits, means }];
  }),
);

const folder = mkdtempSync(join(tmpdir(), "chainrule-bench-"));
let reference: {
  versions: object;
  seconds: { ets: number; theta: number };
  fits: { ets: { aicc: number; mean: number[] }; theta: { mean: number[] } }[];
};
try {
  const file = join(folder, "series.json");
  writeFileSync(file, JSON.stringify(items.map(({ values, period }) => ({ values: Array.from(values), period }))));
  const answer = execFileSync(process.env.PYTHON ?? "python3", ["bench/forecast_reference.py", file, String(horizon)], {
    maxBuffer: 2 ** 30,
  });
  reference = JSON.parse(answer.toString().replaceAll("NaN", "null").replaceAll("Infinity", "null"));
} finally {
  rmSync(folder, { recursive: true });
}

const average = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const excess = reference.fits.map(({ ets }, i) => (ours.ets!.fits[i]!.training!.aicc! - ets.aicc) / Math.abs(ets.aicc));
console.log(`reference: ${JSON.stringify(reference.versions)}, load ${loadavg()[0]!.toFixed(1)}`);
for (const name of ["ets", "theta"] as const) {
  const mean = average(items.map((item, i) => mase(item, ours[name]!.means[i]!)));
  const theirs = average(items.map((item, i) => mase(item, reference.fits[i]![name].mean)));
  console.log(
    `${name}: ${ours[name]!.seconds.toFixed(2)} s, reference ${reference.seconds[name].toFixed(2)} s, ratio ${(reference.seconds[name] / ours[name]!.seconds).toFixed(1)}x; ` +
      `mean MASE ${mean.toFixed(4)}, reference ${theirs.toFixed(4)} (${(100 * (mean / theirs - 1)).toFixed(2)} %)`,
  );
}
console.log(
  `ar: ${ours.ar!.seconds.toFixed(2)} s; mean MASE ${average(items.map((item, i) => mase(item, ours.ar!.means[i]!))).toFixed(4)}`,
);
const total = ours.ets!.seconds + ours.theta!.seconds + ours.ar!.seconds;
console.log(
  `ETS + Theta + AR ${total.toFixed(2)} s, reference ETS + Theta ${(reference.seconds.ets + reference.seconds.theta).toFixed(2)} s: ${((reference.seconds.ets + reference.seconds.theta) / total).toFixed(1)}x`,
);
console.log(
  `AICc: ${((100 * excess.filter((e) => e <= 1e-3).length) / excess.length).toFixed(1)} % of the series no worse than the reference by more than 0.1 %, ` +
    `${((100 * excess.filter((e) => e < -1e-3).length) / excess.length).toFixed(1)} % better by more; largest excess ${(100 * Math.max(...excess)).toFixed(3)} %`,
);
