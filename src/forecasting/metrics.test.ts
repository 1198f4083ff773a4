import { expect, test } from "vitest";
import {
  coverage,
  finiteMean,
  meanAbsoluteError,
  meanAbsoluteScaledError,
  meanSquaredError,
  quantileLoss,
  seasonalScale,
  symmetricMape,
  weightedQuantileLoss,
} from "./metrics.ts";

const actual = new Float64Array([1, 2, Number.NaN, -4]);
const forecast = new Float64Array([2, 2, 7, 0]);

test("missing actual values are left out of every measure", () => {
  expect(meanSquaredError(actual, forecast)).toBeCloseTo((1 + 0 + 16) / 3, 12);
  expect(meanAbsoluteError(actual, forecast)).toBeCloseTo((1 + 0 + 4) / 3, 12);
  expect(symmetricMape(actual, forecast)).toBeCloseTo((200 / 3 + 0 + 200) / 3, 12);
  expect(meanAbsoluteError(new Float64Array([Number.NaN]), new Float64Array([1]))).toBeNaN();
});

test("sMAPE of two zeros is 0, and of huge values finite", () => {
  expect(symmetricMape(new Float64Array([0]), new Float64Array([0]))).toBe(0);
  expect(symmetricMape(new Float64Array([1.7e308]), new Float64Array([-1.7e308]))).toBe(200);
});

test("MASE is scaled by the seasonal naive error of the history", () => {
  const history = new Float64Array([1, 5, 2, 8, Number.NaN, 9]);
  expect(seasonalScale(history, 2)).toBeCloseTo((1 + 3 + 1) / 3, 12); // 2-1, 8-5, 9-8; the pair with a hole is left out
  expect(seasonalScale(history, 9)).toBeCloseTo((4 + 3 + 6) / 3, 12); // no season fits: steps of one
  expect(meanAbsoluteScaledError(actual, forecast, 2)).toBeCloseTo(5 / 6, 12);
  expect(meanAbsoluteScaledError(actual, forecast, 0)).toBeNaN();
});

test("quantile loss is asymmetric; the weighted one is twice its mean over the size of the values", () => {
  expect(quantileLoss(3, 1, 0.9)).toBeCloseTo(1.8, 12);
  expect(quantileLoss(1, 3, 0.9)).toBeCloseTo(0.2, 12);
  const values = new Float64Array([3, 1]);
  const forecasts = [new Float64Array([1, 1]), new Float64Array([3, 3])];
  const loss = (0.1 * 2 + 0 + (0 + 0.1 * 2)) / 2; // mean over steps, summed over quantiles 0.1 and 0.9
  expect(weightedQuantileLoss(values, forecasts, [0.1, 0.9])).toBeCloseTo((2 * loss) / 2 / 2, 12);
  expect(weightedQuantileLoss(values, forecasts, [0.1, 0.9], "none")).toBeCloseTo((2 * loss) / 2, 12);
});

test("over many quantiles the unscaled loss is the CRPS of a normal distribution", () => {
  // Gneiting & Raftery 2007: CRPS(N(0, 1), y) = y (2 Φ(y) - 1) + 2 φ(y) - 1/√π; at y = 0 it is (√2 - 1)/√π.
  const quantiles = Array.from({ length: 9999 }, (_, index) => (index + 1) / 10_000);
  const probit = (p: number) => {
    let [lo, hi] = [-9, 9];
    for (let i = 0; i < 60; i++) {
      const middle = (lo + hi) / 2;
      if (normalCdf(middle) < p) lo = middle;
      else hi = middle;
    }
    return lo;
  };
  const crps = weightedQuantileLoss(
    new Float64Array([0]),
    quantiles.map((p) => new Float64Array([probit(p)])),
    quantiles,
    "none",
  );
  expect(crps).toBeCloseTo((Math.SQRT2 - 1) / Math.sqrt(Math.PI), 3);
});

/** By the series for the error function around 0 (enough terms up to |x| = 9 are not needed: tails are cut at 6). */
function normalCdf(x: number): number {
  if (Math.abs(x) > 6) return x > 0 ? 1 : 0;
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / (2 * n);
    sum += term / (2 * n + 1);
  }
  return 0.5 + sum / Math.sqrt(2 * Math.PI);
}

test("coverage counts the bounds as inside; a mean over series skips those that say nothing", () => {
  expect(coverage(actual, new Float64Array([1, 3, 0, -9]), new Float64Array([1, 4, 0, 0]))).toBeCloseTo(2 / 3, 12);
  expect(finiteMean([1, Number.NaN, 3, Number.POSITIVE_INFINITY])).toBe(2);
});
