import { expect, test } from "vitest";
import { costCurve } from "./cost-curve.ts";

const curve = costCurve({
  singleRowMs: 7,
  points: [
    { rows: 1, ratio: 1 },
    { rows: 4, ratio: 2.2 },
    { rows: 8, ratio: 3.4 },
  ],
});

test("a curve is linear between its points", () => {
  expect(curve.ratio(1)).toBe(1);
  expect(curve.ratio(4)).toBeCloseTo(2.2, 12);
  expect(curve.ratio(2)).toBeCloseTo(1.4, 12);
  expect(curve.ratio(6)).toBeCloseTo(2.8, 12);
});

test("beyond its last point a curve goes on as it went between the last two", () => {
  expect(curve.ratio(12)).toBeCloseTo(4.6, 12);
});

test("less than one row has no cost", () => {
  expect(() => curve.ratio(0)).toThrow(RangeError);
});
