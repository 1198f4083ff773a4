import { NativeError } from "../../../errors.ts";
import { Device } from "../../../ggml/index.ts";
import { adamW, clipByGlobalNorm, learningRate } from "../../../optimizers/index.ts";
import { add, grad, input, Program } from "../../../tensor/index.ts";
import { Parameters } from "../../../weights/index.ts";
import type { FitProgress } from "../../types.ts";
import { normalSampler, uniformSampler } from "../normal-sampler.ts";
import { type Constants, network, rootMeanSquare, tail } from "./graph.ts";
import { mapTensors, type NetworkShape, type NetworkWeights, prepareNetwork, preprocessing, tensorNames, tensorShapes } from "./network.ts";

export interface TrainingOptions {
  readonly shape: NetworkShape;
  readonly horizon: number;
  readonly steps: number;
  readonly batch: number;
  readonly peakRate: number;
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal;
}

const decay = (name: string) => (name.endsWith("Weight") ? 1e-4 : 0);
/** Windows after which the weights are compared with the best so far. */
const checks = 20;

/**
 * Trains the network on every window of a series, and returns the weights with which the last part of the series, held out, was forecast
 * best. The loss is the sum of three root mean squares, as in the paper: of the horizon, of the one-step forecasts inside the window, and of what
 * the decoder expects as its next inputs. Yields after every step.
 *
 * @param values  [N] standardized, N >= L + H
 */
export function* trainNetwork(values: Float64Array, options: TrainingOptions): Generator<FitProgress, NetworkWeights> {
  const { shape, horizon, steps, peakRate, signal } = options;
  const { lookback, state } = shape;
  const heldOut = Math.max(horizon, Math.floor(values.length / 4)); // of the literature's rows exactly those for validation
  const numWindows = Math.max(1, values.length - heldOut - lookback - horizon + 1);
  const batch = Math.min(options.batch, numWindows);
  using device = Device.create("cpu", options.threads);
  using parameters = Parameters.create(
    device,
    Object.entries(tensorShapes(shape)).map(([name, dims]) => ({ name, shape: dims })),
  );
  using fixed = constants(device, shape);
  begin(parameters, shape, options.seed);
  const window = input("window", "f32", [batch, lookback]);
  const target = input("target", "f32", [batch, horizon]);
  const next = input("next", "f32", [batch, lookback]);
  const outputs = network(window, (name) => parameters.tensor(name), fixed.tensors, shape, horizon);
  const from = Math.min(state - 1, lookback - 1);
  const loss = add(
    add(rootMeanSquare(outputs.forecast, target), rootMeanSquare(tail(outputs.fitted, from), tail(next, from))),
    rootMeanSquare(outputs.inputs, outputs.expected),
  );
  const gradients = grad(
    loss,
    tensorNames.map((name) => parameters.tensor(name)),
  );
  using program = Program.compile(device, { loss, ...Object.fromEntries(tensorNames.map((name, i) => [name, gradients[i]!])) });
  const optimizer = adamW({ weightDecay: decay });
  const uniform = uniformSampler(options.seed);
  let best = { error: Number.POSITIVE_INFINITY, weights: snapshot(parameters) };
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const [x, y, z] = [program.input("window"), program.input("target"), program.input("next")];
    for (let b = 0; b < batch; b++) {
      const at = Math.floor(uniform() * numWindows);
      const mean = meanOf(values, at, lookback);
      for (let t = 0; t < lookback; t++) {
        x[b * lookback + t] = values[at + t]! - mean;
        z[b * lookback + t] = values[at + t + 1]! - mean;
      }
      for (let h = 0; h < horizon; h++) y[b * horizon + h] = values[at + lookback + h]! - mean;
    }
    program.runSync();
    if (!Number.isFinite(program.peek("loss")[0])) throw new NativeError(`spacetime: the loss of step ${step} is not finite`);
    const updates = tensorNames.map((name) => ({ name, values: parameters.values(name), gradient: program.peek(name) }));
    clipByGlobalNorm(
      updates.map(({ gradient }) => gradient),
      1,
    );
    optimizer.step(updates, learningRate({ peak: peakRate, warmupSteps: Math.min(20, steps), steps }, step));
    if ((step + 1) % Math.ceil(steps / checks) === 0 || step + 1 === steps) {
      const weights = snapshot(parameters);
      const error = validate(values, weights, options, values.length - heldOut);
      if (error < best.error) best = { error, weights };
    }
    yield { done: step + 1, total: steps };
  }
  return best.weights;
}

