import { expect, test } from "vitest";
import { OptionError } from "../../src/errors.ts";
import { forecast } from "../../src/forecasting/index.ts";
import { seasonalNaive, spacetime } from "../../src/forecasting/models/index.ts";
import { normalSampler } from "../../src/forecasting/models/normal-sampler.ts";
import { network } from "../../src/forecasting/models/spacetime/graph.ts";
import { mapTensors, runNetwork, tensorNames, tensorShapes } from "../../src/forecasting/models/spacetime/network.ts";
import { constants } from "../../src/forecasting/models/spacetime/train.ts";
import type { Forecaster } from "../../src/forecasting/types.ts";
import { Device } from "../../src/ggml/index.ts";
import { input, Program } from "../../src/tensor/index.ts";
import { Parameters } from "../../src/weights/index.ts";

test.each([
  { channels: 4, state: 3, lookback: 10, horizon: 7 },
  { channels: 6, state: 16, lookback: 40, horizon: 33 },
  { channels: 8, state: 64, lookback: 336, horizon: 96 },
])("the training graph computes what the network is defined as: %o", ({ horizon, ...shape }) => {
  using device = Device.create("cpu", 1);
  using parameters = Parameters.create(
    device,
    Object.entries(tensorShapes(shape)).map(([name, dims]) => ({ name, shape: dims })),
  );
  using fixed = constants(device, shape);
  const normal = normalSampler(4);
  for (const name of tensorNames) parameters.values(name).set(parameters.values(name).map(() => normal()));
  const batch = 2;
  const windows = Array.from({ length: batch }, () => Float64Array.from({ length: shape.lookback }, normal));
  const outputs = network(input("x", "f32", [batch, shape.lookback]), (name) => parameters.tensor(name), fixed.tensors, shape, horizon);
  using program = Program.compile(device, { ...outputs });
  for (const [b, values] of windows.entries()) program.input("x").set(values, b * shape.lookback);
  program.runSync();
  const weights = mapTensors((name) => Float64Array.from(parameters.values(name)));
  for (const [b, values] of windows.entries()) {
    const expected = runNetwork(weights, shape, values, horizon);
    const size = Math.max(...expected.forecast.map(Math.abs), ...expected.fitted.map(Math.abs), 1);
    // gelu is a table of f16 numbers in ggml: 2^-11 of its argument, per channel
    const tolerance = 2 ** -10 * shape.channels * size;
    for (let h = 0; h < horizon; h++)
      expect(Math.abs(program.peek("forecast")[b * horizon + h]! - expected.forecast[h]!)).toBeLessThan(tolerance);
    for (let t = 0; t < shape.lookback; t++)
      expect(Math.abs(program.peek("fitted")[b * shape.lookback + t]! - expected.fitted[t]!)).toBeLessThan(tolerance);
  }
});

const history = (values: ArrayLike<number>, seasonalPeriod = 12) => ({ values: Float64Array.from(values), seasonalPeriod });
const quick = { lookback: 36, state: 16, channels: 4, batch: 8 };
const wave = Float64Array.from({ length: 260 }, (_, t) => 50 + 10 * Math.sin((2 * Math.PI * t) / 12) + 4 * Math.sin((2 * Math.PI * t) / 5));

test("trained on two waves it goes on with both, where repeating a season can't", () => {
  const [train, next] = [wave.slice(0, 248), wave.slice(248)];
  const error = (model: Forecaster, parameters = {}) => {
    const { mean } = model.fit([history(train)], { horizon: 12 }, parameters)[0]!.forecast(12);
    return mean.reduce((sum, value, h) => sum + (value - next[h]!) ** 2, 0);
  };
  expect(error(spacetime, { ...quick, steps: 200 })).toBeLessThan(0.2 * error(seasonalNaive));
});

