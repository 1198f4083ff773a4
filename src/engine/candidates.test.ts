import fc from "fast-check";
import { expect, test } from "vitest";
import { candidatesOf, logSumExp, pieceLength } from "./candidates.ts";

const row = fc.oneof(
  fc.array(fc.float({ min: -40, max: 40, noNaN: true }), { minLength: 1, maxLength: 700 }),
  fc.array(fc.constantFrom(-1, 0, 2.5), { minLength: 1, maxLength: 700 }), // nothing but ties
  fc.array(fc.constantFrom(-1, Number.NEGATIVE_INFINITY, 2.5), { minLength: 1, maxLength: 700 }), // what a mask leaves
  fc
    .tuple(fc.integer({ min: 100, max: 5000 }), fc.nat())
    .map(([length, seed]) => Array.from({ length }, (_, i) => Math.sin((i + 1) * (seed + 1) * 12.9898) * 20)),
);

/** log Σ exp of as many pieces of a row. */
function exactSums(logits: Float32Array, count: number) {
  const size = logits.length / count;
  const logSum = (part: Float32Array) => {
    const max = Math.max(...part);
    return max === Number.NEGATIVE_INFINITY ? max : max + Math.log(part.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
  };
  return { pieces: Float64Array.from({ length: count }, (_, i) => logSum(logits.subarray(i * size, (i + 1) * size))), total: 0 };
}

const divisorOf = (length: number, some: number): number => {
  const divisors = Array.from({ length }, (_, i) => i + 1).filter((one) => length % one === 0);
  return divisors[some % divisors.length]!;
};

test("candidates are the first of the whole row sorted, ties to the lowest id", () => {
  fc.assert(
    fc.property(row, fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 200 })), fc.nat(), (values, count, some) => {
      const logits = Float32Array.from(values);
      const expected = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, count);
      const pieces = divisorOf(logits.length, some);
      const { ids, logits: top } = candidatesOf(logits, count, exactSums(logits, pieces));
      expect([...ids]).toEqual(expected);
      expect([...top]).toEqual(expected.map((id) => logits[id]));
    }),
  );
});

/** The softmax of each piece, as the head gives it. */
function sharesOf(logits: Float32Array, piece: number): Float32Array {
  const shares = new Float32Array(logits.length);
  for (let start = 0; start < logits.length; start += piece) {
    const part = logits.subarray(start, start + piece);
    const max = Math.max(...part);
    const total = part.reduce((sum, logit) => sum + Math.exp(logit - max), 0);
    shares.set(
      part.map((logit) => Math.exp(logit - max) / total),
      start,
    );
  }
  return shares;
}

test("a row's log-sum-exp from the softmax of its pieces is that of the row", () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ min: -200, max: 200, noNaN: true }), { minLength: 96, maxLength: 96 }),
      fc.constantFrom(96, 48, 8),
      (values, piece) => {
        const logits = Float32Array.from(values);
        const max = Math.max(...logits);
        const expected = max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
        expect(logSumExp(logits, sharesOf(logits, piece), piece).total).toBeCloseTo(expected, 4); // shares are float32
      },
    ),
  );
});

test("no token is more probable than 1, however sure a row is", () => {
  for (let first = 0; first < 200; first++) {
    const logits = new Float32Array(64).fill(-30);
    logits[0] = -(first % 20) - 0.37 * first; // the piece's sum is taken from its share
    logits[9] = 40 + 0.1 * first;
    const sums = logSumExp(logits, sharesOf(logits, 64), 64);
    const { logits: top, logSumExp: total } = candidatesOf(logits, 1, sums);
    expect(top[0]! - total).toBeLessThanOrEqual(0);
    expect(total).toBeCloseTo(sums.total, 5);
  }
});

test("pieces divide the vocabulary", () => {
  expect(pieceLength(49_152)).toBe(1024);
  expect(pieceLength(262_144)).toBe(1024);
  expect(128_256 % pieceLength(128_256)).toBe(0);
  expect(pieceLength(50_257)).toBe(50_257); // 29 · 1733: no divisor in range
  expect(pieceLength(40)).toBe(40);
});
