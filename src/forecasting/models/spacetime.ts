import { OptionError } from "../../errors.ts";
import type { FitProgress, FitTask, FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { checkHistory, fitEachInParts, fittedModel, loadFitted, type Method } from "./fitted-model.ts";
import { atOnce } from "./in-parts.ts";
import { latest } from "./latest.ts";
import { mapTensors, type NetworkShape, type NetworkWeights, prepareNetwork, tensorNames, tensorShapes } from "./spacetime/network.ts";
import { trainNetwork } from "./spacetime/train.ts";
import { standardOf } from "./standardize.ts";

const parameterSchema = {
  channels: "integer",
  state: "integer",
  lookback: "integer",
  /** Of the series that was fitted. */
  mean: "number",
  scale: "number",
  /** The tensors one after the other, in the order of `tensorNames`. */
  weights: "numbers",
} as const;
/** The last L values. */
const stateSchema = { recent: "numbers" } as const;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "spacetime",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: ({ channels, state, lookback }) => `SpaceTime, ${channels} state spaces of size ${state} over ${lookback} values`,
  show: ({ channels, state, lookback, mean, scale }) => ({ channels, state, lookback, mean, scale }),
  check({ scale, weights, ...shape }, { recent }) {
    const count = sizes(shape).reduce((sum, size) => sum + size, 0);
    if (!(scale > 0 && shape.channels >= 1 && shape.state >= 1 && shape.lookback > shape.state))
      throw new RangeError("channels, state, lookback or scale is out of range");
    if (weights.length !== count) throw new RangeError(`${weights.length} weights, expected ${count}`);
    if (recent.length !== shape.lookback) throw new RangeError(`${recent.length} recent values for a look-back of ${shape.lookback}`);
  },
  begin({ lookback }, history) {
    checkHistory("spacetime", history, lookback);
    return { recent: history.values.slice(-lookback) };
  },
  advance: ({ lookback }, { recent }, values) => ({ recent: latest(recent, values, lookback) }),
  predict({ mean, scale, weights, ...shape }, { recent }, horizon) {
    const standardized = recent.map((value) => value / scale - mean / scale);
    const center = standardized.reduce((sum, value) => sum + value / recent.length, 0);
    const inputs = standardized.map((value) => value - center);
    const { forecast } = prepared(weights, shape)(inputs, horizon);
    return { mean: forecast.map((value) => (value + center) * scale + mean) };
  },
};

/** Networks by their weights, which are the same array in all that is made of one fit: a backtest runs thousands of windows through one. */
const networks = new WeakMap<Float64Array, ReturnType<typeof prepareNetwork>>();

function prepared(weights: Float64Array, shape: NetworkShape): ReturnType<typeof prepareNetwork> {
  const known = networks.get(weights) ?? prepareNetwork(unpack(weights, shape), shape);
  networks.set(weights, known);
  return known;
}

const sizes = (shape: NetworkShape): number[] =>
  tensorNames.map((name) => tensorShapes(shape)[name].reduce((product, length) => product * length, 1));

function unpack(packed: Float64Array, shape: NetworkShape): NetworkWeights {
  const lengths = sizes(shape);
  let from = 0;
  const parts = new Map(
    tensorNames.map((name, index) => {
      const part = packed.subarray(from, from + lengths[index]!);
      from += lengths[index]!;
      return [name, part] as const;
    }),
  );
  return mapTensors((name) => parts.get(name)!);
}

function pack(weights: NetworkWeights): Float64Array {
  return Float64Array.from(tensorNames.flatMap((name) => [...weights[name]]));
}

const parameterSpecs = {
  lookback: {
    kind: "integer",
    min: 8,
    summary:
      "values that a forecast sees; default the longest of three seasons and the horizon, at most 336, that leaves half of the history",
  },
  state: { kind: "integer", min: 1, default: 64, summary: "size of each state space; at most half of the look-back" },
  channels: { kind: "integer", min: 2, max: 256, default: 16, summary: "state spaces side by side" },
  steps: { kind: "integer", min: 1, default: 600, summary: "updates of the weights" },
  batch: { kind: "integer", min: 1, max: 512, default: 32, summary: "windows of an update" },
  learningRate: { kind: "number", min: 1e-6, max: 1, default: 3e-3, summary: "largest step of an update" },
  seed: { kind: "integer", min: 0, default: 1, summary: "start of the weights, order of the windows" },
  threads: { kind: "integer", min: 1, max: 64, default: 1, summary: "threads of the training; the result does not depend on them" },
} as const satisfies Record<string, ParameterSpec>;

const minimumLength = (_: number, horizon: number) => 16 + 2 * horizon;
const fitInParts = fitEachInParts("spacetime", minimumLength, fitOne);

/**
 * Companion-matrix state spaces with a closed loop that forecasts the whole horizon from one state: an encoder with fixed filters before
 * it, a mixing layer, and a decoder that predicts its own next inputs. Trained by Adam on all windows of one series, each without its own mean; the
 * weights kept are those that forecast the last quarter of the series best.
 *
 * @see Zhang et al. 2023, Effectively Modeling Time Series with Simple Discrete State Spaces, https://arxiv.org/abs/2303.09489
 */
export const spacetime: Forecaster = {
  name: "spacetime",
  summary: "companion-matrix state spaces in a closed loop, trained on the series",
  source: {
    title: "Zhang et al. 2023, Effectively Modeling Time Series with Simple Discrete State Spaces, arXiv 2303.09489",
    url: "https://arxiv.org/abs/2303.09489",
  },
  parameters: parameterSpecs,
  shared: false,
  isOnRequest: true,
  isFittedOnce: true,
  minimumLength,
  fit: (histories, task, parameters) => atOnce(fitInParts(histories, task, parameters)),
  fitInParts,
  load: (saved) => loadFitted(method, saved),
};

function* fitOne(history: History, { horizon, signal }: FitTask, options: ParameterValues): Generator<FitProgress, FittedForecaster> {
  const number = (name: keyof typeof parameterSpecs & keyof typeof defaults) => (options[name] as number | undefined) ?? defaults[name];
  const lookback = lookbackFor(history, horizon, options.lookback);
  const shape = { channels: number("channels"), state: Math.min(number("state"), lookback >> 1), lookback };
  const standard = standardOf(history.values);
  const weights = yield* trainNetwork(
    history.values.map((value) => value / standard.scale - standard.mean / standard.scale),
    {
      ...{ shape, horizon, steps: number("steps"), batch: number("batch"), peakRate: number("learningRate"), seed: number("seed") },
      ...{ threads: number("threads"), ...(signal === undefined ? {} : { signal }) },
    },
  );
  const parameters = { ...shape, ...standard, weights: pack(weights) };
  return fittedModel(method, parameters, method.begin(parameters, history));
}

const defaults = {
  state: parameterSpecs.state.default,
  channels: parameterSpecs.channels.default,
  steps: parameterSpecs.steps.default,
  batch: parameterSpecs.batch.default,
  learningRate: parameterSpecs.learningRate.default,
  seed: parameterSpecs.seed.default,
  threads: parameterSpecs.threads.default,
};

function lookbackFor({ values, seasonalPeriod }: History, horizon: number, asked: ParameterValues[string] | undefined): number {
  const longest = values.length - 2 * horizon;
  if (typeof asked === "number") {
    if (asked > longest)
      throw new OptionError("lookback", `${asked} values and twice ${horizon} steps are longer than the series, ${values.length}`);
    return asked;
  }
  return Math.max(8, Math.min(Math.max(3 * seasonalPeriod, horizon), 336, Math.floor(longest / 2)));
}
