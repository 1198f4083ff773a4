import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError, OptionError } from "../../errors.ts";
import { normalSampler } from "./normal-sampler.ts";
import { isSeasonal, theta } from "./theta.ts";
import { runTheta, type ThetaModel, ThetaProfile, thetaForecasts, thetaModels, thetaVariances } from "./theta-recursion.ts";

/** fixtures/generate.py: statsforecast 2.1.1 */
const reference = JSON.parse(readFileSync(new URL("./fixtures/reference.fixture.json", import.meta.url), "utf8")) as {
  thetaGiven: {
    values: number[];
    cases: { variant: ThetaModel; alpha: number; theta: number; startLevel: number; mse: number; fitted: number[]; mean: number[] }[];
  };
  thetaChosen: { values: number[]; period: number; seasonal: boolean; variant: string; mse: number; mean: number[] }[];
};
const history = (values: ArrayLike<number>, seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });
const task = { horizon: 12 };

/** The criterion of AutoTheta: squared errors from the fourth on over the mean size. */
function criterion(values: ArrayLike<number>, fitted: ArrayLike<number>): number {
  let sum = 0;
  let size = 0;
  for (let t = 0; t < values.length; t++) {
    if (t >= 3) sum += (values[t]! - fitted[t]!) ** 2;
    size += Math.abs(values[t]!) / values.length;
  }
  return sum / size;
}

test.each(reference.thetaGiven.cases)("$variant: fitted values and forecasts for given parameters equal statsforecast's", (given) => {
  const y = Float64Array.from(reference.thetaGiven.values);
  const fitted = new Float64Array(y.length);
  const weight = 1 - 1 / given.theta;
  const end = runTheta(given.variant, y, given.alpha, weight, given.startLevel, fitted);
  fitted.forEach((value, t) => {
    expect(Math.abs(value - given.fitted[t]!)).toBeLessThan(1e-6);
  });
  expect(Math.abs(criterion(y, fitted) - given.mse)).toBeLessThan(1e-6);
  const mean = thetaForecasts(given.variant, given.alpha, weight, end, given.mean.length);
  mean.forEach((value, h) => {
    expect(Math.abs(value - given.mean[h]!)).toBeLessThan(1e-6);
  });
});

test.each(thetaModels)("%s: the profile's sum of squares is that of a run, and no nearby start level or weight is better", (model) => {
  const y = Float64Array.from(reference.thetaGiven.values, (value) => value / 256);
  const { sumSquares, startLevel, weight } = new ThetaProfile(model, y, {}).at(0.4);
  const sum = (level: number, w: number) => {
    const fitted = new Float64Array(y.length);
    runTheta(model, y, 0.4, w, level, fitted);
    return fitted.reduce((total, value, t) => (t < 3 ? total : total + (y[t]! - value) ** 2), 0);
  };
  expect(Math.abs(sum(startLevel, weight) - sumSquares)).toBeLessThan(1e-9);
  for (const [level, w] of [
    [0.01, 0],
    [-0.01, 0],
    [0, 0.01],
    [0, -0.01],
  ] as const) {
    const nearby = weight + w;
    if (nearby >= 0 && nearby <= 1) expect(sum(startLevel + level, nearby)).toBeGreaterThanOrEqual(sumSquares - 1e-12);
  }
});

/** AICc of normal errors from the fourth on, up to a constant of the series: α, ℓ₀, the variance and, in OTM and DOTM, θ are estimated. */
function aicc(values: ArrayLike<number>, mse: number, variant: string): number {
  const [n, k] = [values.length - 3, variant === "OTM" || variant === "DOTM" ? 4 : 3];
  return n * Math.log(mse) + 2 * k + (2 * k * (k + 1)) / (n - k - 1);
}

test("automatic choice: the season is found where AutoTheta finds it, and AICc and the errors of its variant are no larger", () => {
  for (const { values, period, seasonal, variant, mse } of reference.thetaChosen) {
    const [fitted] = theta.fit([history(values, period)], task);
    expect(fitted!.parameters.season !== "none").toBe(seasonal);
    if (seasonal) continue;
    const own = aicc(values, criterion(values, fitted!.training!.fitted!), String(fitted!.parameters.variant));
    const other = aicc(values, mse, variant);
    expect(own - other).toBeLessThan(1e-3 * Math.abs(other));
    const [same] = theta.fit([history(values, period)], task, { variant });
    expect(criterion(values, same!.training!.fitted!)).toBeLessThan(mse * 1.001);
  }
});

test("the variant has the least AICc: θ is estimated where it explains something, not where it only lowers the errors", () => {
  const normal = normalSampler(11);
  let walk = 100;
  const wandering = Float64Array.from({ length: 300 }, () => (walk += normal()));
  const rising = Float64Array.from({ length: 60 }, (_, t) => 20 + 3 * t + normal());
  const chosen = [wandering, rising].map((values) => {
    const of = (variant: string) => {
      const [fitted] = theta.fit([history(values)], task, { variant });
      const sum = criterion(values, fitted!.training!.fitted!);
      return { variant: String(fitted!.parameters.variant), sum, aicc: aicc(values, sum, variant) };
    };
    const auto = of("auto").variant;
    const all = thetaModels.map(of);
    expect(all.reduce((a, b) => (b.aicc < a.aicc ? b : a)).variant).toBe(auto);
    return { auto, least: all.reduce((a, b) => (b.sum < a.sum ? b : a)).variant };
  });
  expect(chosen).toEqual([
    { auto: expect.stringMatching(/^D?STM$/), least: expect.stringMatching(/^D?OTM$/) },
    { auto: expect.stringMatching(/^D?OTM$/), least: expect.stringMatching(/^D?OTM$/) },
  ]);
});

