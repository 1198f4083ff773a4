import { expect, test } from "vitest";
import { principalComponents } from "./principal-components.ts";
import { normal } from "./random.ts";

const product = (values: Float32Array, width: number, a: number, b: number) => {
  let sum = 0;
  for (let i = 0; i < width; i += 1) sum += values[a * width + i]! * values[b * width + i]!;
  return sum;
};

test("rows of rank 3 keep their scalar products in 3 columns, up to one scale", () => {
  const [rows, columns, rank] = [60, 12, 3];
  const draw = (stream: number, index: number) => normal(9, "weights", stream, index);
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1)
      for (let k = 0; k < rank; k += 1) values[row * columns + column]! += draw(1, row * rank + k) * draw(2, k * columns + column);
  const small = principalComponents(values, columns, rank, { deviation: 0.02 });
  expect(small).toHaveLength(rows * rank);
  expect(Math.sqrt(small.reduce((sum, value) => sum + value * value, 0) / small.length)).toBeCloseTo(0.02, 6);
  const scale = product(small, rank, 0, 0) / product(values, columns, 0, 0);
  for (let a = 0; a < rows; a += 1)
    for (let b = 0; b <= a; b += 1) expect(product(small, rank, a, b) / scale).toBeCloseTo(product(values, columns, a, b), 2);
});

test("fewer columns keep the directions in which the rows vary most", () => {
  const values = new Float32Array(200 * 3); // deviations 5, 1 and 0.1 along the axes
  for (let row = 0; row < 200; row += 1)
    for (const [axis, deviation] of [5, 1, 0.1].entries()) values[row * 3 + axis] = deviation * normal(4, "weights", axis, row);
  const small = principalComponents(values, 3, 1, { deviation: 1, sample: 2 });
  const along = values[0]! / small[0]!;
  for (let row = 0; row < 200; row += 1) expect(Math.abs(small[row]! * along - values[row * 3]!)).toBeLessThan(1);
});
