import type { Transformer } from "../../../models/index.ts";
import {
  add,
  concat,
  contiguous,
  input,
  l2Norm,
  linear,
  mul,
  narrow,
  type Program,
  permute,
  reshape,
  type Shape,
  softmax,
  sub,
  sumLast,
  type Tensor,
  unary,
} from "../../../tensor/index.ts";
import type { Objective, PassRows } from "../../../training/index.ts";
import type { Parameters } from "../../../weights/index.ts";
import { normalSampler } from "../normal-sampler.ts";

// Letters: L look-back, H horizon, n patches of a window, B windows of a pass, T tokens of a prompt, C width of the language model, V words,
// P prototypes, A heads of D values each, F features of a state that the head reads.

export interface TimeLlmShape {
  /** L, H */
  readonly lookback: number;
  readonly horizon: number;
  /** Values of a patch, and from the beginning of one to that of the next. */
  readonly patch: number;
  readonly stride: number;
  /** Of a patch's embedding. */
  readonly width: number;
  /** A, D */
  readonly heads: number;
  readonly headSize: number;
  /** F */
  readonly features: number;
  /** P */
  readonly prototypes: number;
  /** T; 0 without a language model. */
  readonly promptLength: number;
  /** C */
  readonly hiddenSize: number;
}

/** n: the last value is repeated for one stride, so that it stands in as many patches as others. */
export const patchCount = ({ lookback, patch, stride }: Pick<TimeLlmShape, "lookback" | "patch" | "stride">): number =>
  Math.floor((lookback + stride - patch) / stride) + 1;

/** What forecasting needs: the prototypes as keys and values. */
export const fittedNames = [
  "patchWeight",
  "queryWeight",
  "queryBias",
  "keys",
  "values",
  "outWeight",
  "outBias",
  "headWeight",
  "headBias",
] as const;
export type FittedName = (typeof fittedNames)[number];

export function fittedShapes(shape: TimeLlmShape): Record<FittedName, Shape> {
  const { horizon, patch, width, heads, headSize, features, prototypes, hiddenSize } = shape;
  const attention = heads * headSize;
  return {
    patchWeight: [width, 3 * patch],
    queryWeight: [attention, width],
    queryBias: [attention],
    keys: [prototypes, attention],
    values: [prototypes, attention],
    outWeight: [hiddenSize, attention],
    outBias: [hiddenSize],
    headWeight: [horizon, patchCount(shape) * features],
    headBias: [horizon],
  };
}

/** What is trained: the keys and values are made of words. */
export function trainedShapes(shape: TimeLlmShape, words: number): Record<string, Shape> {
  const { heads, headSize, prototypes, hiddenSize } = shape;
  const { keys: _keys, values: _values, ...maps } = fittedShapes(shape);
  const attention = heads * headSize;
  return {
    ...maps,
    mix: [prototypes, words],
    ...{ keyWeight: [attention, hiddenSize], keyBias: [attention], valueWeight: [attention, hiddenSize], valueBias: [attention] },
  };
}

type Named = (name: string) => Tensor;
/** A tensor by name. */
export type FittedTensor = (name: FittedName) => Tensor;

/** Prototypes, mixtures of word embeddings, as keys and values [P, A·D]. @param words  [V, C] */
export function prototypes(words: Tensor, tensor: Named): { keys: Tensor; values: Tensor } {
  const mixed = linear(tensor("mix"), contiguous(permute(words, [1, 0]))); // [P, C]
  return {
    keys: add(linear(mixed, tensor("keyWeight")), tensor("keyBias")),
    values: add(linear(mixed, tensor("valueWeight")), tensor("valueBias")),
  };
}

/**
 * Patches as mixtures of prototypes, by cross-attention.
 *
 * @param patches  [R, 3·patch] each between its neighbours
 * @returns [R, C]
 */
export function reprogram(
  patches: Tensor,
  { keys, values }: { keys: Tensor; values: Tensor },
  tensor: FittedTensor,
  shape: TimeLlmShape,
): Tensor {
  const { heads, headSize } = shape;
  const rows = patches.shape[0]!;
  const count = keys.shape[0]!;
  const embedded = linear(patches, tensor("patchWeight")); // [R, width]
  const query = add(linear(embedded, tensor("queryWeight")), tensor("queryBias")); // [R, A·D]
  const q = permute(reshape(query, [rows, heads, headSize]), [1, 0, 2]); // [A, R, D]
  const k = permute(reshape(keys, [count, heads, headSize]), [1, 0, 2]); // [A, P, D]
  const v = contiguous(permute(reshape(values, [count, heads, headSize]), [1, 2, 0])); // [A, D, P]
  const pattern = softmax(linear(q, contiguous(k)), undefined, 1 / Math.sqrt(headSize)); // [A, R, P]
  const mixed = reshape(contiguous(permute(linear(pattern, v), [1, 0, 2])), [rows, heads * headSize]);
  return add(linear(mixed, tensor("outWeight")), tensor("outBias"));
}

