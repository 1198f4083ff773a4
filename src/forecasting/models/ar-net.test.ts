import fc from "fast-check";
import { expect, test } from "vitest";
import { OptionError } from "../../errors.ts";
import { addLossGradient, arNet, penaltySlope } from "./ar-net.ts";
import { autoregression as ar } from "./autoregression.ts";
import { normalSampler } from "./normal-sampler.ts";

const history = (values: ArrayLike<number>, seasonalPeriod = 1) => ({ values: Float64Array.from(values), seasonalPeriod });
const task = { horizon: 5 };
const coefficientsOf = (fitted: { parameters: unknown }) => (fitted.parameters as { coefficients: number[] }).coefficients;

/** y_t = Σ w_i y_(t-i) + e_t with standard normal errors, its first 1,000 values left out. */
function simulate(length: number, weights: Readonly<Record<number, number>>, seed: number): Float64Array {
  const normal = normalSampler(seed);
  const y = new Float64Array(length + 1000);
  for (let t = 0; t < y.length; t++) {
    y[t] = normal();
    for (const [lag, weight] of Object.entries(weights)) y[t]! += weight * (y[t - Number(lag)] ?? 0);
  }
  return y.slice(1000);
}

const leastSquares = (values: Float64Array, order: number) => ar.fit([history(values)], task, { order })[0]!;
const net = (values: Float64Array, parameters: Record<string, number>) => arNet.fit([history(values)], task, parameters)[0]!;

/** Symmetric total percentage error, the paper's measure of coefficients. */
function stpe(found: readonly number[], truth: readonly number[]): number {
  const sums = found.reduce(
    ([error, size], value, i) => [error + Math.abs(value - truth[i]!), size + Math.abs(value) + Math.abs(truth[i]!)] as const,
    [0, 0] as readonly [number, number],
  );
  return (100 * sums[0]) / sums[1];
}

function oneStepError(fitted: ReturnType<typeof leastSquares>, values: Float64Array, order: number): number {
  let sum = 0;
  for (let t = order; t < values.length; t++) {
    const [next] = fitted.apply(history(values.subarray(t - order, t))).forecast(1).mean;
    sum += (values[t]! - next!) ** 2;
  }
  return sum / (values.length - order);
}

test("without the penalty its coefficients are those of least squares within 1e-3 (AR(10), 100,000 values)", () => {
  const values = simulate(100_000, { 1: 0.2, 2: 0.1, 3: -0.15, 4: 0.1, 5: 0.05, 7: 0.1, 10: -0.2 }, 3);
  const expected = coefficientsOf(leastSquares(values, 10));
  for (const [i, value] of coefficientsOf(net(values, { order: 10, sparsity: 1 })).entries())
    expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-3);
});

test("the gradient of its loss is zero at the least-squares solution, and the slope of the loss elsewhere", () => {
  const values = simulate(5000, { 1: 0.3, 2: -0.2, 7: 0.25 }, 11);
  const { constant, coefficients } = leastSquares(values, 10).parameters as { constant: number; coefficients: number[] };
  const starts = Array.from({ length: values.length - 10 }, (_, row) => row);
  const at = (weights: Float64Array, c: number) => {
    const gradient = { weights: new Float64Array(10), constant: new Float64Array(1) };
    return { loss: addLossGradient(values, starts, weights, Float64Array.of(c), gradient), gradient };
  };
  const solution = Float64Array.from(coefficients).reverse();
  const { gradient } = at(solution, constant);
  for (const slope of [...gradient.weights, ...gradient.constant]) expect(Math.abs(slope)).toBeLessThan(1e-6);
  const [elsewhere, h] = [solution.map((weight, lag) => weight + 0.01 * lag), 1e-4];
  const moved = (lag: number, by: number) =>
    at(
      elsewhere.map((weight, one) => (one === lag ? weight + by : weight)),
      0.2,
    ).loss;
  const slopes = at(elsewhere, 0.2).gradient.weights;
  for (const [lag, slope] of slopes.entries()) expect((moved(lag, h) - moved(lag, -h)) / (2 * h)).toBeCloseTo(slope, 6);
});

