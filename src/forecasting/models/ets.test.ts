import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, OptionError } from "../../errors.ts";
import { ets } from "./ets.ts";
import { etsPrediction, pointForecasts } from "./ets-distribution.ts";
import { isForecastable, rootsAreWithin } from "./ets-fit.ts";
import { formName, formOf, stableForms } from "./ets-form.ts";
import { EtsRecursion } from "./ets-recursion.ts";
import { normalSampler } from "./normal-sampler.ts";

interface Given {
  form: string;
  alpha: number;
  beta: number;
  gamma: number;
  phi: number;
  level: number;
  growth: number;
  season: number[];
  logLikelihood: number;
  fitted: number[];
  mean: number[];
  endLevel: number;
  endGrowth: number;
  statsmodels?: { logLikelihood: number; fitted: number[]; mean: number[] };
  sigma?: number;
  variance?: number[];
}
/** fixtures/generate.py: statsforecast 2.1.1 and statsmodels 0.15.0 */
const reference = JSON.parse(readFileSync(new URL("./fixtures/reference.fixture.json", import.meta.url), "utf8")) as {
  etsGiven: { values: number[]; period: number; cases: Given[] };
  etsChosen: { values: number[]; period: number; form: string; aicc: number; mean: number[] }[];
};
const history = (values: ArrayLike<number>, seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });
const task = { horizon: 12 };

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
}

describe("for given parameters and start states", () => {
  const { values, period, cases } = reference.etsGiven;
  const y = Float64Array.from(values);

  test("all stable forms are in the fixture", () => {
    expect(cases.map((given) => given.form).sort()).toEqual(stableForms.map(formName).sort());
  });

  test.each(cases)("$form: likelihood, fitted values, states and forecasts equal the references'", (given) => {
    const form = formOf(given.form)!;
    const recursion = new EtsRecursion(form, y, period);
    const x = new Float64Array(recursion.size);
    x[0] = given.alpha;
    if (recursion.iBeta >= 0) x[recursion.iBeta] = given.beta / given.alpha;
    if (recursion.iGamma >= 0) x[recursion.iGamma] = given.gamma / (1 - given.alpha);
    if (recursion.iPhi >= 0) x[recursion.iPhi] = given.phi;
    x[recursion.iLevel] = given.level;
    if (recursion.iGrowth >= 0) x[recursion.iGrowth] = given.growth;
    if (recursion.iSeason >= 0) x.set(given.season.slice(1), recursion.iSeason);
    const fitted = new Float64Array(y.length);
    const run = recursion.run(x, fitted);
    expect(Math.abs(-run.deviance / 2 - given.logLikelihood)).toBeLessThan(1e-6);
    expect(largestDifference(fitted, given.fitted)).toBeLessThan(1e-6);
    expect(Math.abs(run.level - given.endLevel)).toBeLessThan(1e-6);
    expect(Math.abs(run.growth - given.endGrowth)).toBeLessThan(1e-6);
    expect(largestDifference(pointForecasts(form, given.phi, run, given.mean.length), given.mean)).toBeLessThan(1e-6);
    if (given.statsmodels !== undefined) {
      const constant = (y.length / 2) * (Math.log((2 * Math.PI) / y.length) + 1);
      expect(Math.abs(-run.deviance / 2 - constant - given.statsmodels.logLikelihood)).toBeLessThan(1e-6);
      expect(largestDifference(fitted, given.statsmodels.fitted)).toBeLessThan(1e-6);
      expect(largestDifference(pointForecasts(form, given.phi, run, given.mean.length), given.statsmodels.mean)).toBeLessThan(1e-6);
    }
    if (given.variance !== undefined) {
      const { quantile } = etsPrediction(form, given, run, given.sigma!, given.mean.length);
      const z = 1.2815515655446004; // scipy.stats.norm.ppf(0.9)
      const variance = quantile!(0.9).map((value, h) => ((value - given.mean[h]!) / z) ** 2);
      expect(largestDifference(variance, given.variance) / given.variance[0]!).toBeLessThan(1e-6);
    }
  });
});

