import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError } from "../../errors.ts";
import { autoregression as ar } from "./autoregression.ts";
import { LeastSquares } from "./householder-qr.ts";
import { normalSampler } from "./normal-sampler.ts";

/** fixtures/generate.py: statsmodels 0.15.0, AutoReg and ar_select_order */
const reference = JSON.parse(readFileSync(new URL("./fixtures/reference.fixture.json", import.meta.url), "utf8")) as {
  ar: {
    values: number[];
    maxOrder: number;
    chosen: Record<"aic" | "bic" | "hqic", number>;
    fits: {
      order: number;
      parameters: number[];
      logLikelihood: number;
      aic: number;
      bic: number;
      fitted: number[];
      mean: number[];
      se: number[];
    }[];
  }[];
};
const history = (values: ArrayLike<number>, seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });
const task = { horizon: 10 };
const close = (a: number, b: number, tolerance: number) => expect(Math.abs(a - b)).toBeLessThan(tolerance * Math.max(1, Math.abs(b)));

test("coefficients, likelihood, criteria, fitted values and forecasts equal statsmodels'", () => {
  for (const { values, fits } of reference.ar) {
    for (const fit of fits) {
      const [fitted] = ar.fit([history(values)], task, { order: fit.order });
      const { constant, coefficients } = fitted!.parameters as unknown as { constant: number; coefficients: number[] };
      [constant, ...coefficients].forEach((value, i) => {
        close(value, fit.parameters[i]!, 1e-9);
      });
      const { logLikelihood, aic, bic, fitted: inSample } = fitted!.training!;
      close(logLikelihood!, fit.logLikelihood, 1e-9);
      close(aic!, fit.aic, 1e-9);
      close(bic!, fit.bic, 1e-9);
      fit.fitted.forEach((value, i) => {
        close(inSample![fit.order + i]!, value, 1e-9);
      });
      const { mean, quantiles } = fitted!.forecast(10, { quantiles: [0.9] });
      fit.mean.forEach((value, h) => {
        close(mean[h]!, value, 1e-9);
      });
      // statsmodels divides by the number of rows, we by the degrees of freedom
      const rows = values.length - fit.order;
      const factor = Math.sqrt(rows / (rows - fit.order - 1));
      fit.se.forEach((se, h) => {
        close((quantiles![0]![h]! - mean[h]!) / 1.2815515655446004, se * factor, 1e-9);
      });
    }
  }
});

test("the order equals ar_select_order's", () => {
  for (const { values, maxOrder, chosen } of reference.ar) {
    for (const criterion of ["aic", "bic", "hqic"] as const) {
      const [fitted] = ar.fit([history(values)], task, { maxOrder, criterion });
      expect((fitted!.parameters.coefficients as number[]).length, criterion).toBe(chosen[criterion]);
    }
  }
});

test("a simulated process's order and coefficients are found", () => {
  const normal = normalSampler(11);
  const y = new Float64Array(20_000);
  for (let t = 3; t < y.length; t++) y[t] = 2 + 0.5 * y[t - 1]! - 0.3 * y[t - 3]! + normal();
  const [fitted] = ar.fit([history(y)], task, { criterion: "bic" });
  const { coefficients } = fitted!.parameters as unknown as { coefficients: number[] };
  expect(coefficients.length).toBe(3);
  const truth = [0.5, 0, -0.3];
  for (const [i, value] of coefficients.entries()) expect(Math.abs(value - truth[i]!)).toBeLessThan(0.03); // 4 standard errors
});

test("least squares: the normal equations hold for every leading column count, dependent columns get 0", () => {
  const real = fc.double({ min: -100, max: 100, noNaN: true }).map((x) => Math.round(x * 8) / 8);
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 5 })
        .chain((k) =>
          fc.tuple(fc.constant(k), fc.array(fc.array(real, { minLength: k, maxLength: k }), { minLength: k + 2, maxLength: 12 }), real),
        ),
      ([k, rows, seed]) => {
        const n = rows.length;
        const y = rows.map((row, i) => row[0]! * 0.3 + ((i * 7 + seed) % 5));
        const columns = new Float64Array((k + 1) * n);
        for (const [i, row] of rows.entries()) {
          for (const [j, value] of row.entries()) columns[j * n + i] = value;
          columns[k * n + i] = row[0]! * 2; // depends on the first column
        }
        const system = new LeastSquares(columns, Float64Array.from(y));
        for (let count = 1; count <= k + 1; count++) {
          const solution = system.solve(count);
          if (count === k + 1) expect(solution[k]).toBe(0);
          const residual = y.map((value, i) => value - rows[i]!.slice(0, count).reduce((sum, x, j) => sum + x * solution[j]!, 0));
          const size = Math.max(1, ...solution.map(Math.abs)) * 100 * n;
          for (let j = 0; j < Math.min(count, k); j++) {
            expect(Math.abs(residual.reduce((sum, r, i) => sum + r * rows[i]![j]!, 0))).toBeLessThan(1e-9 * size * 100);
          }
          expect(Math.abs(residual.reduce((sum, r) => sum + r * r, 0) - system.residualSumOfSquares(count))).toBeLessThan(
            1e-9 * size * size,
          );
        }
      },
    ),
  );
});

