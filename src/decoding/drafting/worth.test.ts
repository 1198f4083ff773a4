import fc from "fast-check";
import { expect, test } from "vitest";
import type { CostCurve } from "../../engine/index.ts";
import { clairvoyantGain, expectedGain } from "./worth.ts";

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