test.each(stableForms.map(formName))("%s: derivatives equal central differences", (name) => {
  const form = formOf(name)!;
  const y = Float64Array.from(reference.etsGiven.values, (value) => value / 200);
  const recursion = new EtsRecursion(form, y, 4);
  const x = new Float64Array(recursion.size);
  x[0] = 0.4;
  if (recursion.iBeta >= 0) x[recursion.iBeta] = 0.3;
  if (recursion.iGamma >= 0) x[recursion.iGamma] = 0.2;
  if (recursion.iPhi >= 0) x[recursion.iPhi] = 0.9;
  x[recursion.iLevel] = 1.1;
  if (recursion.iGrowth >= 0) x[recursion.iGrowth] = form.trend === "M" ? 1.02 : 0.02;
  if (recursion.iSeason >= 0) x.set(form.season === "M" ? [0.9, 0.85, 1.05] : [-0.1, -0.12, 0.04], recursion.iSeason);
  const gradient = new Float64Array(recursion.size);
  recursion.linearize(x, gradient, new Float64Array(recursion.size ** 2));
  gradient.forEach((slope, i) => {
    const step = 1e-6;
    const above = recursion.value(x.map((value, k) => (k === i ? value + step : value)));
    const below = recursion.value(x.map((value, k) => (k === i ? value - step : value)));
    expect(Math.abs((above - below) / (2 * step) - slope)).toBeLessThan(1e-5 * Math.max(1, Math.abs(slope)));
  });
});

test("the chosen form's AICc is no worse than AutoETS's by more than 0.1 %", () => {
  for (const { values, period, aicc } of reference.etsChosen) {
    const [fitted] = ets.fit([history(values, period)], task);
    expect(fitted!.training!.aicc! - aicc).toBeLessThan(1e-3 * Math.abs(aicc));
  }
});

test("the variances of multiplicative forms equal those of simulated paths", () => {
  const smoothing = { alpha: 0.4, beta: 0.1, gamma: 0.3, phi: 0.9 };
  const sigma = 0.1;
  const horizon = 9;
  const numPaths = 100_000;
  for (const name of ["ETS(M,N,N)", "ETS(M,Ad,N)", "ETS(M,Ad,A)", "ETS(M,N,M)", "ETS(M,Ad,M)"]) {
    const form = formOf(name)!;
    const season = Float64Array.from({ N: [], A: [20, -30, 10, 0], M: [1.2, 0.7, 1.1, 1] }[form.season]);
    const growthOf = form.trend === "N" ? 0 : 4;
    const normal = normalSampler(7);
    const sums = new Float64Array(horizon);
    const squares = new Float64Array(horizon);
    for (let path = 0; path < numPaths; path++) {
      // the equations of the book's table 2.3, in their multiplicative-error form
      let level = 100;
      let growth = growthOf;
      const s = season.slice();
      for (let h = 0; h < horizon; h++) {
        const e = sigma * normal();
        const q = level + smoothing.phi * growth;
        const place = h % 4;
        const mu = form.season === "N" ? q : form.season === "A" ? q + s[place]! : q * s[place]!;
        sums[h]! += mu * (1 + e);
        squares[h]! += (mu * (1 + e)) ** 2;
        const r = form.season === "M" ? q * e : mu * e;
        level = q + smoothing.alpha * r;
        if (form.trend !== "N") growth = smoothing.phi * growth + smoothing.beta * r;
        if (form.season === "A") s[place]! += smoothing.gamma * mu * e;
        if (form.season === "M") s[place]! *= 1 + smoothing.gamma * e;
      }
    }
    const { mean, quantile } = etsPrediction(form, smoothing, { level: 100, growth: growthOf, season }, sigma, horizon);
    quantile!(0.9).forEach((value, h) => {
      const sd = (value - mean[h]!) / 1.2815515655446004;
      const simulated = Math.sqrt(squares[h]! / numPaths - (sums[h]! / numPaths) ** 2);
      expect(Math.abs(sd / simulated - 1), `${name} step ${h + 1}`).toBeLessThan(0.015); // 100,000 paths: 5 standard errors
    });
  }
});

