import { add, affine, input, l2Norm, linear, mul, reshape, type Shape, sub, sumLast, type Tensor, unary } from "../../../tensor/index.ts";
import type { Objective, PassRows } from "../../../training/index.ts";
import type { Parameters } from "../../../weights/index.ts";
import { normalSampler } from "../normal-sampler.ts";

// Letters: S values of a segment, N segments of a look-back, B windows of a pass, R = B·N rows, C width of the language model.

export interface AutoTimesShape {
  /** S */
  readonly segment: number;
  /** C */
  readonly hiddenSize: number;
  /** Whether the language model's states of the time stamps are mixed into the embeddings. */
  readonly hasStamps: boolean;
  /** Length of an embedding. */
  readonly embeddingLength: number;
}

export const tensorNames = ["embedWeight", "embedBias", "outWeight", "outBias", "mix"] as const;
export type TensorName = (typeof tensorNames)[number];

export function tensorShapes({ segment, hiddenSize }: AutoTimesShape): Record<TensorName, Shape> {
  return {
    embedWeight: [hiddenSize, segment],
    embedBias: [hiddenSize],
    outWeight: [segment, hiddenSize],
    outBias: [segment],
    mix: [1],
  };
}

/**
 * Segments as embeddings: a linear map; with time stamps both are brought to length 1, mixed with the learned factor, and stretched to the
 * length of the model's own embeddings (1 in the paper, which is about that of LLaMA's).
 *
 * @param segments  [R, S]
 * @param stamps    [R, C], rows of length 1
 * @returns [R, C]
 */
export function embedSegments(
  segments: Tensor,
  stamps: Tensor | undefined,
  tensor: (name: TensorName) => Tensor,
  { embeddingLength }: Pick<AutoTimesShape, "embeddingLength">,
): Tensor {
  const embedded = add(linear(segments, tensor("embedWeight")), tensor("embedBias"));
  if (stamps === undefined) return embedded;
  return affine(add(l2Norm(embedded, 1e-12), mul(stamps, tensor("mix"))), embeddingLength);
}

/** What follows each row's segment: [R, C] -> [R, S]. */
export const nextSegments = (hidden: Tensor, tensor: (name: TensorName) => Tensor): Tensor =>
  add(linear(hidden, tensor("outWeight")), tensor("outBias"));

/** Random maps: embeddings of the model's length, half of which comes from the offset, so that a segment's size survives normalization. */
export function begin(parameters: Parameters, shape: AutoTimesShape, seed: number): void {
  const { segment, hiddenSize, embeddingLength } = shape;
  const normal = normalSampler(seed);
  const deviation = embeddingLength / Math.sqrt(2 * hiddenSize);
  const fill = (name: TensorName, scale: number) => {
    const values = parameters.values(name);
    for (let i = 0; i < values.length; i++) values[i] = scale * normal();
  };
  fill("embedWeight", deviation / Math.sqrt(segment));
  fill("embedBias", deviation);
  fill("outWeight", 1e-3);
  if (parameters.has("mix")) parameters.values("mix")[0] = 1;
}

/** Windows of one pass. */
export interface SegmentBatch extends PassRows {
  /** [R, S] normalized. */
  readonly segments: Float32Array;
  /** [R, S] the segments that follow, normalized alike. */
  readonly targets: Float32Array;
  /** [R] squared scale of a row's window, so that the loss is one of values: 0 for a row that doesn't count. */
  readonly weights: Float32Array;
  /** [R, C], where stamps are mixed in. */
  readonly stamps?: Float32Array;
}

/** Mean squared error of every next segment, after the normalization is undone. Targets are values. */
export function nextSegmentLoss(tensor: (name: TensorName) => Tensor, rows: number, { segment }: AutoTimesShape): Objective<SegmentBatch> {
  return {
    name: "next segment",
    loss({ hidden }) {
      const errors = unary("sqr", sub(nextSegments(hidden, tensor), input("targets", "f32", [rows, segment])));
      return sumLast(reshape(mul(errors, input("weights", "f32", [rows, 1])), [1, rows * segment]));
    },
    fill(program, { segments, targets, weights, stamps }, count) {
      program.input("segments").set(segments);
      if (stamps !== undefined) program.input("stamps").set(stamps);
      program.input("targets").set(targets);
      const scaled = program.input("weights");
      for (let row = 0; row < rows; row++) scaled[row] = weights[row]! / count;
    },
  };
}