test("with it, coefficients of a sparse process are far nearer the truth than those of least squares, errors as small", () => {
  const truth = Array.from({ length: 20 }, (_, i) => ({ 0: 0.2, 2: 0.3, 9: -0.5 })[i as 0] ?? 0);
  const seeds = [1, 2, 3, 4, 5];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const runs = seeds.map((seed) => {
    const values = simulate(1000, { 1: 0.2, 3: 0.3, 10: -0.5 }, seed);
    const later = simulate(4000, { 1: 0.2, 3: 0.3, 10: -0.5 }, 100 + seed);
    const dense = leastSquares(values, 20);
    const sparse = net(values, { order: 20, sparsity: 0.05 });
    return {
      dense: stpe(coefficientsOf(dense), truth),
      sparse: stpe(coefficientsOf(sparse), truth),
      ratio: oneStepError(sparse, later, 20) / oneStepError(dense, later, 20),
    };
  });
  expect(mean(runs.map(({ sparse }) => sparse))).toBeLessThan(0.5 * mean(runs.map(({ dense }) => dense)));
  for (const { ratio } of runs) expect(ratio).toBeLessThan(1.01);
});

test("of 200 lags it picks the three that a long-range process has", () => {
  const values = simulate(10_000, { 1: 0.4, 96: 0.3, 168: -0.25 }, 7);
  const weights = coefficientsOf(net(values, { order: 200, sparsity: 0.015 }));
  const picked = [...weights.keys()].filter((i) => Math.abs(weights[i]!) > 0.05).map((i) => i + 1);
  expect(picked).toEqual([1, 96, 168]);
  // least squares leaves every other lag with noise of the size 1 / √N; the penalty does not
  const others = (list: readonly number[]) => list.filter((_, i) => ![0, 95, 167].includes(i)).reduce((sum, w) => sum + Math.abs(w), 0);
  expect(others(weights)).toBeLessThan(0.3 * others(coefficientsOf(leastSquares(values, 200))));
});

test("the penalty's slope is its derivative", () => {
  const penalty = (w: number) => 2 / (1 + Math.exp(-3 * Math.cbrt(Math.abs(w)))) - 1;
  for (const w of [-1.5, -0.3, -1e-3, 1e-3, 0.02, 0.5, 2]) {
    const h = 1e-5 * Math.abs(w);
    const difference = (penalty(w + h) - penalty(w - h)) / (2 * h);
    expect(Math.abs(penaltySlope(w) - difference)).toBeLessThan(1e-4 * Math.abs(difference));
  }
  expect(penaltySlope(0)).toBe(0);
  expect(Number.isFinite(penaltySlope(1e-300))).toBe(true);
});

test("updated = applied to the longer history = saved and loaded; a seed decides the fit", () => {
  const values = simulate(300, { 1: 0.5 }, 5);
  const fitted = net(values, { order: 4, epochs: 2 });
  expect(coefficientsOf(net(values, { order: 4, epochs: 2 }))).toEqual(coefficientsOf(fitted));
  expect(coefficientsOf(net(values, { order: 4, epochs: 2, seed: 2 }))).not.toEqual(coefficientsOf(fitted));
  const more = Float64Array.of(3, 1, 4);
  const expected = fitted.apply(history([...values, ...more])).forecast(9, { quantiles: [0.3] });
  expect(fitted.update(more).forecast(9, { quantiles: [0.3] })).toEqual(expected);
  expect(
    arNet
      .load(JSON.parse(JSON.stringify(fitted)))
      .update(more)
      .forecast(9, { quantiles: [0.3] }),
  ).toEqual(expected);
});

test("any legal history gives finite forecasts", () => {
  const value = fc.oneof(fc.constantFrom(0, 1, -1e308, 1e308, 5e-324), fc.double({ noNaN: true, noDefaultInfinity: true }));
  fc.assert(
    fc.property(fc.array(value, { minLength: 4, maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (values, period) => {
      const [fitted] = arNet.fit([history(values, period)], task, { epochs: 1 });
      const { mean, quantiles } = fitted!.forecast(20, { quantiles: [0.1, 0.9] });
      for (const one of [...mean, ...quantiles!.flatMap((list) => [...list])]) expect(Number.isFinite(one)).toBe(true);
    }),
  );
});

test("a constant series stays what it is", () => {
  expect([...net(Float64Array.of(7, 7, 7, 7, 7, 7, 7, 7), {}).forecast(3).mean]).toEqual([7, 7, 7]);
});

test("more lags than the history allows are refused by name", () => {
  expect(() => net(Float64Array.of(1, 2, 3, 4), { order: 3 })).toThrow(OptionError);
  expect(() => net(Float64Array.of(1, 2, 3, 4), { order: 3 })).toThrow("3 lags need 5 values, the history has 4");
});
