import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../errors.ts";
import type { FittedForecaster } from "../types.ts";
import { solvePositiveDefinite } from "./cholesky.ts";
import { windowMean } from "./naive.ts";
import { normalSampler } from "./normal-sampler.ts";
import { ridge } from "./ridge.ts";
import { addWindowMoments } from "./window-moments.ts";

const history = (values: ArrayLike<number>, seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });

test("the moments equal those summed window by window", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 12, maxLength: 40 }),
      (lookback, horizon, values) => {
        const inputs = new Float64Array((lookback + 1) ** 2);
        const targets = new Float64Array((lookback + 1) * horizon);
        const numWindows = addWindowMoments(Float64Array.from(values), lookback, horizon, inputs, targets);
        expect(numWindows).toBe(values.length - lookback - horizon + 1);
        for (let i = 0; i <= lookback; i++) {
          for (let j = 0; j < lookback + 1 + horizon; j++) {
            let sum = 0;
            for (let w = 0; w < numWindows; w++) {
              const window = values.slice(w, w + lookback);
              const mean = window.reduce((a, b) => a + b, 0) / lookback;
              const scale = Math.sqrt(window.reduce((a, b) => a + (b - mean) ** 2, 0) / lookback + 1e-5);
              const x = [...window.map((value) => value - mean), scale];
              const y = values.slice(w + lookback, w + lookback + horizon).map((value) => value - mean);
              sum += x[i]! * [...x, ...y][j]!;
            }
            const got = j > lookback ? targets[i * horizon + j - lookback - 1]! : inputs[Math.max(i, j) * (lookback + 1) + Math.min(i, j)]!;
            expect(Math.abs(got - sum)).toBeLessThan(1e-11 * values.length);
          }
        }
      },
    ),
  );
});

test("Cholesky solves what it was given, and refuses an indefinite matrix", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 3 }), fc.integer(), (size, width, seed) => {
      const normal = normalSampler(seed);
      const root = Float64Array.from({ length: size * size }, normal);
      const a = Float64Array.from({ length: size * size }, (_, index) => {
        const [i, j] = [Math.floor(index / size), index % size];
        let sum = i === j ? 0.1 : 0;
        for (let k = 0; k < size; k++) sum += root[i * size + k]! * root[j * size + k]!;
        return sum;
      });
      const b = Float64Array.from({ length: size * width }, normal);
      const x = b.slice();
      solvePositiveDefinite(a.slice(), x, size);
      for (let i = 0; i < size; i++) {
        for (let h = 0; h < width; h++) {
          let sum = 0;
          for (let k = 0; k < size; k++) sum += a[i * size + k]! * x[k * width + h]!;
          expect(Math.abs(sum - b[i * width + h]!)).toBeLessThan(1e-9);
        }
      }
    }),
  );
  expect(() => solvePositiveDefinite(Float64Array.of(1, 2, 2, 1), Float64Array.of(1, 1), 2)).toThrow("pivot 1 is -3");
});

test("learns a linear recurrence from several series of different size, and rolls it out", () => {
  const wave = (scale: number, shift: number) => Float64Array.from({ length: 200 }, (_, t) => scale * (Math.sin(t * 0.5 + shift) + 3));
  const fits = ridge.fit([history(wave(1, 0)), history(wave(1e6, 1))], { horizon: 5 }, { lookback: 8, penalty: 1e-10 });
  for (const [index, scale] of [1, 1e6].entries()) {
    const { mean, quantiles } = fits[index]!.forecast(20, { quantiles: [0.5] });
    expect(quantiles).toBeUndefined();
    for (const [h, value] of mean.entries()) expect(Math.abs(value / scale - Math.sin((200 + h) * 0.5 + index) - 3)).toBeLessThan(1e-2);
  }
});