test("updated = applied to the longer history = saved and loaded", () => {
  const { values } = reference.ar[0]!;
  const [fitted] = ar.fit([history(values)], task);
  const more = Float64Array.of(3, 1, 4);
  const expected = fitted!.apply(history([...values, ...more])).forecast(9, { quantiles: [0.3] });
  expect(fitted!.update(more).forecast(9, { quantiles: [0.3] })).toEqual(expected);
  expect(
    ar
      .load(JSON.parse(JSON.stringify(fitted)))
      .update(more)
      .forecast(9, { quantiles: [0.3] }),
  ).toEqual(expected);
});

test("any legal history gives finite forecasts; a constant stays", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 40 }), (values) => {
      const forecast = ar.fit([history(values)], task)[0]!.forecast(200, { quantiles: [0.1, 0.9] });
      for (const column of [forecast.mean, ...(forecast.quantiles ?? [])]) expect(column.every(Number.isFinite)).toBe(true);
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 5000 : 300 },
  );
  for (const constant of [0, 0.1, -1e308]) {
    const { mean } = ar.fit([history(new Array(50).fill(constant))], task)[0]!.forecast(12);
    for (const value of mean) expect(Math.abs(value - constant)).toBeLessThanOrEqual(1e-9 * Math.abs(constant));
  }
  const [explosive] = ar.fit([history(Array.from({ length: 30 }, (_, t) => 3 ** t))], task, { order: 1 });
  expect(explosive!.forecast(2000).mean.at(-1)).toBe(Number.MAX_VALUE);
});

test("refuses what can't be fitted, by name", () => {
  expect(() => ar.fit([history([1, 2, 3, 4])], task, { order: 2 })).toThrow(
    "order: 2 lags and a constant need 5 values, the history has 4",
  );
  expect(() => ar.fit([history([1, 2, 3, 4])], task, { order: 1, maxOrder: 2 })).toThrow("maxOrder: has no meaning beside order");
  const [fitted] = ar.fit([history([1, 2, 4, 3, 5, 9])], task, { order: 2 });
  expect(() => fitted!.apply(history([1]))).toThrow("needed are 2");
  const saved = fitted!.toJSON();
  expect(() => ar.load({ ...saved, state: { ...saved.state, state: { recent: [1] } } })).toThrow(FormatError);
});

const data = process.env.CHAINRULE_DATA;
const file = join(data ?? "", "ett", "ETTh1.csv");

test.skipIf(data === undefined || !existsSync(file))(
  "ETTh1 OT (CHAINRULE_DATA): iterated AR(24) scores what numpy's least squares score",
  () => {
    const lines = readFileSync(file, "utf8").trim().split("\n");
    const values = Float64Array.from(lines.slice(1, 14_401), (line) => Number(line.split(",")[7]));
    const [trainEnd, testStart] = [8640, 11_520];
    const train = values.slice(0, trainEnd);
    const mean = train.reduce((sum, value) => sum + value, 0) / trainEnd;
    const variance = train.reduce((sum, value) => sum + (value - mean) ** 2, 0) / trainEnd;
    const expected = { 96: 0.0805, 720: 0.6724 };
    const [fitted] = ar.fit([history(train, 24)], { horizon: 720 }, { order: 24 });
    for (const horizon of [96, 720] as const) {
      let [squared, count] = [0, 0];
      for (let origin = testStart; origin + horizon <= values.length; origin++) {
        const forecast = fitted!.apply(history(values.subarray(origin - 336, origin), 24)).forecast(horizon).mean;
        for (const [h, value] of forecast.entries()) squared += (value - values[origin + h]!) ** 2;
        count += horizon;
      }
      expect(Math.abs(squared / count / variance - expected[horizon])).toBeLessThan(1e-4);
    }
  },
);
