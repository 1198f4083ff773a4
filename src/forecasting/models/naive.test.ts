import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, OptionError } from "../../errors.ts";
import { drift, naive, seasonalNaive, windowMean } from "./naive.ts";
import { normalQuantile } from "./normal-quantile.ts";

const history = (values: number[], seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });
const task = { horizon: 4 };
const models = [naive, seasonalNaive, drift, windowMean];

test("each forecast is its definition", () => {
  const y = history([2, 4, 3, 8], 2);
  const mean = (model: typeof naive, parameters = {}) => Array.from(model.fit([y], task, parameters)[0]!.forecast(4).mean);
  expect(mean(naive)).toEqual([8, 8, 8, 8]);
  expect(mean(seasonalNaive)).toEqual([3, 8, 3, 8]);
  expect(mean(drift)).toEqual([10, 12, 14, 16]);
  expect(mean(windowMean)).toEqual([4.25, 4.25, 4.25, 4.25]);
  expect(mean(windowMean, { window: 2 })).toEqual([5.5, 5.5, 5.5, 5.5]);
});

test("intervals follow the formulas of Forecasting: Principles and Practice 5.5", () => {
  const y = history([2, 4, 3, 8], 2);
  const z = 1.959963984540054; // scipy.stats.norm.ppf(0.975)
  const upper = (model: typeof naive) => model.fit([y], task)[0]!.forecast(3, { quantiles: [0.975] }).quantiles![0]!;
  const differences = Math.sqrt((4 + 1 + 25) / 3);
  expect(upper(naive)[2]).toBeCloseTo(8 + z * differences * Math.sqrt(3), 10);
  const seasons = Math.sqrt((1 + 16) / 2);
  expect(upper(seasonalNaive)[2]).toBeCloseTo(3 + z * seasons * Math.sqrt(2), 10);
  const drifts = Math.sqrt((0 + 9 + 9) / 2);
  expect(upper(drift)[2]).toBeCloseTo(14 + z * drifts * Math.sqrt(3 * (1 + 3 / 3)), 10);
  const spread = Math.sqrt((2.25 ** 2 + 0.25 ** 2 + 1.25 ** 2 + 3.75 ** 2) / 3);
  expect(upper(windowMean)[2]).toBeCloseTo(4.25 + z * spread * Math.sqrt(1.25), 10);
});

test("a history without errors has no quantiles", () => {
  expect(naive.fit([history([5])], task)[0]!.forecast(2, { quantiles: [0.9] }).quantiles).toBeUndefined();
  expect(seasonalNaive.fit([history([5, 6], 2)], task)[0]!.forecast(2, { quantiles: [0.9] }).quantiles).toBeUndefined();
  expect(drift.fit([history([5, 6])], task)[0]!.forecast(2, { quantiles: [0.9] }).quantiles).toBeUndefined();
});

describe.each(models)("$name", (model) => {
  const legal = fc
    .tuple(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 2, maxLength: 30 }), fc.integer({ min: 1, max: 12 }))
    .filter(([values, period]) => values.length >= period);

  test("any legal history gives finite forecasts and ordered quantiles", () => {
    fc.assert(
      fc.property(legal, ([values, period]) => {
        const { mean, quantiles } = model.fit([history(values, period)], task)[0]!.forecast(30, { quantiles: [0.1, 0.5, 0.9] });
        expect(mean.every(Number.isFinite)).toBe(true);
        for (const column of quantiles ?? []) expect(column.every(Number.isFinite)).toBe(true);
        if (quantiles) for (const step of mean.keys()) expect(quantiles[0]![step]).toBeLessThanOrEqual(quantiles[2]![step]!);
      }),
    );
  });

  test("updated = applied to the longer history = saved, loaded and updated", () => {
    fc.assert(
      fc.property(legal, fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { maxLength: 9 }), ([values, period], more) => {
        const fitted = model.fit([history(values, period)], task, model === windowMean ? { window: 5 } : {})[0]!;
        const updated = fitted.update(Float64Array.from(more)).forecast(15, { quantiles: [0.2] });
        const applied = fitted.apply(history([...values, ...more], period)).forecast(15, { quantiles: [0.2] });
        const loaded = model
          .load(JSON.parse(JSON.stringify(fitted)))
          .update(Float64Array.from(more))
          .forecast(15, { quantiles: [0.2] });
        expect(updated.mean.map((x) => x + 0)).toEqual(loaded.mean.map((x) => x + 0)); // + 0: JSON has no -0
        expect(updated.quantiles?.map((c) => c.map((x) => x + 0))).toEqual(loaded.quantiles?.map((c) => c.map((x) => x + 0)));
        if (model !== windowMean) expect(updated).toEqual(applied);
        // the window of window-mean is all of the first history
        else
          expect(
            updated.mean.every((x, step) => x === applied.mean[step] || Math.abs(x - applied.mean[step]!) < 1e-9 * Math.abs(x) + 1e300),
          ).toBe(true);
      }),
    );
  });

  test("refuses histories, horizons, quantiles and files that make no sense, by name", () => {
    expect(() => model.fit([history([])], task)).toThrow(RangeError);
    expect(() => model.fit([history([1, Number.NaN, 2])], task)).toThrow("index 1 is NaN");
    expect(() => model.fit([history([1, 2, 3], 1.5)], task)).toThrow("seasonal period 1.5");
    const fitted = model.fit([history([1, 2, 3, 5])], task)[0]!;
    expect(() => fitted.forecast(0)).toThrow(OptionError);
    expect(() => fitted.forecast(2, { quantiles: [1] })).toThrow("quantiles: expected numbers between 0 and 1, got 1");
    expect(() => fitted.update(Float64Array.of(Number.POSITIVE_INFINITY))).toThrow(RangeError);
    const saved = fitted.toJSON();
    expect(() => model.load({ ...saved, model: "other" })).toThrow(FormatError);
    expect(() => model.load({ ...saved, version: 99 })).toThrow("version 99");
    expect(() => model.load({ ...saved, state: { ...saved.state, state: { last: "x", season: 3, count: 0 } } })).toThrow(FormatError);
  });

  test("a cancelled fit stops", () => {
    expect(() => model.fit([history([1, 2, 3])], { horizon: 1, signal: AbortSignal.abort() })).toThrow("aborted");
  });
});

test("the normal quantile equals scipy.stats.norm.ppf (scipy 1.17.1)", () => {
  for (const [p, z] of [
    [1e-300, -37.0470962993612],
    [1e-12, -7.034483825301131],
    [0.005, -2.575829303548901],
    [0.025, -1.9599639845400545],
    [0.2, -0.8416212335729142],
    [0.5, 0],
    [0.7, 0.5244005127080407],
    [0.9999, 3.719016485455709],
  ] as const) {
    expect(Math.abs(normalQuantile(p) - z)).toBeLessThanOrEqual(1e-14 * Math.max(1, Math.abs(z)));
  }
  expect(() => normalQuantile(0)).toThrow(RangeError);
});
