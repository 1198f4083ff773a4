import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { planOrigins, rollingForecasts, scoreSeries } from "./backtest.ts";
import { choose, ensembleMembers, type ModelScore, type ModelScores, scoreTable } from "./choose.ts";
import { calibrate, halfWidths, nonDecreasing } from "./conformal.ts";
import { backtest } from "./forecast.ts";
import { runJob } from "./jobs.ts";
import { fillMissing } from "./missing.ts";
import { forecasters } from "./models/index.ts";
import type { ForecastingMethod } from "./types.ts";

/** Those that `auto` tries. */
const automatic = Object.values(forecasters)
  .filter((forecaster: ForecastingMethod) => forecaster.isOnRequest !== true)
  .map(({ name }) => name);

const naive = [{ name: "naive", parameters: {} }];

/** Uniform in [0, 1), the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("origins", () => {
  test("end a horizon before the end, leave half of the series for fitting and keep their distance", () => {
    expect(planOrigins(100, 12, 7, { windows: 4, stride: 5 })).toEqual([73, 78, 83, 88]);
    expect(planOrigins(100, 40, 7, { stride: 5 })).toEqual([50, 55, 60]);
    expect(planOrigins(10, 8, 1)).toEqual([]);
  });

  test("every window of every plan lies inside the series, whatever its length", () => {
    const sizes = [fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 60 })] as const;
    fc.assert(
      fc.property(...sizes, (length, horizon, season) => {
        const origins = planOrigins(length, horizon, season);
        expect(
          origins.every((origin, index) => origin >= 1 && origin + horizon <= length && (index === 0 || origin > origins[index - 1]!)),
        ).toBe(true);
        expect(origins.length).toBeLessThanOrEqual(20);
      }),
    );
  });
});

describe("rolling forecasts", () => {
  const values = Float64Array.from({ length: 60 }, (_, index) => 10 + (index % 4) * 3 + index * 0.1 + Math.sin(index * index));
  const origins = [30, 33, 36, 41];

  test.each(automatic)("%s: values after an origin don't change the forecasts made there", async (name) => {
    const plan = { horizon: 4, origins: [origins], refit: 2, missing: "interpolate" as const };
    const combination = [{ name, parameters: {} }];
    const [plain] = await rollingForecasts(combination, [{ values, seasonalPeriod: 4 }], plan);
    for (const [window, origin] of origins.entries()) {
      const changed = values.map((value, index) => (index < origin ? value : -1e3 * value));
      changed[origin + 1] = Number.NaN;
      const [other] = await rollingForecasts(combination, [{ values: changed, seasonalPeriod: 4 }], plan);
      expect([...other![window]!.mean]).toEqual([...plain![window]!.mean]);
    }
  });

  test("last value and seasonal naive are what the definition says, holes at an origin included", async () => {
    const holed = values.slice();
    holed[32] = Number.NaN;
    const plan = { horizon: 2, origins: [[33]], refit: 0, missing: "interpolate" as const };
    const [last] = await rollingForecasts(naive, [{ values: holed, seasonalPeriod: 4 }], plan);
    expect([...last![0]!.mean]).toEqual([values[31], values[31]]);
    const [season] = await rollingForecasts([{ name: "seasonal-naive", parameters: {} }], [{ values, seasonalPeriod: 4 }], plan);
    expect([...season![0]!.mean]).toEqual([values[29], values[30]]);
  });

  test("a series too short for a model is left out, the others keep their place", async () => {
    const plan = { horizon: 1, origins: [[3], [], [20]], refit: 0, missing: "previous" as const };
    const series = [values.slice(0, 5), values.slice(0, 2), values].map((one) => ({ values: one, seasonalPeriod: 12 }));
    const result = await rollingForecasts([{ name: "seasonal-naive", parameters: {} }], series, plan);
    expect(result.map((windows) => windows?.length)).toEqual([undefined, undefined, 1]);
  });

  test("scores are means over windows; a window without a value doesn't count", () => {
    const series = { values: new Float64Array([1, 2, 3, 5, Number.NaN, 4]), seasonalPeriod: 1 };
    const forecasts = [3, 4, 5].map((origin) => ({ mean: new Float64Array([origin]) }));
    const score = scoreSeries(series, [3, 4, 5], forecasts, []);
    expect(score).toMatchObject({ windows: 2, mae: 1.5, mse: 2.5 });
    expect(score.mase).toBeCloseTo((2 / 1 + 1 / (4 / 3)) / 2, 12); // scales: mean |diff| of 1 2 3, and of 1 2 3 5
  });
});

describe("choice", () => {
  const row = (model: string, mase: number, skill: number, series = 10): ModelScore => ({
    model,
    series,
    windows: 1,
    mse: 1,
    mae: 1,
    mase,
    smape: 1,
    skill,
  });
  const isAverage = (model: string) => model.includes("+");

  test("what seasonal naive beats is never chosen, nor what can't be fitted to all series", async () => {
    expect(choose([row("seasonal-naive", 1, 0), row("ets", 1.1, -0.1)], isAverage).model).toBe("seasonal-naive");
    expect(choose([row("ar", 0.5, 0.5, 9), row("ets", 0.9, 0.1), row("seasonal-naive", 1, 0)], isAverage).model).toBe("ets");
    expect(choose([row("ar", 0.5, -0.2), row("seasonal-naive", 1, 0)], isAverage).model).toBe("seasonal-naive");
    const tooShortForOne = choose([row("seasonal-naive", 1, 0, 9), row("ets", 1.2, -0.2, 10)], isAverage);
    expect(tooShortForOne).toEqual({ model: "seasonal-naive", because: "no model beats seasonal naive in the backtest" });
    expect(choose([row("naive", 1, Number.NaN)], isAverage).because).toContain("seasonal naive could not be fitted to any series");
  });

  test("an average wins by 1 % or not at all", async () => {
    const rest = [row("ets", 0.8, 0.2), row("seasonal-naive", 1, 0)];
    expect(choose([row("ets + ar", 0.795, 0.205), ...rest], isAverage).model).toBe("ets");
    expect(choose([row("ets + ar", 0.79, 0.21), ...rest], isAverage).model).toBe("ets + ar");
  });

  test("skill compares common series only", async () => {
    const score = (mase: number) => ({ windows: 1, mse: 1, mae: 1, mase, smape: 1, wql: Number.NaN });
    const scores = new Map<string, ModelScores>([
      ["seasonal-naive", [score(1), score(9)]],
      ["ets", [score(2), undefined]],
    ]);
    expect(scoreTable(scores).find(({ model }) => model === "ets")!.skill).toBe(-1);
  });

  test("an average has two or three members that beat seasonal naive", async () => {
    const candidates = ["seasonal-naive", "ets", "ar", "theta", "ridge"].map((name) => [{ name, parameters: {} }]);
    const table = [row("ets", 0.5, 0.5), row("ar", 0.6, 0.4), row("theta", 0.7, 0.3), row("ridge", 0.8, 0.2), row("seasonal-naive", 1, 0)];
    expect(ensembleMembers(table, candidates)!.map(({ name }) => name)).toEqual(["ets", "ar", "theta"]);
    expect(ensembleMembers([table[0]!, table[4]!], candidates)).toBeUndefined();
  });
});

describe("conformal intervals", () => {
  test("sizes don't decrease: the nearest such sequence in squares, found by trying all block divisions", async () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 7 }), (list) => {
        let best = Number.POSITIVE_INFINITY;
        for (let cuts = 0; cuts < 1 << (list.length - 1); cuts++) {
          const blocks: number[][] = [[]];
          list.forEach((value, index) => {
            blocks.at(-1)!.push(value);
            if (index < list.length - 1 && (cuts >> index) & 1) blocks.push([]);
          });
          const means = blocks.map((block) => block.reduce((sum, value) => sum + value, 0) / block.length);
          if (means.some((mean, index) => index > 0 && mean < means[index - 1]! - 1e-12)) continue;
          const fitted = blocks.flatMap((block, index) => block.map(() => means[index]!));
          best = Math.min(
            best,
            fitted.reduce((sum, value, index) => sum + (value - list[index]!) ** 2, 0),
          );
        }
        const own = nonDecreasing(Float64Array.from(list));
        expect(own.every((value, index) => index === 0 || value >= own[index - 1]! - 1e-12)).toBe(true);
        expect(own.reduce((sum, value, index) => sum + (value - list[index]!) ** 2, 0)).toBeCloseTo(best, 9);
      }),
    );
  });

  test("with one step the half width is the ⌈(n + 1) level⌉-th smallest absolute error", async () => {
    const errors = [3, -1, 4, -1.5, 9, -2, 6].map((error) => new Float64Array([error]));
    const calibration = calibrate(errors)!;
    expect(halfWidths(calibration, 80, 1)[0]).toBeCloseTo(9, 12); // ⌈8 · 0.8⌉ = 7th of 7
    expect(halfWidths(calibration, 50, 1)[0]).toBeCloseTo(3, 12); // 4th
    expect(halfWidths(calibration, 50, 4)[3]).toBeCloseTo(6, 12); // beyond the calibrated step: √4
  });

  test("fresh errors of the same law are covered as often as the level says, at every step", async () => {
    const next = random(7);
    const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    const window = () => Float64Array.from({ length: 6 }, (_, step) => normal() * (step + 1));
    const calibration = calibrate(Array.from({ length: 400 }, window))!;
    for (const level of [80, 95]) {
      const widths = halfWidths(calibration, level, 6);
      const hits = new Float64Array(6);
      for (let draw = 0; draw < 4000; draw++) {
        const errors = window();
        for (let step = 0; step < 6; step++) if (Math.abs(errors[step]!) <= widths[step]!) hits[step]! += 1 / 4000;
      }
      // 4 standard deviations of 4000 draws, and what 400 windows leave uncertain in the sizes
      for (const share of hits) expect(Math.abs(share - level / 100)).toBeLessThan(0.045);
    }
  });

  test("intervals made from earlier windows are scored on later ones: loss of the deciles, coverage by step and series", async () => {
    // one step, windows 1 apart, the last value as forecast: the errors are the differences
    const steps = [2, -1, 4, -3, 5, 1, -6, 2];
    const values = Float64Array.from([0, ...steps], (_, index) => 100 + steps.slice(0, index).reduce((sum, one) => sum + one, 0));
    const origins = steps.map((_, index) => index + 1);
    const plan = { horizon: 1, origins: [origins], refit: 0, missing: "interpolate" as const };
    const series = [{ values, seasonalPeriod: 1 }];
    const [one] = await runJob({ kind: "score", combination: naive, series, plan, intervals: { levels: [80], isAdaptive: false } });
    const losses = [5, 6, 7].map((window) => {
      const sizes = steps
        .slice(0, window)
        .map(Math.abs)
        .sort((a, b) => a - b);
      const width = (level: number) => sizes[Math.min(sizes.length, Math.ceil((sizes.length + 1) * level)) - 1]!;
      const bounds = [-width(0.8), -width(0.6), -width(0.4), -width(0.2), 0, width(0.2), width(0.4), width(0.6), width(0.8)];
      const loss = bounds.reduce((sum, bound, index) => {
        const error = steps[window]! - bound;
        return sum + (error >= 0 ? ((index + 1) / 10) * error : ((index + 1) / 10 - 1) * error);
      }, 0);
      return (2 * loss) / 9 / values[window + 1]!;
    });
    expect(one!.score!.conformalWql).toBeCloseTo((losses[0]! + losses[1]! + losses[2]!) / 3, 12);
    // 80 % of five errors is the largest: 1 and 2 lie inside, -6 doesn't
    expect([...one!.intervals!.hits[0]!, ...one!.intervals!.counts]).toEqual([2, 3]);
    const rows = [...values].map((y, step) => ({ step, a: y, b: y, t: step }));
    const { coverage } = await backtest(rows, {
      horizon: 1,
      time: "step",
      target: ["a", "b"],
      model: "naive",
      seasonalPeriod: 1,
      windows: 8,
      stride: 1,
    });
    for (const { byStep, bySeries, pooled, worstStep } of coverage) {
      expect([byStep, worstStep]).toEqual([[pooled], { step: 1, coverage: pooled }]);
      expect(bySeries).toEqual(["a", "b"].map((id) => ({ series: id, coverage: pooled })));
    }
  });

  test("an adaptive level follows equation 2 of Gibbs & Candès, and is the one that intervals are made with", async () => {
    const next = random(11);
    const steps = Array.from({ length: 40 }, (_, index) => (next() - 0.5) * (index < 20 ? 1 : 6)); // six times as wide from the middle on
    const values = Float64Array.from([0, ...steps], (_, index) => steps.slice(0, index).reduce((sum, one) => sum + one, 0));
    const origins = steps.map((_, index) => index + 1);
    const plan = { horizon: 1, origins: [origins], refit: 0, missing: "interpolate" as const };
    const job = { kind: "score", combination: naive, series: [{ values, seasonalPeriod: 1 }], plan } as const;
    const run = async (isAdaptive: boolean) => (await runJob({ ...job, intervals: { levels: [80], isAdaptive } }))[0];
    const [adaptive, plain] = await Promise.all([run(true), run(false)]);
    let [alpha, hits] = [0.2, 0];
    for (let window = 5; window < steps.length; window++) {
      const sizes = steps
        .slice(0, window)
        .map(Math.abs)
        .sort((a, b) => a - b);
      const rank = Math.max(1, Math.min(window, Math.ceil((window + 1) * (1 - alpha) - 1e-9)));
      const isMissed = Math.abs(steps[window]!) > sizes[rank - 1]!;
      if (!isMissed) hits++;
      alpha = Math.max(0, Math.min(1, alpha + 0.1 * (0.2 - (isMissed ? 1 : 0))));
    }
    expect(adaptive!.intervals!.hits[0]![0]).toBe(hits);
    expect(adaptive!.intervals!.calibration!.levels!["80"]).toBeCloseTo(100 * (1 - alpha), 9);
    expect(hits).toBeGreaterThan(plain!.intervals!.hits[0]![0]!); // the change is met sooner
    expect(plain!.intervals!.calibration!.levels).toBeUndefined();
    const wide = halfWidths({ ...plain!.intervals!.calibration!, levels: { "80": 95 } }, 80, 3);
    expect(wide).toEqual(halfWidths(plain!.intervals!.calibration!, 95, 3));
  });

  test("a step without any error has no interval; constant series have intervals of width 0", async () => {
    expect(calibrate([new Float64Array([1, Number.NaN])])).toBeUndefined();
    expect([...halfWidths(calibrate([new Float64Array(3), new Float64Array(3)])!, 95, 3)]).toEqual([0, 0, 0]);
  });
});

test("holes are filled by the rule and never from after the end", async () => {
  const hole = Number.NaN;
  const values = new Float64Array([hole, 2, hole, hole, 8, hole]);
  expect([...fillMissing(values, "interpolate")]).toEqual([2, 2, 4, 6, 8, 8]);
  expect([...fillMissing(values, "previous", 1)]).toEqual([1, 2, 2, 2, 8, 8]);
  expect([...fillMissing(values, "zero")]).toEqual([0, 2, 0, 0, 8, 0]);
  expect([...fillMissing(new Float64Array([hole, hole]), "interpolate", 5)]).toEqual([5, 5]);
});
