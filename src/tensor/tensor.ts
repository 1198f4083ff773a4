import type { DType, TensorPointer } from "../ggml/index.ts";
import { checkShape, type Shape } from "./shape.ts";

/** Native memory that a leaf stands for: a weight or a cache. Owned elsewhere; the graph only refers to it. */
export interface Storage {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly pointer: TensorPointer;
  /** Kept in a rearranged form that only products can read. */
  readonly repacked: boolean;
  /** The same matrix with its axes the other way round, kept beside a frozen weight: the gradient by a layer's input multiplies with it. */
  readonly transposed?: Storage;
}

export type UnaryName =
  | "sqr"
  | "sqrt"
  | "log"
  | "exp"
  | "sin"
  | "cos"
  | "abs"
  | "neg"
  | "step"
  | "sgn"
  | "relu"
  | "gelu"
  | "geluErf"
  | "geluQuick"
  | "silu"
  | "tanh"
  | "sigmoid"
  | "softplus"
  | "elu";

/** How rotary embeddings turn pairs: neighbours (2i, 2i+1), or halves (i, i + dims/2) as NeoX does. */
export type RopePairs = "neighbours" | "halves";

export interface RopeAttributes {
  /** Number of leading features of each head that are turned. */
  readonly dims: number;
  readonly pairs: RopePairs;
  readonly base: number;
  /** Factor on positions (1 / linear scaling factor). */
  readonly scale: number;
  /** YaRN: context the model was trained on, 0 without YaRN. */
  readonly originalContext: number;
  readonly extrapolation: number;
  readonly attentionFactor: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Turn the other way with the same magnitude, which multiplies by the transposed matrix: what gradients need. */
  readonly transposed?: boolean;
}

/** Every operation with its attributes. Shapes: outermost axis first. */
export interface OperationAttributes {
  leaf: { readonly storage: Storage };
  input: { readonly name: string };
  add: object;
  sub: object;
  mul: object;
  div: object;
  unary: { readonly name: UnaryName };
  affine: { readonly scale: number; readonly bias: number };
  clamp: { readonly min: number; readonly max: number };
  glu: { readonly gate: "silu" | "gelu" | "relu" };
  linear: object;
  chosenLinear: object;
  outer: object;
  gather: object;
  scatterAdd: object;
  setRows: object;
  rmsNorm: { readonly eps: number };
  layerNorm: { readonly eps: number };
  l2Norm: { readonly eps: number };
  rope: RopeAttributes;
  softmax: { readonly scale: number };
  attention: { readonly scale: number; readonly softcap: number };
  window: { readonly rowsPerStream: number };
  reshape: object;
  permute: { readonly axes: readonly number[] };
  narrow: { readonly axis: number; readonly start: number };
  contiguous: object;
  concat: { readonly axis: number };
  pad: { readonly axis: number; readonly before: number };
  expand: object;
  sumLast: object;
  cumsum: object;
  cast: object;
  argmax: object;
  topK: object;
}

export type OperationName = keyof OperationAttributes;

export interface Operation<N extends OperationName> {
  readonly op: N;
  readonly inputs: readonly Tensor[];
  readonly attributes: OperationAttributes[N];
  readonly shape: Shape;
  readonly dtype: DType;
  /** The node stands for f(x), which the gradient computes once more instead of keeping what lies between. */
  readonly again?: { readonly x: Tensor; readonly f: (x: Tensor) => Tensor };
}

/** A node of the lazy graph: no native memory, nothing to dispose of. */
export type Tensor = { [N in OperationName]: Operation<N> }[OperationName];

/** @throws ShapeError for a shape that no tensor can have */
export function node<N extends OperationName>(
  op: N,
  inputs: readonly Tensor[],
  attributes: OperationAttributes[N],
  shape: Shape,
  dtype: DType = "f32",
): Tensor {
  return { op, inputs, attributes, shape: checkShape(op, shape), dtype } as Tensor;
}
