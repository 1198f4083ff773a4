import type { Candidates } from "./sequence.ts";

/** Elements per piece of a row whose softmax is taken piece by piece, so that threads share a row: the largest divisor of V that fits. */
export function pieceLength(vocabSize: number): number {
  for (let length = Math.min(1024, vocabSize); length >= 64; length -= 1) if (vocabSize % length === 0) return length;
  return vocabSize;
}

/** log Σ exp of the logits of each piece of a row, and of the row. */
export interface RowSums {
  readonly pieces: Float64Array;
  readonly total: number;
}

/**
 * log Σ exp(logits) of a row, from the softmax of its pieces: each piece's sum follows from any one of its elements.
 *
 * @param logits  [V]
 * @param shares  [V], softmax within each piece
 * @param piece   elements per piece, dividing V
 */
export function logSumExp(logits: Float32Array, shares: Float32Array, piece: number): RowSums {
  const pieces = new Float64Array(logits.length / piece);
  let max = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < pieces.length; index += 1) {
    const start = index * piece;
    const share = shares[start]!;
    // a share too small to have kept its digits: the piece is summed here
    const sum = share > 1e-30 ? logits[start]! - Math.log(share) : sumExactly(logits.subarray(start, start + piece));
    pieces[index] = sum;
    if (sum > max) max = sum;
  }
  if (max === Number.NEGATIVE_INFINITY) return { pieces, total: max };
  let total = 0;
  for (const sum of pieces) total += Math.exp(sum - max);
  return { pieces, total: max + Math.log(total) };
}

function sumExactly(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > max) max = logit;
  if (max === Number.NEGATIVE_INFINITY) return max;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - max);
  return max + Math.log(total);
}

/** The `count` largest of a row's logits, sorted from large to small, ties to the lowest id. */
export function candidatesOf(logits: Float32Array, count: number, { pieces, total }: RowSums): Candidates {
  const ids = (count <= maxFew ? few(logits, count, pieces) : undefined) ?? largest(logits, Math.min(count, logits.length));
  // from float32 shares the sum may come out below its largest part: a probability above 1
  return { ids, logits: Float32Array.from(ids, (id) => logits[id]!), logSumExp: Math.max(total, logits[ids[0]!]!) };
}

/** Up to so many are kept sorted while a row is read once: greedy asks for one, a search for a handful, and a pass has several rows. */
const maxFew = 8;
/** A piece's sum, which is no less than any of its logits, comes from float32 shares. */
const sumSlack = 1e-3;

/** The first of a row sorted, by insertion; undefined where fewer are above -Infinity. Pieces whose sum is below the last of them are not read. */
function few(logits: Float32Array, count: number, pieces: Float64Array): Int32Array | undefined {
  const ids = new Int32Array(count).fill(-1);
  const values = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
  const piece = logits.length / pieces.length;
  let bar = Number.NEGATIVE_INFINITY;
  for (const index of [...pieces.keys()].sort((a, b) => pieces[b]! - pieces[a]!)) {
    if (pieces[index]! + sumSlack < bar) break;
    const end = (index + 1) * piece;
    for (let id = index * piece; id < end; id += 1) {
      const logit = logits[id]!;
      if (!(logit >= bar) || logit === Number.NEGATIVE_INFINITY) continue;
      let place = count;
      while (place > 0 && (logit > values[place - 1]! || (logit === values[place - 1]! && id < ids[place - 1]!))) place -= 1;
      if (place === count) continue;
      values.copyWithin(place + 1, place, count - 1);
      ids.copyWithin(place + 1, place, count - 1);
      values[place] = logit;
      ids[place] = id;
      bar = values[count - 1]!;
    }
  }
  return ids[count - 1] === -1 ? undefined : ids;
}

const sampleStride = 64;

/** Guesses from a sample a threshold that somewhat more than `count` elements reach; where too few do, a lower one. */
function largest(logits: Float32Array, count: number): Int32Array {
  const sample = new Float32Array(Math.ceil(logits.length / sampleStride));
  for (let i = 0; i < sample.length; i += 1) sample[i] = logits[i * sampleStride]!;
  sample.sort();
  for (let rank = Math.ceil(count / sampleStride) + 3; ; rank *= 4) {
    const threshold = rank < sample.length ? sample[sample.length - rank]! : Number.NEGATIVE_INFINITY;
    const reach: number[] = [];
    for (let id = 0; id < logits.length; id += 1) if (logits[id]! >= threshold) reach.push(id);
    if (reach.length < count && rank < sample.length) continue;
    return Int32Array.from(reach.sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, count));
  }
}