test("quantiles of a multiplicative trend bracket the mean and grow apart", () => {
  const state = { level: 100, growth: 1.02, season: new Float64Array(0) };
  const smoothing = { alpha: 0.5, beta: 0.1, gamma: 0, phi: 1 };
  const { mean, quantile } = etsPrediction(formOf("ETS(M,M,N)")!, smoothing, state, 0.05, 8);
  const [low, high] = [quantile!(0.1), quantile!(0.9)];
  // the first step is exactly normal: mean (1 ± z σ), up to the noise of 5000 paths
  expect(Math.abs(high[0]! / (mean[0]! * (1 + 1.2815515655446004 * 0.05)) - 1)).toBeLessThan(0.005);
  expect(high[7]! - low[7]!).toBeGreaterThan(2 * (high[0]! - low[0]!));
});

test("roots in the circle: agrees with polynomials made of known roots", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -1.5, max: 1.5, noNaN: true }), { minLength: 1, maxLength: 6 }), (roots) => {
      fc.pre(roots.every((root) => Math.abs(Math.abs(root) - 1) > 1e-3));
      let polynomial = [1];
      for (const root of roots) polynomial = [...polynomial, 0].map((_, k) => (polynomial[k - 1] ?? 0) - root * (polynomial[k] ?? 0));
      expect(rootsAreWithin(Float64Array.from(polynomial), 1)).toBe(roots.every((root) => Math.abs(root) < 1));
    }),
  );
});

test("smoothing that never forgets is recognized", () => {
  // alpha, beta and gamma at their upper ends for a season of 12: spectral radius 1.04 of F - gw' (numpy.linalg.eigvals)
  const recursion = new EtsRecursion(formOf("ETS(A,A,A)")!, new Float64Array(30).fill(1), 12);
  const x = new Float64Array(recursion.size);
  x.set([0.5, 0.2, 0.3]);
  expect(isForecastable({ recursion, x }, 12)).toBe(true);
  x.set([0.18, 0.9999, 0.9999]);
  expect(isForecastable({ recursion, x }, 12)).toBe(false);
});