/**
 * What the language model reads: each window's prompt, then its patches.
 *
 * @param patches  [B·n, C]
 * @returns [B·(T + n), C]; the prompts' tokens are the input `prompt` [B·T]
 */
export function withPrompt(patches: Tensor, model: Transformer, sequences: number, shape: TimeLlmShape): Tensor {
  const { promptLength, hiddenSize } = shape;
  if (promptLength === 0) return patches;
  const count = patchCount(shape);
  const prompt = reshape(model.embed(input("prompt", "i32", [sequences * promptLength])), [sequences, promptLength, hiddenSize]);
  const together = concat(prompt, reshape(patches, [sequences, count, hiddenSize]), 1);
  return reshape(together, [sequences * (promptLength + count), hiddenSize]);
}

/**
 * What the head reads, the first F features of the patches' states: [B·(T + n), C] -> [B, n·F]. Together they are brought to length 1: states are
 * of any size, and a step of the head's many weights must not be a leap of its outputs.
 */
export function featuresOf(hidden: Tensor, sequences: number, shape: TimeLlmShape): Tensor {
  const { promptLength, hiddenSize, features } = shape;
  const count = patchCount(shape);
  const states = narrow(reshape(hidden, [sequences, promptLength + count, hiddenSize]), 1, promptLength, count);
  return l2Norm(reshape(contiguous(narrow(states, 2, 0, features)), [sequences, count * features]), 1e-12);
}

/** [B, n·F] -> [B, H] normalized. */
export const horizonOf = (features: Tensor, tensor: FittedTensor): Tensor =>
  add(linear(features, tensor("headWeight")), tensor("headBias"));

/**
 * Random maps, each of outputs as large as its inputs, prototypes of features about 1 so that patches tell them apart; the head begins near 0,
 * the window's mean.
 */
export function begin(parameters: Parameters, seed: number, words: Float32Array): void {
  const wordSize = Math.sqrt(words.reduce((sum, value) => sum + value * value, 0) / words.length);
  const normal = normalSampler(seed);
  for (const name of parameters.names) {
    if (name.endsWith("Bias")) continue;
    const values = parameters.values(name);
    const even = 1 / Math.sqrt(parameters.tensor(name).shape[1]!);
    const scale = name === "headWeight" ? 1e-3 : name === "mix" ? even / wordSize : even;
    for (let i = 0; i < values.length; i++) values[i] = scale * normal();
  }
}

/** Windows of one pass. */
export interface HorizonBatch extends PassRows {
  /** [B·n, 3·patch] normalized. */
  readonly patches: Float32Array;
  /** [B·T] */
  readonly prompt: Int32Array;
  readonly documents: Int32Array;
  /** [B, H] normalized alike. */
  readonly targets: Float32Array;
  /** [B] squared scale of a window, so that the loss is one of values: 0 for a window that doesn't count. */
  readonly weights: Float32Array;
}

/** What a graph up to the features reads. @param words  [V·C] */
export function fillWindows(program: Program, { patches, prompt }: Pick<HorizonBatch, "patches" | "prompt">, words: Float32Array): void {
  program.input("words").set(words);
  program.input("patches").set(patches);
  if (prompt.length > 0) program.input<"i32">("prompt").set(prompt);
}

/** Mean squared error of the whole horizon, after the normalization is undone. Targets are values. @param words  [V·C] */
export function horizonLoss(tensor: Named, sequences: number, shape: TimeLlmShape, words: Float32Array): Objective<HorizonBatch> {
  const { horizon } = shape;
  return {
    name: "horizon",
    loss({ hidden }) {
      const errors = unary(
        "sqr",
        sub(horizonOf(featuresOf(hidden, sequences, shape), tensor), input("targets", "f32", [sequences, horizon])),
      );
      return sumLast(reshape(mul(errors, input("weights", "f32", [sequences, 1])), [1, sequences * horizon]));
    },
    fill(program, batch, count) {
      fillWindows(program, batch, words);
      program.input("targets").set(batch.targets);
      const scaled = program.input("weights");
      for (let i = 0; i < sequences; i++) scaled[i] = batch.weights[i]! / count;
    },
  };
}
