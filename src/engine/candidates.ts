import type { Candidates } from "./sequence.ts";

/** Elements per piece of a row whose softmax is taken piece by piece, so that threads share a row: the largest divisor of V that fits. */
export function pieceLength(vocabSize: number): number {
  for (let length = Math.min(1024, vocabSize); length >= 64; length -= 1) if (vocabSize % length === 0) return length;
  return vocabSize;
}

/**
 * log Σ exp(logits) of a row, from the softmax of its pieces: each piece's sum follows from any one of its elements.
 *
 * @param logits  [V]
 * @param shares  [V], softmax within each piece
 * @param piece   elements per piece, dividing V
 */
export function logSumExp(logits: Float32Array, shares: Float32Array, piece: number): number {
  const sums: number[] = [];
  let max = Number.NEGATIVE_INFINITY;
  for (let start = 0; start < logits.length; start += piece) {
    const share = shares[start]!;
    // a share too small to have kept its digits: the piece is summed here
    const sum = share > 1e-30 ? logits[start]! - Math.log(share) : sumExactly(logits.subarray(start, start + piece));
    sums.push(sum);
    if (sum > max) max = sum;
  }
  if (max === Number.NEGATIVE_INFINITY) return max;
  let total = 0;
  for (const sum of sums) total += Math.exp(sum - max);
  return max + Math.log(total);
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
export function candidatesOf(logits: Float32Array, count: number, rowLogSumExp: number): Candidates {
  const ids =
    count === 1
      ? Int32Array.of(argmax(logits))
      : ((count <= maxFew ? few(logits, count) : undefined) ?? largest(logits, Math.min(count, logits.length)));
  return { ids, logits: Float32Array.from(ids, (id) => logits[id]!), logSumExp: rowLogSumExp };
}

function argmax(logits: Float32Array): number {
  let best = 0;
  let value = logits[0]!;
  for (let id = 1; id < logits.length; id += 1) {
    const logit = logits[id]!;
    if (logit > value) {
      best = id;
      value = logit;
    }
  }
  return best;
}

/** Up to so many are kept sorted while a row is read once: a search asks each of its rows for a handful, and a pass has several. */
const maxFew = 8;

/** The first of a row sorted, by insertion; undefined where fewer are above -Infinity. */
function few(logits: Float32Array, count: number): Int32Array | undefined {
  const ids = new Int32Array(count).fill(-1);
  const values = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
  let bar = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id += 1) {
    const logit = logits[id]!;
    if (!(logit > bar)) continue; // of equals the lower id came first
    let place = count - 1;
    for (; place > 0 && values[place - 1]! < logit; place -= 1) {
      values[place] = values[place - 1]!;
      ids[place] = ids[place - 1]!;
    }
    values[place] = logit;
    ids[place] = id;
    bar = values[count - 1]!;
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
