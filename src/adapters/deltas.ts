import { type Projection, project } from "../nn/index.ts";
import { add, affine, linear, rmsNorm, type Tensor, unary } from "../tensor/index.ts";
import type { AdapterPlan } from "./adapter.ts";
import type { AdapterForm } from "./base.ts";

/** What adapters make of a model's layers and half-blocks. */
export interface Deltas {
  /** A linear layer of a block: x [T, C] -> [T, N]. */
  linear(x: Tensor, layer: Projection): Tensor;
  /**
   * What a half-block (`blocks.3.ffn`) gives to the residual stream.
   * @param x  [T, C], the residual stream before it
   * @param y  [T, C], what it gives by itself
   */
  half(name: string, x: Tensor, y: Tensor): Tensor;
}

/** A model as it is. */
export const noDeltas: Deltas = { linear: project, half: (_name, _x, y) => y };

const eps = 1e-6;

/** What a series or a parallel adapter reads of a half-block. */
export const bottleneckInput = (form: AdapterForm, x: Tensor, y: Tensor): Tensor => (form === "series" ? y : rmsNorm(x, eps));

/** Names of a part's two matrices among trained parameters. */
export const downName = (target: string): string => `${target}.down`;
export const upName = (target: string): string => `${target}.up`;

/**
 * The deltas of one adapter over matrices of any kind: those that are being trained.
 *
 * @param tensor   a matrix by {@link downName} [rank, C] or {@link upName} [N, rank]
 * @param dropout  applied to what goes into an adapter [T, C]; default nothing
 */
export function adapterDeltas(
  { form, activation, parts }: AdapterPlan,
  tensor: (name: string) => Tensor,
  dropout: (x: Tensor, target: string) => Tensor = (x) => x,
): Deltas {
  const scales = new Map(parts.map(({ target, scale }) => [target, scale]));
  const delta = (target: string, x: Tensor): Tensor => {
    const between = linear(dropout(x, target), tensor(downName(target)));
    const active = activation === undefined ? between : unary(activation, between);
    return affine(linear(active, tensor(upName(target))), scales.get(target)!);
  };
  return {
    linear: (x, layer) => (scales.has(layer.name) ? add(project(x, layer), delta(layer.name, x)) : project(x, layer)),
    half: (name, x, y) => (scales.has(name) ? add(y, delta(name, bottleneckInput(form, x, y))) : y),
  };
}
