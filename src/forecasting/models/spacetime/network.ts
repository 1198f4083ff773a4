import { type Companion, closedLoop, dot, kernel, step } from "./companion.ts";
import { multiplySeries } from "./power-series.ts";

/** Letters: S channels, d state, L look-back, H horizon. */
export interface NetworkShape {
  readonly channels: number;
  readonly state: number;
  readonly lookback: number;
}

/** The trained tensors with their shapes, in the order in which they are stored. */
export function tensorShapes({ channels, state }: NetworkShape): Readonly<Record<TensorName, readonly number[]>> {
  const vectors = [channels, state] as const;
  return {
    encoderA: vectors,
    encoderB: vectors,
    encoderC: vectors,
    mixWeight: [channels, channels],
    mixBias: [1, channels],
    decoderA: vectors,
    decoderB: vectors,
    decoderC: vectors,
    decoderK: vectors,
    headWeight: [1, channels],
    headBias: [1, 1],
  };
}

export const tensorNames = [
  "encoderA",
  "encoderB",
  "encoderC",
  "mixWeight",
  "mixBias",
  "decoderA",
  "decoderB",
  "decoderC",
  "decoderK",
  "headWeight",
  "headBias",
] as const;
export type TensorName = (typeof tensorNames)[number];
/** Row-major. */
export type NetworkWeights = Readonly<Record<TensorName, Float64Array>>;

/** Something for each tensor. */
export function mapTensors<T>(one: (name: TensorName) => T): Record<TensorName, T> {
  return Object.fromEntries(tensorNames.map((name) => [name, one(name)])) as Record<TensorName, T>;
}

/**
 * What stands before a channel's state space, as an impulse response [L]: every other channel differences the input 0 to 3 times, the
 * others subtract a moving average over 4 to 63 values.
 */
export function preprocessing(channel: number, { channels, lookback }: NetworkShape): Float64Array {
  const filter = new Float64Array(lookback);
  filter[0] = 1;
  const place = channel >> 1;
  if (channel % 2 === 0) {
    const difference = Float64Array.of(1, -1);
    let result: Float64Array = filter;
    for (let order = 0; order < place % 4; order++) result = multiplySeries(result, difference, lookback);
    return result.map((value) => Math.round(value)); // exact: they are whole numbers
  }
  const most = Math.min(63, lookback);
  const window = Math.round(4 + ((most - 4) * place) / Math.max(1, (channels >> 1) - 1));
  for (let i = 0; i < window; i++) filter[i]! -= 1 / window;
  return filter;
}

/** What a network gives for one window. */
export interface NetworkOutputs {
  /** [H] */
  readonly forecast: Float64Array;
  /** [L] one-step forecasts: of values 1 … L - 1 and of the first one ahead */
  readonly fitted: Float64Array;
}

/** What the trained network forecasts, in float64: the definition that the training graph is held against. */
export function runNetwork(weights: NetworkWeights, shape: NetworkShape, values: Float64Array, horizon: number): NetworkOutputs {
  return prepareNetwork(weights, shape)(values, horizon);
}

/**
 * The network as a function of windows, [L] standardized and without their mean. What doesn't depend on the window is computed once; the
 * convolutions are sums, which at these lengths are faster than transforms.
 */
export function prepareNetwork(weights: NetworkWeights, shape: NetworkShape): (values: Float64Array, horizon: number) => NetworkOutputs {
  const { channels, state, lookback } = shape;
  const row = (name: TensorName, channel: number) => normalized(weights[name], channel * state, state);
  const responses = Array.from({ length: channels }, (_, channel) => {
    const system = { a: row("encoderA", channel), b: row("encoderB", channel), c: row("encoderC", channel) };
    return multiplySeries(kernel(system, lookback), preprocessing(channel, shape), lookback);
  });
  const decoders = Array.from({ length: channels }, (_, channel): Companion & { readonly k: Float64Array } => ({
    ...{ a: row("decoderA", channel), b: row("decoderB", channel), c: row("decoderC", channel), k: row("decoderK", channel) },
  }));
  return (values, horizon) => {
    const encoded = responses.map((response) => convolved(response, values).map(gelu));
    const outputs = {
      fitted: new Float64Array(lookback).fill(weights.headBias[0]!),
      forecast: new Float64Array(horizon).fill(weights.headBias[0]!),
    };
    for (const [channel, system] of decoders.entries()) {
      const inputs = values.map((value) => value + weights.mixBias[channel]!);
      for (const [other, sequence] of encoded.entries()) {
        const weight = weights.mixWeight[channel * channels + other]!;
        for (let t = 0; t < lookback; t++) inputs[t]! += weight * sequence[t]!;
      }
      const head = weights.headWeight[channel]!;
      const current = new Float64Array(state);
      for (let t = 0; t < lookback; t++) {
        step(current, system, inputs[t]!);
        outputs.fitted[t]! += head * gelu(dot(system.c, current));
      }
      const ahead = closedLoop(current, system, system.k, horizon);
      for (let h = 0; h < horizon; h++) outputs.forecast[h]! += head * gelu(ahead[h]!);
    }
    return outputs;
  };
}

/** The first values of the product of two power series of equal length. */
function convolved(response: Float64Array, values: Float64Array): Float64Array {
  const result = new Float64Array(values.length);
  for (let t = 0; t < values.length; t++) {
    let sum = 0;
    for (let i = 0; i <= t; i++) sum += response[i]! * values[t - i]!;
    result[t] = sum;
  }
  return result;
}

/** A row divided by the sum of its absolute values: with it all eigenvalues of a companion matrix lie in the unit disc. */
function normalized(values: Float64Array, from: number, length: number): Float64Array {
  const row = Float64Array.from({ length }, (_, i) => values[from + i]!);
  const norm = row.reduce((sum, value) => sum + Math.abs(value), 0);
  return norm > 0 ? row.map((value) => value / norm) : row;
}

/** The tanh approximation, as ggml computes it. @see Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415 */
function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x)));
}
