import fc from "fast-check";
import { expect, test } from "vitest";
import type { CostCurve } from "../../engine/index.ts";
import { chainGain, clairvoyantGain, expectedGain } from "./worth.ts";

const curveOf = (ratios: readonly number[]): CostCurve => ({ singleRowMs: 1, points: [], ratio: (rows) => ratios[rows - 1]! });
const curve = curveOf([1, 1.8, 2.6, 2.9, 3.4, 3.9, 4.5]);

/** Every way to divide `tokens` into passes. */
function cheapest(tokens: number, widest: number, ratio: (rows: number) => number): number {
  if (tokens === 0) return 0;
  const costs = Array.from({ length: Math.min(tokens, widest) }, (_, index) => index + 1).map(
    (rows) => ratio(rows) + cheapest(tokens - rows, widest, ratio),
  );
  return Math.min(...costs);
}

test("the expected gain is tokens per the curve's time", () => {
  // two passes without a draft, three over four rows in which five tokens of nine were accepted
  const byWidth = [
    { drafted: 0, passes: 2, accepted: 0 },
    { drafted: 3, passes: 3, accepted: 5 },
  ];
  expect(expectedGain(curve, byWidth)).toBeCloseTo((2 + 3 + 5) / (2 * 1 + 3 * 2.9), 12);
  expect(expectedGain(curve, [])).toBe(1);
});

test("a clairvoyant draft takes the cheapest of all divisions into passes", () => {
  expect(clairvoyantGain(curve, 4)).toBeCloseTo(4 / 2.9, 12);
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.05, max: 1.4, noNaN: true }), { minLength: 11, maxLength: 11 }),
      fc.integer({ min: 0, max: 11 }),
      fc.integer({ min: 0, max: 5 }),
      (steps, tokens, maxWidth) => {
        const ratios = steps.reduce<number[]>((list, step) => [...list, list.at(-1)! + step], [1]);
        const expected = tokens === 0 ? 1 : tokens / cheapest(tokens, maxWidth + 1, (rows) => ratios[rows - 1]!);
        expect(clairvoyantGain(curveOf(ratios), tokens, maxWidth)).toBeCloseTo(expected, 9);
      },
    ),
    { numRuns: 60 },
  );
});

test("a chain's gain is that of its best depth, each token as likely right as the exit agrees", () => {
  // depth 1: 1.5 / (1.8 + 0.1), 2: 1.75 / (2.6 + 0.2), 3: 1.875 / (2.9 + 0.3): none gains
  expect(chainGain(curve, { agreement: 0.5, price: 0.1 }, 3)).toEqual({ depth: 0, gain: 1 });
  // 1.9 / 1.9, 2.71 / 2.8, 3.439 / 3.2
  const { depth, gain } = chainGain(curve, { agreement: 0.9, price: 0.1 }, 3);
  expect([depth, gain]).toEqual([3, expect.closeTo((1 + 0.9 + 0.81 + 0.729) / (2.9 + 0.3), 12)]);
});