describe("as a forecaster", () => {
  const monthly = Float64Array.from(reference.etsChosen[0]!.values);

  test("a longer history through update equals one pass of the recursion", () => {
    const [fitted] = ets.fit([history(monthly, 12)], task, { error: "multiplicative", trend: "additive-damped", season: "multiplicative" });
    const more = monthly.slice(0, 15).map((value) => value * 1.1);
    const once = fitted!.update(more);
    const twice = fitted!.update(more.slice(0, 7)).update(more.slice(7));
    expect(largestDifference(once.forecast(20).mean, twice.forecast(20).mean)).toBeLessThan(1e-9);
    const loaded = ets.load(JSON.parse(JSON.stringify(fitted)));
    expect(loaded.update(more).forecast(20, { quantiles: [0.1, 0.9] })).toEqual(once.forecast(20, { quantiles: [0.1, 0.9] }));
    expect(loaded.description).toBe("ETS(M,Ad,M)");
  });

  test("applied to its own history it forecasts as it did", () => {
    const [fitted] = ets.fit([history(monthly, 12)], task);
    const again = fitted!.apply(history(monthly, 12));
    expect(again.parameters).toEqual(fitted!.parameters);
    // the optimum in the start states is reached to the optimizer's tolerance
    const scale = Math.max(...monthly);
    expect(largestDifference(again.forecast(12).mean, fitted!.forecast(12).mean) / scale).toBeLessThan(1e-3);
  });

  test("forecasts scale with the series, exactly for powers of two", () => {
    const forecastOf = (factor: number) =>
      ets
        .fit(
          [
            history(
              monthly.map((value) => value * factor),
              12,
            ),
          ],
          task,
        )[0]!
        .forecast(12, { quantiles: [0.2] });
    const plain = forecastOf(1);
    for (const factor of [2 ** -900, 2 ** 900]) {
      const scaled = forecastOf(factor);
      expect(scaled.mean).toEqual(plain.mean.map((value) => value * factor));
      expect(scaled.quantiles![0]).toEqual(plain.quantiles![0]!.map((value) => value * factor));
    }
  });

  test("constant, tiny, huge and short series: finite, and right where there is one right answer", () => {
    const mean = (values: number[], period = 1) => ets.fit([history(values, period)], task)[0]!.forecast(24, { quantiles: [0.05, 0.95] });
    for (const constant of [0, 7, -3.3, 1e308, 5e-324]) {
      const forecast = mean(new Array(40).fill(constant), 12);
      for (const value of forecast.mean) expect(Math.abs(value - constant)).toBeLessThanOrEqual(1e-9 * Math.abs(constant));
    }
    const line = mean(Array.from({ length: 40 }, (_, t) => 5 + 2 * t));
    for (const [h, value] of line.mean.entries()) expect(Math.abs(value - (5 + 2 * (40 + h)))).toBeLessThan(1e-4);
    for (const values of [
      [1, 2],
      [1e308, -1e308],
      [1e308, -1e308, 1e308, -1e308, 1e308, -1e308, 1],
      [1, 2, 3],
      [0, 0, 0, 0, 0, 5],
    ]) {
      const { mean: points, quantiles } = mean(values, 2);
      expect(points.every(Number.isFinite)).toBe(true);
      for (const column of quantiles ?? []) expect(column.every(Number.isFinite)).toBe(true);
    }
  });

  test("any legal history gives finite forecasts", () => {
    const value = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer({ min: -3, max: 3 }),
      fc.double({ min: 0.1, max: 9, noNaN: true }),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 2, maxLength: 24 }), fc.integer({ min: 1, max: 5 }), (values, period) => {
        const forecast = ets.fit([history(values, period)], task)[0]!.forecast(15, { quantiles: [0.1, 0.9] });
        for (const column of [forecast.mean, ...(forecast.quantiles ?? [])]) expect(column.every(Number.isFinite)).toBe(true);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 5000 : 150 },
    );
  });

  test("a season longer than 24 is fitted with the decomposition's start", () => {
    const y = Float64Array.from({ length: 200 }, (_, t) => 10 + Math.sin((2 * Math.PI * t) / 48) + 0.01 * Math.sin(t * t));
    const [fitted] = ets.fit([history(y, 48)], task);
    const mean = fitted!.forecast(48).mean;
    for (const [h, value] of mean.entries()) expect(Math.abs(value - 10 - Math.sin((2 * Math.PI * (200 + h)) / 48))).toBeLessThan(0.05);
  });

  test("refuses what can't be fitted, by name", () => {
    const fit =
      (values: number[], parameters: Record<string, string>, period = 4) =>
      () =>
        ets.fit([history(values, period)], task, parameters);
    expect(fit([1, 2, 3], { error: "additive", season: "multiplicative" })).toThrow(OptionError);
    expect(fit([1, 2, 3], { season: "additive" })).toThrow("season: 3 values with a season of 4");
    expect(fit([1, 2, 0, 3, 4, 5], { error: "multiplicative" }, 1)).toThrow("the one at index 2 is 0");
    expect(fit([1], {})).toThrow("the history has 1 values, needed are 2");
    const [fitted] = ets.fit([history(monthly, 12)], task);
    const saved = fitted!.toJSON();
    const state = saved.state as { parameters: object };
    expect(() => ets.load({ ...saved, state: { ...state, parameters: { ...state.parameters, form: "ETS(A,N,M)" } } } as never)).toThrow(
      FormatError,
    );
    expect(() => ets.load({ ...saved, state: { ...state, parameters: { ...state.parameters, alpha: null } } } as never)).toThrow(
      "field alpha",
    );
  });
});