test("updated = applied to the longer history = saved and loaded", () => {
  const normal = normalSampler(2);
  const values = Float64Array.from({ length: 80 }, (_, t) => Math.sin(t) + 0.1 * normal());
  const [fitted] = ridge.fit([history(values, 6)], { horizon: 4 });
  expect(fitted!.parameters.lookback).toBe(12);
  const more = Float64Array.of(0.3, 0.1);
  const expected = fitted!.apply(history([...values, ...more])).forecast(9);
  expect(fitted!.update(more).forecast(9)).toEqual(expected);
  expect(
    ridge
      .load(JSON.parse(JSON.stringify(fitted)))
      .update(more)
      .forecast(9),
  ).toEqual(expected);
});

test("any legal histories give finite forecasts; a constant stays", () => {
  const value = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: -3, max: 3 }));
  fc.assert(
    fc.property(fc.array(fc.array(value, { minLength: 5, maxLength: 30 }), { minLength: 1, maxLength: 3 }), (series) => {
      for (const fitted of ridge.fit(
        series.map((values) => history(values)),
        { horizon: 4 },
      )) {
        expect(fitted.forecast(11).mean.every(Number.isFinite)).toBe(true);
      }
    }),
  );
  for (const constant of [0, 0.1, -1e308]) {
    const { mean } = ridge.fit([history(new Array(50).fill(constant))], { horizon: 4 })[0]!.forecast(12);
    for (const step of mean) expect(Math.abs(step - constant)).toBeLessThanOrEqual(1e-9 * Math.abs(constant));
  }
});

test("refuses what can't be fitted, by name", () => {
  expect(ridge.fit([], { horizon: 4 })).toEqual([]);
  expect(() => ridge.fit([history([1, 2, 3, 4])], { horizon: 4 })).toThrow("the history has 4 values, needed are 5");
  expect(() => ridge.fit([history([1, 2, 3, 4, 5, 6])], { horizon: 4 }, { lookback: 3 })).toThrow("lookback: 3 values and 4 steps");
  const saved = ridge.fit([history([1, 2, 3, 4, 5, 6])], { horizon: 2 })[0]!.toJSON();
  const state = saved.state as { parameters: object };
  expect(() => ridge.load({ ...saved, state: { ...state, parameters: { ...state.parameters, lookback: 9 } } } as never)).toThrow(
    FormatError,
  );
});

const data = process.env.CHAINRULE_DATA;
const file = join(data ?? "", "ett", "ETTh1.csv");

describe.skipIf(data === undefined || !existsSync(file))("ETTh1 (CHAINRULE_DATA)", () => {
  test("OT, look-back 336, horizon 96: window mean and ridge score the protocol's errors on every test window", () => {
    const lines = readFileSync(file, "utf8").trim().split("\n");
    const values = Float64Array.from(lines.slice(1, 14_401), (line) => Number(line.split(",")[7]));
    const [lookback, horizon, trainEnd, testStart] = [336, 96, 8640, 11_520];
    const train = history(values.slice(0, trainEnd), 24);
    const mean = train.values.reduce((sum, value) => sum + value, 0) / trainEnd;
    const deviation = Math.sqrt(train.values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / trainEnd);
    const scores = (fitted: FittedForecaster) => {
      let [squared, absolute, count] = [0, 0, 0];
      for (let origin = testStart; origin + horizon <= values.length; origin++) {
        const forecast = fitted.apply(history(values.subarray(origin - lookback, origin), 24)).forecast(horizon).mean;
        for (const [h, value] of forecast.entries()) {
          const error = (value - values[origin + h]!) / deviation;
          squared += error * error;
          absolute += Math.abs(error);
          count++;
        }
      }
      expect(count).toBe(2785 * 96);
      return { mse: squared / count, mae: absolute / count };
    };
    // computed with numpy, see the table of docs/forecast-bench.md for all channels
    const simple = scores(windowMean.fit([train], { horizon }, { window: lookback })[0]!);
    expect(Math.abs(simple.mse - 0.0752)).toBeLessThan(1e-4);
    expect(Math.abs(simple.mae - 0.2129)).toBeLessThan(1e-4);
    const linear = scores(ridge.fit([train], { horizon }, { lookback, penalty: 1e-4 })[0]!);
    expect(Math.abs(linear.mse - 0.0539)).toBeLessThan(1e-3);
    expect(Math.abs(linear.mae - 0.1769)).toBeLessThan(1e-3);
  });
});