test.each([
  { name: "AR(4)", weights: [0.1, -0.1, 0, -0.75] },
  { name: "AR(6)", weights: [0.1, 0, -0.1, 0.1, 0, 0.65] },
])("trained on an $name it comes near the forecasts that know the process", ({ weights }) => {
  const normal = normalSampler(5);
  const y = new Float64Array(4500);
  const next = (path: Float64Array, t: number) => weights.reduce((sum, weight, lag) => sum + weight * (path[t - 1 - lag] ?? 0), 0);
  for (let t = 0; t < y.length; t++) y[t] = next(y, t) + normal();
  const horizon = 12;
  const [fitted] = spacetime.fit([history(y.slice(0, 3000), 1)], { horizon }, { ...quick, batch: 32, steps: 400 });
  let [apart, size, own, best] = [0, 0, 0, 0];
  for (let origin = 3100; origin + horizon <= y.length; origin += 3) {
    const path = new Float64Array(y.slice(0, origin + horizon));
    for (let t = origin; t < path.length; t++) path[t] = next(path, t);
    const { mean } = fitted!.apply(history(y.slice(origin - quick.lookback, origin), 1)).forecast(horizon);
    for (let h = 0; h < horizon; h++) {
      const [known, actual] = [path[origin + h]!, y[origin + h]!];
      apart += (mean[h]! - known) ** 2;
      size += known ** 2;
      own += (mean[h]! - actual) ** 2;
      best += (known - actual) ** 2;
    }
  }
  // the mean of the process would be 1 from those forecasts, at d 16 and 400 steps it is 0.12 and 0.14
  expect(apart / size).toBeLessThan(0.2);
  expect(own / best).toBeLessThan(1.15);
});

test("a seed decides the weights, whatever the number of threads; updated = applied to the longer history = saved and loaded", () => {
  const fit = (parameters: object) => spacetime.fit([history(wave)], { horizon: 6 }, { ...quick, steps: 5, ...parameters })[0]!;
  const fitted = fit({ threads: 1 });
  expect(fit({ threads: 2 }).toJSON()).toEqual(fitted.toJSON());
  expect(fit({ seed: 2 }).toJSON()).not.toEqual(fitted.toJSON());
  const more = Float64Array.of(51, 53, 48);
  const expected = fitted.apply(history([...wave, ...more])).forecast(9);
  expect(fitted.update(more).forecast(9)).toEqual(expected);
  expect(
    spacetime
      .load(JSON.parse(JSON.stringify(fitted)))
      .update(more)
      .forecast(9),
  ).toEqual(expected);
});

test("constant, huge and tiny histories give finite forecasts; one that is too short, and a look-back that is too long, are refused by name", () => {
  for (const value of [0, 7, 1e308, 5e-324])
    for (const sign of [1, -1]) {
      const values = Array.from({ length: 60 }, (_, t) => (t % 3 === 0 ? sign : 1) * value);
      const { mean } = spacetime.fit([history(values)], { horizon: 6 }, { ...quick, steps: 2 })[0]!.forecast(20);
      for (const one of mean) expect(Number.isFinite(one)).toBe(true);
    }
  expect(() => spacetime.fit([history([1, 2, 3])], { horizon: 6 })).toThrow("the history has 3 values, needed are 28");
  expect(() => spacetime.fit([history(wave)], { horizon: 6 }, { lookback: 300 })).toThrow(OptionError);
});

test("named in a forecast it is trained twice, for the backtest and for the answer, tells how far it is, and can be broken off", async () => {
  const rows = [...wave].map((y, step) => ({ step, y }));
  const task = { horizon: 6, time: "step", target: "y", model: "spacetime" } as const;
  const parameters = { ...quick, channels: 16, steps: 60 };
  const told: number[] = [];
  const { chosen, forecasts, coverage } = await forecast(rows, {
    ...{ ...task, parameters },
    onProgress: ({ stage, done, total }) => stage === "training" && told.push(done / total!),
  });
  const begun = told.filter((part, index) => index === 0 || part < told[index - 1]!);
  expect(begun.length).toBeGreaterThan(0);
  expect(begun.length).toBeLessThanOrEqual(2);
  expect(chosen.table.find(({ model }) => model === "spacetime")).toMatchObject({ windows: 20 });
  expect([coverage.length, Object.keys(forecasts[0]!.intervals)]).toEqual([2, ["80", "95"]]);

  const controller = new AbortController();
  const endless = forecast(rows, {
    ...{ ...task, parameters: { ...parameters, steps: 1e6 }, signal: controller.signal },
    onProgress: ({ stage }) => stage === "training" && setTimeout(() => controller.abort(new Error("enough")), 0),
  });
  await expect(endless).rejects.toThrow("enough");
});