test.each(["STM", "DOTM"] as const)("%s: variances equal those of simulated paths", (model) => {
  const [alpha, weight, count, horizon, numPaths] = [0.6, 0.7, 20, 6, 50_000];
  const normal = normalSampler(3);
  const squares = new Float64Array(horizon);
  const means = new Float64Array(horizon);
  for (let path = 0; path < numPaths; path++) {
    // one step at a time: each value is its forecast plus an error
    let state = { level: 5, mean: 4, intercept: 3, slope: 0.1, count };
    for (let h = 0; h < horizon; h++) {
      const y = thetaForecasts(model, alpha, weight, state, 1)[0]! + normal();
      means[h]! += y / numPaths;
      squares[h]! += (y * y) / numPaths;
      const [i, m] = [state.count, state.mean];
      let { intercept, slope } = state;
      const mean = (i * m + y) / (i + 1);
      if (model === "DOTM") {
        slope = ((i - 1) * slope + (6 * (y - m)) / (i + 1)) / (i + 2); // Fiorucci et al. 2016, equations 13 to 15
        intercept = mean - (slope * (i + 2)) / 2;
      }
      state = { level: alpha * y + (1 - alpha) * state.level, mean, intercept, slope, count: i + 1 };
    }
  }
  thetaVariances(model, alpha, weight, count, horizon).forEach((variance, h) => {
    expect(Math.abs(variance / (squares[h]! - means[h]! ** 2) - 1)).toBeLessThan(0.035); // 50,000 paths: 5 standard errors
  });
});

test("the season test: a wave is seasonal, noise and a constant are not", () => {
  const normal = normalSampler(5);
  expect(
    isSeasonal(
      Float64Array.from({ length: 60 }, (_, t) => Math.sin(t * Math.PI * (2 / 12)) + 0.3 * normal()),
      12,
    ),
  ).toBe(true);
  expect(isSeasonal(new Float64Array(60).fill(0.1), 12)).toBe(false);
  expect(isSeasonal(Float64Array.of(1, 2, 1, 2), 4)).toBe(false);
});

test("updated = continued, saved and loaded", () => {
  const { values } = reference.thetaChosen[0]!;
  for (const variant of thetaModels) {
    const [fitted] = theta.fit([history(values, 12)], task, { variant });
    const more = Float64Array.from(values.slice(0, 8), (value) => value * 1.2);
    const updated = fitted!.update(more).forecast(15, { quantiles: [0.1] });
    const inSteps = fitted!
      .update(more.slice(0, 3))
      .update(more.slice(3))
      .forecast(15, { quantiles: [0.1] });
    updated.mean.forEach((value, h) => {
      expect(Math.abs(value / inSteps.mean[h]! - 1)).toBeLessThan(1e-12);
    });
    expect(
      theta
        .load(JSON.parse(JSON.stringify(fitted)))
        .update(more)
        .forecast(15, { quantiles: [0.1] }),
    ).toEqual(updated);
    const again = fitted!.apply(history(values, 12)).forecast(15);
    fitted!.forecast(15).mean.forEach((value, h) => {
      expect(Math.abs(value / again.mean[h]! - 1)).toBeLessThan(1e-9);
    });
  }
});

test("any legal history gives finite forecasts; a constant stays, a line goes on", () => {
  const value = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer({ min: -3, max: 3 }),
    fc.double({ min: 0.1, max: 9, noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(value, { minLength: 4, maxLength: 40 }), fc.integer({ min: 1, max: 5 }), (values, period) => {
      const forecast = theta.fit([history(values, period)], task)[0]!.forecast(15, { quantiles: [0.1, 0.9] });
      for (const column of [forecast.mean, ...(forecast.quantiles ?? [])]) expect(column.every(Number.isFinite)).toBe(true);
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 5000 : 300 },
  );
  for (const constant of [0, 7, -3.3, 1e308]) {
    const { mean } = theta.fit([history(new Array(40).fill(constant), 12)], task)[0]!.forecast(12);
    for (const value of mean) expect(Math.abs(value - constant)).toBeLessThanOrEqual(1e-6 * Math.abs(constant));
  }
  const line = theta.fit([history(Array.from({ length: 40 }, (_, t) => 5 + 2 * t))], task, { variant: "OTM" })[0]!.forecast(12);
  line.mean.forEach((value, h) => {
    expect(Math.abs(value - (5 + 2 * (40 + h)))).toBeLessThan(0.01);
  });
});

test("refuses what can't be fitted, by name", () => {
  expect(() => theta.fit([history([1, 2, 3])], task)).toThrow("the history has 3 values, needed are 4");
  expect(() => theta.fit([history([1, 2, 3, 4, 5], 4)], task, { season: "additive" })).toThrow(OptionError);
  expect(() => theta.fit([history([1, 2, 0, 4, 5, 3, 2, 1], 4)], task, { season: "multiplicative" })).toThrow("index 2 is 0");
  const saved = theta.fit([history([1, 2, 3, 5])], task)[0]!.toJSON();
  const state = saved.state as { parameters: object };
  expect(() => theta.load({ ...saved, state: { ...state, parameters: { ...state.parameters, variant: "X" } } } as never)).toThrow(
    FormatError,
  );
});