/** Mean squared error over windows spread over the held-out part. */
function validate(values: Float64Array, weights: NetworkWeights, { shape, horizon }: TrainingOptions, from: number): number {
  const last = values.length - horizon;
  const count = Math.min(64, last - from + 1);
  const run = prepareNetwork(weights, shape);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const origin = Math.round(from + ((last - from) * i) / Math.max(1, count - 1));
    const mean = meanOf(values, origin - shape.lookback, shape.lookback);
    const window = values.slice(origin - shape.lookback, origin).map((value) => value - mean);
    const { forecast } = run(window, horizon);
    for (let h = 0; h < horizon; h++) sum += (forecast[h]! + mean - values[origin + h]!) ** 2;
  }
  return sum / (count * horizon);
}

function meanOf(values: Float64Array, from: number, length: number): number {
  let sum = 0;
  for (let i = from; i < from + length; i++) sum += values[i]!;
  return sum / length;
}

function snapshot(parameters: Parameters): NetworkWeights {
  return mapTensors((name) => Float64Array.from(parameters.values(name)));
}

/** Random vectors for the state spaces, which are normalized anyway; a mixing layer near nothing, so that the input passes as it is. */
function begin(parameters: Parameters, { channels, state }: NetworkShape, seed: number): void {
  const normal = normalSampler(seed);
  for (const name of tensorNames) {
    const values = parameters.values(name);
    if (name.endsWith("Bias")) continue;
    const scale = name === "mixWeight" ? 1 / Math.sqrt(channels) : name === "headWeight" ? 1 : 1 / state;
    for (let i = 0; i < values.length; i++) values[i] = scale * normal();
  }
}

export function constants(device: Device, shape: NetworkShape): Disposable & { readonly tensors: Constants } {
  const { channels, state, lookback } = shape;
  const frequencies = lookback + 1; // of a transform over twice the look-back: what is cut off wraps into the half that nobody reads
  const own = Parameters.create(device, [
    { name: "shift", shape: [state, state] },
    { name: "first", shape: [1, state] },
    { name: "moves", shape: [state * state, state] },
    { name: "cosine", shape: [frequencies, lookback] },
    { name: "sine", shape: [frequencies, lookback] },
    { name: "backCosine", shape: [lookback, frequencies] },
    { name: "backSine", shape: [lookback, frequencies] },
    { name: "filters", shape: [channels, lookback] },
  ]);
  const [first, shift, moves, filters] = (["first", "shift", "moves", "filters"] as const).map((name) => own.values(name));
  first![0] = 1;
  for (let r = 0; r < state; r++) {
    if (r + 1 < state) shift![r * state + r + 1] = 1;
    for (let j = r; j < state; j++) moves![(r * state + j) * state + r + state - 1 - j] = 1;
  }
  for (let channel = 0; channel < channels; channel++) filters!.set(preprocessing(channel, shape), channel * lookback);
  const [cosine, sine] = [own.values("cosine"), own.values("sine")];
  const [backCosine, backSine] = [own.values("backCosine"), own.values("backSine")];
  for (let k = 0; k < frequencies; k++) {
    const weight = (k === 0 || k === lookback ? 1 : 2) / (2 * lookback);
    for (let t = 0; t < lookback; t++) {
      const angle = (Math.PI * ((k * t) % (2 * lookback))) / lookback;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      cosine[k * lookback + t] = cos;
      sine[k * lookback + t] = -sin;
      backCosine[t * frequencies + k] = weight * cos;
      backSine[t * frequencies + k] = -weight * sin;
    }
  }
  const tensor = (name: keyof Constants) => own.tensor(name);
  return {
    tensors: {
      ...{ shift: tensor("shift"), first: tensor("first"), moves: tensor("moves"), filters: tensor("filters") },
      ...{ cosine: tensor("cosine"), sine: tensor("sine"), backCosine: tensor("backCosine"), backSine: tensor("backSine") },
    },
    [Symbol.dispose]: () => own[Symbol.dispose](),
  };
}
