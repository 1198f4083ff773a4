import { ShapeError } from "../errors.ts";
import { affine, clamp, gather, mul, reshape, softmax, sumLast, type Tensor, unary } from "../tensor/index.ts";

/** Probabilities below count as this one: its negative logarithm, 83 nats, is the largest loss of a token. */
const leastProbability = 2 ** -120;

/**
 * Weighted cross-entropy `Σ_i weights[i] · -log softmax(logits)[targets[i]]`, as a tensor with one element. Weights that sum to one make it
 * the mean loss in nats; a weight of 0 masks a target, which may then be any token. With one target per row this is the loss of the next
 * token; with several, weighted by their probabilities, the cross-entropy with another model's distribution.
 *
 * @param logits   [R, V] f32
 * @param targets  [N] i32, places in the flattened logits: what {@link targetIndices} makes of token ids
 * @param weights  [N] f32
 * @throws ShapeError
 */
export function crossEntropy(logits: Tensor, targets: Tensor, weights: Tensor): Tensor {
  const [count] = targets.shape;
  const weighted = mul(logProbabilities(logits, targets), reshape(weights, [count!, 1]));
  return affine(sumLast(reshape(weighted, [1, count!])), -1); // [1, 1]
}

/**
 * `log softmax(logits)[targets[i]]` for every target, at least -83 nats: [N, 1].
 *
 * @param logits   [R, V] f32
 * @param targets  [N] i32, places in the flattened logits
 * @throws ShapeError
 */
export function logProbabilities(logits: Tensor, targets: Tensor): Tensor {
  const [rows, vocabSize] = logits.shape;
  if (logits.shape.length !== 2 || rows! * vocabSize! >= 2 ** 31)
    throw new ShapeError("logProbabilities", { tensor: "the logits", expected: "[R, V], fewer than 2^31 elements", actual: logits.shape });
  const probabilities = reshape(softmax(logits), [rows! * vocabSize!, 1]);
  return unary("log", clamp(gather(probabilities, targets), leastProbability, Number.POSITIVE_INFINITY)); // [N, 1]
}

/**
 * Where each row's target stands in logits [R, V] laid out row after row.
 * @throws RangeError for an id outside the vocabulary
 */
export function targetIndices(ids: ArrayLike<number>, vocabSize: number): Int32Array {
  return Int32Array.from(ids, (id, row) => {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabSize))
      throw new RangeError(`target ${id} of row ${row} is outside the vocabulary [0, ${vocabSize})`);
    return row * vocabSize + id;
  });
}
