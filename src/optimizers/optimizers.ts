import { OptionError } from "../errors.ts";

// Optimizers are plain loops over parameter buffers, not graph operations: state is ordinary data that a checkpoint writes and a test reads, clipping
// sees all gradients before the first update, and a step costs a few passes over the parameters where a training pass costs thousands.

type Floats = Float32Array | Float64Array;

/** A trained tensor at one step. Both arrays are used during the call only, so they may be views of native memory. */
export interface Parameter {
  /** Unique; the optimizer's state is kept by it. */
  readonly name: string;
  /** Changed in place. */
  readonly values: Floats;
  readonly gradient: Floats;
}

/** What an optimizer remembers between steps: buffers by parameter name. Plain data, for checkpoints. */
export interface OptimizerState {
  stepCount: number;
  readonly buffers: Map<string, readonly Floats[]>;
}

export interface Optimizer {
  readonly state: OptimizerState;
  /** Updates the parameters in place. @throws OptionError if a parameter has another length than its gradient or its state */
  step(parameters: readonly Parameter[], learningRate: number): void;
}

/** Decay per parameter name: a group is whatever shares a number; norms and biases usually have 0. */
export type WeightDecay = (name: string) => number;

export interface AdamWOptions {
  /** Default 0.9, in [0, 1). */
  readonly beta1?: number;
  /** Default 0.999, in [0, 1). */
  readonly beta2?: number;
  /** Added to the root of the second moment, > 0. Default 1e-8. */
  readonly eps?: number;
  readonly weightDecay?: WeightDecay;
}

/**
 * Adam with weight decay apart from the gradient: `p ← p - lr·(wd·p + m̂ / (√v̂ + eps))`, moments corrected for their start at 0.
 *
 * @param from  state of an earlier run
 * @see Loshchilov & Hutter 2017, Decoupled weight decay regularization, https://arxiv.org/abs/1711.05101
 */
export function adamW(options: AdamWOptions = {}, from?: OptimizerState): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = () => 0 } = options;
  for (const [name, beta] of Object.entries({ beta1, beta2 })) {
    if (!(beta >= 0 && beta < 1)) throw new OptionError(name, `must be in [0, 1), got ${beta}`);
  }
  if (!(eps > 0)) throw new OptionError("eps", `must be > 0, got ${eps}`);
  const state = from ?? { stepCount: 0, buffers: new Map() };
  return {
    state,
    step(parameters, learningRate) {
      state.stepCount += 1;
      // lr · (m / c1) / (√v / c2 + eps) with one division an element
      const correction = Math.sqrt(1 - beta2 ** state.stepCount);
      const rate = (learningRate * correction) / (1 - beta1 ** state.stepCount);
      const least = eps * correction;
      for (const parameter of parameters) {
        const { values, gradient } = parameter;
        const [mean, square] = buffersOf(state, parameter, 2) as [Floats, Floats];
        const keep = 1 - learningRate * weightDecay(parameter.name);
        for (let i = 0; i < values.length; i += 1) {
          const g = gradient[i]!;
          const m = beta1 * mean[i]! + (1 - beta1) * g;
          const v = beta2 * square[i]! + (1 - beta2) * g * g;
          mean[i] = m;
          square[i] = v;
          values[i] = keep * values[i]! - (rate * m) / (Math.sqrt(v) + least);
        }
      }
    },
  };
}

export interface SgdOptions {
  /** Default 0, in [0, 1). */
  readonly momentum?: number;
  readonly weightDecay?: WeightDecay;
}

/** Stochastic gradient descent; decay is part of the gradient, momentum accumulates it: `b ← momentum·b + g + wd·p`, `p ← p - lr·b`. */
export function sgd({ momentum = 0, weightDecay = () => 0 }: SgdOptions = {}, from?: OptimizerState): Optimizer {
  if (!(momentum >= 0 && momentum < 1)) throw new OptionError("momentum", `must be in [0, 1), got ${momentum}`);
  const state = from ?? { stepCount: 0, buffers: new Map() };
  return {
    state,
    step(parameters, learningRate) {
      state.stepCount += 1;
      for (const parameter of parameters) {
        const { values, gradient } = parameter;
        const [velocity] = buffersOf(state, parameter, 1) as [Floats];
        const decay = weightDecay(parameter.name);
        for (let i = 0; i < values.length; i += 1) {
          velocity[i] = momentum * velocity[i]! + gradient[i]! + decay * values[i]!;
          values[i]! -= learningRate * velocity[i]!;
        }
      }
    },
  };
}

/**
 * Scales all gradients in place so that their common Euclidean norm is at most `maxNorm`.
 *
 * @returns the norm before: NaN or Infinity if any gradient is, and then nothing is changed
 * @see Pascanu et al. 2013, https://arxiv.org/abs/1211.5063
 */
export function clipByGlobalNorm(gradients: readonly Floats[], maxNorm: number): number {
  if (!(maxNorm > 0)) throw new OptionError("maxNorm", `must be > 0, got ${maxNorm}`);
  let total = 0;
  for (const gradient of gradients) for (let i = 0; i < gradient.length; i += 1) total += gradient[i]! * gradient[i]!;
  const norm = Math.sqrt(total);
  const scale = maxNorm / (norm + 1e-6); // as PyTorch guards it
  if (scale < 1 && Number.isFinite(norm)) {
    for (const gradient of gradients) for (let i = 0; i < gradient.length; i += 1) gradient[i]! *= scale;
  }
  return norm;
}

/** A parameter's buffers, zeros at first, in the precision of its values. */
function buffersOf(state: OptimizerState, { name, values, gradient }: Parameter, count: number): readonly Floats[] {
  if (gradient.length !== values.length)
    throw new OptionError(name, `this parameter has ${values.length} values and ${gradient.length} gradients`);
  const known = state.buffers.get(name);
  if (known !== undefined) {
    if (known.length !== count || known.some(({ length }) => length !== values.length))
      throw new OptionError(name, `the optimizer's state is not of this parameter: it has ${values.length} values`);
    return known;
  }
  const zeros = () => (values instanceof Float64Array ? new Float64Array(values.length) : new Float32Array(values.length));
  const buffers = Array.from({ length: count }, zeros);
  state.buffers.set(name, buffers);
  return buffers;
}
