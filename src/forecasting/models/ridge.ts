import { OptionError } from "../../errors.ts";
import type { FitTask, FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { solvePositiveDefinite } from "./cholesky.ts";
import { checkHistory, fittedModel, loadFitted, type Method } from "./fitted-model.ts";
import { latest } from "./latest.ts";
import type { Fields } from "./saved-state.ts";
import { standardOf } from "./standardize.ts";
import { addWindowMoments, windowStatistics } from "./window-moments.ts";

const parameterSchema = {
  lookback: "integer",
  horizon: "integer",
  penalty: "number",
  /** Mean and standard deviation of the series that was fitted. */
  mean: "number",
  scale: "number",
  /** [L + 1, H], shared by all series of a fit */
  weights: "numbers",
} as const;
/** The last L values. */
const stateSchema = { recent: "numbers" } as const;
type RidgeParameters = Fields<typeof parameterSchema>;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "ridge",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: ({ lookback, horizon }) => `ridge, ${lookback} values to ${horizon} steps`,
  show: ({ lookback, horizon, penalty, mean, scale }) => ({ lookback, horizon, penalty, mean, scale }),
  check({ lookback, horizon, scale, weights }, { recent }) {
    if (!(lookback >= 1 && horizon >= 1 && scale > 0)) throw new RangeError("lookback, horizon or scale is out of range");
    if (weights.length !== (lookback + 1) * horizon) throw new RangeError(`${weights.length} weights for [${lookback + 1}, ${horizon}]`);
    if (recent.length !== lookback) throw new RangeError(`${recent.length} recent values for a look-back of ${lookback}`);
  },
  begin({ lookback }, history) {
    checkHistory("ridge", history, lookback);
    return { recent: history.values.slice(-lookback) };
  },
  advance: ({ lookback }, { recent }, values) => ({ recent: latest(recent, values, lookback) }),
  predict({ lookback, horizon: numOutputs, mean, scale, weights }, { recent }, horizon) {
    const path = new Float64Array(lookback + horizon);
    for (let i = 0; i < lookback; i++) path[i] = recent[i]! / scale - mean / scale;
    for (let done = 0; done < horizon; done += numOutputs) {
      const outputs = applyWeights(path.subarray(done, done + lookback), weights, numOutputs);
      path.set(outputs.subarray(0, Math.min(numOutputs, horizon - done)), lookback + done);
    }
    return { mean: path.slice(lookback).map((value) => value * scale + mean) };
  },
};

/** The H values after a standardized window. */
function applyWeights(window: Float64Array, weights: Float64Array, horizon: number): Float64Array {
  const lookback = window.length;
  const { mean, scale } = windowStatistics(window);
  const outputs = new Float64Array(horizon).fill(mean);
  for (let i = 0; i <= lookback; i++) {
    const input = i === lookback ? scale : window[i]! - mean;
    const row = i * horizon;
    for (let h = 0; h < horizon; h++) outputs[h]! += input * weights[row + h]!;
  }
  return outputs;
}

const parameterSpecs = {
  lookback: {
    kind: "integer",
    min: 1,
    summary:
      "values that a forecast sees; default the longest of two seasons and the horizon that leaves half of the shortest series for training",
  },
  penalty: { kind: "number", min: 1e-10, default: 1e-4, summary: "weight of the squared coefficients, per window" },
} as const satisfies Record<string, ParameterSpec>;

/**
 * One linear map from the last L values to the next H, the same for all series: ridge regression in closed form with instance
 * normalization. Every window is reduced by its own mean m and scale s = sqrt(var + 1e-5); y = m + s W'[(x - m)/s, 1], and W
 * minimizes the squared errors of y plus penalty · (number of windows) · |W|². Series are standardized by their own mean and
 * standard deviation first, so that each counts alike. More steps than H are rolled out.
 */
export const ridge: Forecaster = {
  name: "ridge",
  summary: "linear map from the last values to the next, shared by all series",
  source: {
    title: "Toner & Darlow 2024, An Analysis of Linear Time Series Forecasting Models, arXiv 2403.14587",
    url: "https://arxiv.org/abs/2403.14587",
  },
  parameters: parameterSpecs,
  shared: true,
  minimumLength: (_, horizon) => horizon + 1,
  fit: fitAll,
  load: (saved) => loadFitted(method, saved),
};

function fitAll(histories: readonly History[], { horizon, signal }: FitTask, options: ParameterValues = {}): readonly FittedForecaster[] {
  for (const history of histories) checkHistory("ridge", history, ridge.minimumLength(history.seasonalPeriod, horizon));
  if (histories.length === 0) return [];
  const lookback = lookbackFor(histories, horizon, options.lookback);
  const penalty = typeof options.penalty === "number" ? options.penalty : parameterSpecs.penalty.default;
  const size = lookback + 1;
  const inputs = new Float64Array(size * size);
  const weights = new Float64Array(size * horizon);
  const standards = histories.map(({ values }) => standardOf(values));
  let numWindows = 0;
  histories.forEach(({ values }, index) => {
    signal?.throwIfAborted();
    const { mean, scale } = standards[index]!;
    const standardized = values.map((value) => value / scale - mean / scale);
    numWindows += addWindowMoments(standardized, lookback, horizon, inputs, weights);
  });
  for (let i = 0; i < size; i++) inputs[i * size + i]! += penalty * numWindows;
  solvePositiveDefinite(inputs, weights, size);
  return histories.map((history, index) => {
    const parameters: RidgeParameters = { lookback, horizon, penalty, ...standards[index]!, weights };
    return fittedModel(method, parameters, method.begin(parameters, history));
  });
}

function lookbackFor(histories: readonly History[], horizon: number, asked: ParameterValues[string] | undefined): number {
  const shortest = Math.min(...histories.map(({ values }) => values.length));
  const longest = shortest - horizon;
  if (typeof asked === "number") {
    if (asked > longest)
      throw new OptionError("lookback", `${asked} values and ${horizon} steps are longer than the shortest series, ${shortest}`);
    return asked;
  }
  const period = Math.max(...histories.map(({ seasonalPeriod }) => seasonalPeriod));
  return Math.max(1, Math.min(Math.max(2 * period, horizon), Math.floor(longest / 2)));
}
