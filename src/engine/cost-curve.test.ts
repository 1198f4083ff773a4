import { expect, test } from "vitest";
import { costCurve, curveAt, curveRows } from "./cost-curve.ts";
import { rowStep } from "./structure.ts";

const curve = costCurve({
  singleRowMs: 7,
  points: [
    { rows: 1, ratio: 1 },
    { rows: 4, ratio: 2.2 },
    { rows: 8, ratio: 3.4 },
  ],
});

test("rows cost what the pass costs that they are padded to", () => {
  expect([1, 2, 4, 5, 6, 8].map((rows) => curve.ratio(rows))).toEqual([1, 2.2, 2.2, 3.4, 3.4, 3.4]);
  for (const rows of curveRows) expect(rowStep(rows)).toBe(rows);
});

test("beyond its last point a curve goes on as it went between the last two", () => {
  expect(curve.ratio(12)).toBeCloseTo(4.6, 12);
});

test("at another length the times are on the line through those of two lengths", () => {
  // t(rows, entries) = (5 + rows) + entries · rows / 100
  const points = (entries: number) => {
    const ms = (rows: number) => 5 + rows + (entries * rows) / 100;
    return { entries, singleRowMs: ms(1), points: [1, 4, 16].map((rows) => ({ rows, ratio: ms(rows) / ms(1) })) };
  };
  for (const entries of [200, 600]) {
    const { singleRowMs, points: found } = curveAt(entries, points(128), points(512));
    expect(singleRowMs).toBeCloseTo(points(entries).singleRowMs, 9);
    for (const [index, { rows, ratio }] of points(entries).points.entries()) {
      expect(found[index]!.rows).toBe(rows);
      expect(found[index]!.ratio).toBeCloseTo(ratio, 9);
    }
  }
});

test("less than one row has no cost", () => {
  expect(() => curve.ratio(0)).toThrow(RangeError);
});
