import { expect, test } from "vitest";
import { ets } from "./ets.ts";
import { pointForecasts } from "./ets-distribution.ts";
import { formOf } from "./ets-form.ts";
import { EtsRecursion } from "./ets-recursion.ts";
import { isWorse, seasonalNaiveErrors, windowErrors } from "./ets-windows.ts";
import { normalSampler } from "./normal-sampler.ts";

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

/** A strong season times noise that is large, skewed and returns to where it was. */
function returning(numValues: number): Float64Array {
  const normal = normalSampler(3);
  let u = 0;
  return Float64Array.from({ length: numValues }, (_, t) => {
    u = 0.7 * u + 0.3 * normal();
    return (1 + 0.8 * Math.sin((2 * Math.PI * t) / 12)) * Math.exp(u);
  });
}

test.each(["ETS(A,N,N)", "ETS(A,Ad,A)", "ETS(M,A,M)"])(
  "%s: window errors equal those of forecasts from each part of the series",
  (name) => {
    const [values, period, horizon] = [returning(40), 4, 7];
    const form = formOf(name)!;
    const recursion = new EtsRecursion(form, values, period);
    const x = new Float64Array(recursion.size);
    x[0] = 0.3;
    x[recursion.iLevel] = 1;
    if (recursion.iBeta >= 0) x[recursion.iBeta] = 0.2;
    if (recursion.iGamma >= 0) x[recursion.iGamma] = 0.1;
    if (recursion.iPhi >= 0) x[recursion.iPhi] = 0.9;
    if (recursion.iGrowth >= 0) x[recursion.iGrowth] = 0.01;
    if (recursion.iSeason >= 0) x.set(form.season === "A" ? [0.1, -0.2, 0.3] : [1.1, 0.8, 1.2], recursion.iSeason);
    const errors = windowErrors(recursion, x, values, period, horizon);
    expect(errors.length).toBe(40 - 8 - 7 + 1);
    errors.forEach((error, window) => {
      const start = 8 + window;
      const end = new EtsRecursion(form, values.slice(0, start), period).run(x);
      const forecast = pointForecasts(form, form.damped ? 0.9 : 1, end, horizon);
      expect(error).toBeCloseTo(mean(forecast.map((value, h) => Math.abs(values[start + h]! - value))), 12);
    });
  },
);

test("seasonal naive repeats the last season, from every place with two seasons before it", () => {
  const values = Float64Array.of(1, 2, 3, 4, 5, 7, 9, 11);
  // from place 4: 3 4 3 against 5 7 9; from place 5: 4 5 4 against 7 9 11
  expect(Array.from(seasonalNaiveErrors(values, 2, 3))).toEqual([(2 + 3 + 6) / 3, (3 + 4 + 7) / 3]);
  expect(seasonalNaiveErrors(values, 4, 3).length).toBe(0);
});

test("worse is by more than a standard error, with overlapping windows counted once per horizon", () => {
  const than = new Float64Array(8).fill(1);
  const alternating = (by: number) => than.map((value, i) => value + by + (i % 2 === 0 ? 1 : -1));
  // differences by ± 1: a standard error of 1 / √(8 / horizon - 1)
  expect(isWorse(alternating(0.35), than, 1)).toBe(false);
  expect(isWorse(alternating(0.4), than, 1)).toBe(true); // 1 / √7 = 0.378
  expect(isWorse(alternating(0.55), than, 2)).toBe(false);
  expect(isWorse(alternating(0.6), than, 2)).toBe(true); // 1 / √3 = 0.577
  expect(isWorse(alternating(9), than, 5)).toBe(false); // fewer than two
  expect(isWorse(alternating(-0.4), than, 1)).toBe(false);
  expect(isWorse(new Float64Array(8).fill(Number.POSITIVE_INFINITY), than, 1)).toBe(true);
  expect(isWorse(than, than, 1)).toBe(false);
});

test("a growth that only lowers the errors of one step isn't chosen", () => {
  const values = returning(480);
  const history = { values, seasonalPeriod: 12 };
  const task = { horizon: 24 };
  const [auto] = ets.fit([history], task);
  const [growing] = ets.fit([history], task, { error: "multiplicative", trend: "additive", season: "multiplicative" });
  expect(growing!.training!.aicc).toBeLessThan(auto!.training!.aicc! - 10);
  expect(mean(growing!.forecast(24).mean)).toBeGreaterThan(1.7 * mean(values));
  expect(mean(auto!.forecast(24).mean)).toBeLessThan(1.4 * mean(values));
  // over one step nothing speaks against it
  expect(ets.fit([history], { horizon: 1 })[0]!.description).toBe(growing!.description);
});
