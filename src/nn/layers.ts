import { add, layerNorm, linear, mul, rmsNorm, type Tensor } from "../tensor/index.ts";

/** A linear layer: weight [N, C] of any type, bias [N] f32 where the checkpoint has one. */
export interface Projection {
  /** As checkpoints name it, without the ending: `blk.3.attn_q`. */
  readonly name: string;
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
}

/** x · weightᵀ + bias: [B, C] -> [B, N]. */
export function project(x: Tensor, { weight, bias }: Projection): Tensor {
  const y = linear(x, weight);
  return bias === undefined ? y : add(y, bias);
}

/** A normalization layer: weight [C], bias [C] f32. Without a bias it is root-mean-square normalization. */
export interface NormWeights {
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
  readonly eps: number;
}

/**
 * Normalization over the last axis, times `weight`: layer normalization where there is a bias, otherwise root-mean-square.
 * @see Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; Ba et al. 2016, https://arxiv.org/abs/1607.06450
 */
export function norm(x: Tensor, { weight, bias, eps }: NormWeights): Tensor {
  if (bias === undefined) return mul(rmsNorm(x, eps), weight);
  return add(mul(layerNorm(x, eps), weight), bias);
}
