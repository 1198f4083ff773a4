import { OptionError } from "../../errors.ts";
import { adamW, learningRate } from "../../optimizers/index.ts";
import type { FitProgress, FitTask, FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { autoregressiveMethod } from "./autoregressive-method.ts";
import { fitEachInParts, fittedModel, loadFitted } from "./fitted-model.ts";
import { atOnce } from "./in-parts.ts";
import { divided, magnitudeOf, saturated } from "./magnitude.ts";
import { uniformSampler } from "./normal-sampler.ts";

const method = autoregressiveMethod("ar-net", ({ coefficients }) => {
  const active = coefficients.filter((value) => Math.abs(value) > 0.01).length;
  return `AR-Net, ${active} of ${coefficients.length} lags above 0.01`;
});

const parameterSpecs = {
  order: {
    kind: "integer",
    min: 1,
    summary: "number of lags, which may be far too large; default two seasons or 24, at most a third of the history",
  },
  sparsity: {
    kind: "number",
    min: 1e-4,
    max: 1,
    default: 0.1,
    summary: "expected share of lags that matter; 1 turns the penalty off",
  },
  epochs: { kind: "integer", min: 1, summary: "passes over the series; default 10, and as many as make 10,000 steps" },
  seed: { kind: "integer", min: 0, default: 1, summary: "order of the rows" },
} as const satisfies Record<string, ParameterSpec>;

const minimumLength = () => 4;
const fitInParts = fitEachInParts("ar-net", minimumLength, fitOne);

/**
 * Autoregression y_t = c + Σ w_i y_(t-i) + e_t fitted by gradient descent (Adam, mini-batches, cosine decay) on the standardized series, with the
 * penalty λ R(w) that drives the lags nobody needs to zero and leaves large ones alone:
 *
 *     R(w) = (1/p) Σ [2 / (1 + exp(-3 |w_i|^(1/3))) - 1],   λ = √L̂ / 100 · (1/s - 1) · ramp
 *
 * with s the expected share of lags that matter, L̂ the running loss, and a ramp that grows with the square of progress over the first half of
 * the steps. A pass over N rows costs N · p, where least squares costs N · p²: the order may be far too large.
 *
 * The errors for the intervals have RSS / rows as variance. Forecasts are iterated.
 *
 * @see Triebe, Laptev & Rajagopal 2019, AR-Net: A simple auto-regressive neural network for time-series, https://arxiv.org/abs/1911.12436
 */
export const arNet: Forecaster = {
  name: "ar-net",
  summary: "autoregression by gradient descent, lags that nobody needs driven to zero",
  source: {
    title: "Triebe, Laptev & Rajagopal 2019, AR-Net: A simple auto-regressive neural network for time-series, arXiv 1911.12436",
    url: "https://arxiv.org/abs/1911.12436",
  },
  parameters: parameterSpecs,
  shared: false,
  isOnRequest: true,
  minimumLength,
  fit: (histories, task, parameters) => atOnce(fitInParts(histories, task, parameters)),
  fitInParts,
  load: (saved) => loadFitted(method, saved),
};

/** Rows of a step in the first half of the steps, where more steps help more than smoother ones, and in the second, where it is the reverse. */
const batchRows = [32, 128] as const;
const peakRate = 0.002;
/** Fewer don't reach the least-squares solution of a series as correlated as hourly temperatures. */
const leastSteps = 10_000;
/** A part is some milliseconds of a thousand lags. */
const stepsPerPart = 50;

function* fitOne(history: History, _: FitTask, options: ParameterValues): Generator<FitProgress, FittedForecaster> {
  const scale = magnitudeOf(history.values);
  const scaled = divided(history.values, scale);
  const center = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
  const deviation = Math.sqrt(scaled.reduce((sum, value) => sum + (value - center) ** 2, 0) / scaled.length);
  const spread = deviation > 1e-12 ? deviation : 1; // a constant series: nothing to learn, and the constant is its forecast
  const standardized = scaled.map((value) => (value - center) / spread);
  const order = orderFor(history, options.order);
  const { weights, constant, rss } = yield* descend(standardized, order, {
    sparsity: numberOr(options.sparsity, parameterSpecs.sparsity.default),
    epochs: options.epochs as number | undefined,
    seed: numberOr(options.seed, parameterSpecs.seed.default),
  });
  const coefficients = weights.slice().reverse(); // [p], lag 1 first
  const sum = coefficients.reduce((total, value) => total + value, 0);
  const parameters = {
    constant: saturated((constant * spread + center * (1 - sum)) * scale),
    coefficients,
    sigma: saturated(Math.sqrt(rss / (standardized.length - order)) * spread * scale),
  };
  return fittedModel(method, parameters, method.begin(parameters, history));
}

interface Descended {
  readonly weights: Float64Array;
  readonly constant: number;
  readonly rss: number;
}

interface Descent {
  readonly sparsity: number;
  readonly epochs: number | undefined;
  readonly seed: number;
}

/**
 * @param values  [N], standardized
 * @yields  now and then
 * @returns weights [p], oldest lag first, and the residual sum of squares over the N - p rows
 */
function* descend(values: Float64Array, order: number, { sparsity, epochs, seed }: Descent): Generator<FitProgress, Descended> {
  const numRows = values.length - order;
  const perEpoch = (2 * numRows) / (batchRows[0] + batchRows[1]);
  const steps = Math.ceil(epochs === undefined ? Math.max(10 * perEpoch, leastSteps) : epochs * perEpoch);
  const weights = new Float64Array(order);
  const constant = new Float64Array(1);
  const gradient = { weights: new Float64Array(order), constant: new Float64Array(1) };
  const optimizer = adamW();
  const next = shuffled(numRows, seed);
  let meanLoss = 1; // of a standardized series that nothing is known about
  for (let step = 0; step < steps; step += 1) {
    const count = Math.min(batchRows[2 * step < steps ? 0 : 1], numRows);
    gradient.weights.fill(0);
    gradient.constant[0] = 0;
    const loss = addLossGradient(values, Array.from({ length: count }, next), weights, constant, gradient);
    meanLoss += (loss - meanLoss) / Math.min(step + 1, 100);
    const ramp = Math.min(1, (2 * (step + 1)) / steps) ** 2;
    const lambda = ramp * (Math.sqrt(meanLoss) / 100) * (1 / sparsity - 1);
    if (lambda > 0) for (let lag = 0; lag < order; lag += 1) gradient.weights[lag]! += (lambda * penaltySlope(weights[lag]!)) / order;
    const parameters = [
      { name: "weights", values: weights, gradient: gradient.weights },
      { name: "constant", values: constant, gradient: gradient.constant },
    ];
    optimizer.step(parameters, learningRate({ peak: peakRate, warmupSteps: Math.min(100, steps), steps }, step));
    if (step % stepsPerPart === 0) yield { done: step, total: steps };
  }
  let rss = 0;
  for (let from = 0; from < numRows; from += 1) rss += residual(values, from, weights, constant[0]!) ** 2;
  return { weights, constant: constant[0]!, rss };
}

/**
 * Adds the gradient of the mean squared error over the rows whose oldest lags are at `starts`.
 *
 * @param weights  [p], oldest lag first, as in `gradient`
 * @returns the mean squared error
 */
export function addLossGradient(
  values: Float64Array,
  starts: readonly number[],
  weights: Float64Array,
  constant: Float64Array,
  gradient: { readonly weights: Float64Array; readonly constant: Float64Array },
): number {
  let loss = 0;
  for (const from of starts) {
    const error = residual(values, from, weights, constant[0]!);
    loss += error * error;
    const factor = (-2 * error) / starts.length;
    for (let lag = 0; lag < weights.length; lag += 1) gradient.weights[lag]! += factor * values[from + lag]!;
    gradient.constant[0]! += factor;
  }
  return loss / starts.length;
}

/** What the row whose oldest lag is at `from` leaves unexplained. */
function residual(values: Float64Array, from: number, weights: Float64Array, constant: number): number {
  let predicted = constant;
  for (let lag = 0; lag < weights.length; lag += 1) predicted += weights[lag]! * values[from + lag]!;
  return values[from + weights.length]! - predicted;
}

/** d/dw of 2 / (1 + exp(-3 |w|^(1/3))) - 1. The slope at 0 is infinite: |w| + 1e-8 stands in for |w|. */
export function penaltySlope(weight: number): number {
  if (weight === 0) return 0;
  const root = Math.cbrt(Math.abs(weight) + 1e-8);
  const decay = Math.exp(-3 * root);
  return (Math.sign(weight) * (2 * decay)) / ((1 + decay) ** 2 * root * root);
}

/** Row starts in an order that the seed decides, each once before any comes again. */
function shuffled(count: number, seed: number): () => number {
  const order = Uint32Array.from({ length: count }, (_, row) => row);
  const uniform = uniformSampler(seed);
  let at = count;
  return () => {
    if (at === count) {
      for (let i = count - 1; i > 0; i -= 1) {
        const j = Math.floor(uniform() * (i + 1));
        [order[i], order[j]] = [order[j]!, order[i]!];
      }
      at = 0;
    }
    at += 1;
    return order[at - 1]!;
  };
}

function orderFor({ values, seasonalPeriod }: History, asked: ParameterValues[string] | undefined): number {
  const most = values.length - 2;
  if (typeof asked === "number") {
    if (asked > most) throw new OptionError("order", `${asked} lags need ${asked + 2} values, the history has ${values.length}`);
    return asked;
  }
  return Math.max(1, Math.min(Math.max(2 * seasonalPeriod, 24), Math.floor(values.length / 3)));
}

function numberOr(value: ParameterValues[string] | undefined, otherwise: number): number {
  return typeof value === "number" ? value : otherwise;
}
