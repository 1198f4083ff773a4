import { expect, test } from "vitest";
import { philox4x32, uniforms } from "./random.ts";

test("philox4x32-10 gives the known answers of Random123 (kat_vectors)", () => {
  const ones = 0xffffffff;
  expect([...philox4x32([0, 0, 0, 0], [0, 0])]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  expect([...philox4x32([ones, ones, ones, ones], [ones, ones])]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  expect([...philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])]).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

test("seed, stream and index each change the numbers, and nothing else does", () => {
  const point = { seed: 2 ** 53 - 1, stream: 3, index: 7 };
  expect(uniforms(point)).toEqual(uniforms({ ...point }));
  for (const other of [{ seed: 2 ** 53 - 2 }, { seed: (2 ** 53 - 1) % 2 ** 32 }, { stream: 4 }, { index: 8 }]) {
    expect(uniforms({ ...point, ...other })).not.toEqual(uniforms(point));
  }
});

test("both numbers are uniform in [0, 1) and independent: chi-square over 10 x 10 cells", () => {
  const draws = 20_000;
  const cells = new Array<number>(100).fill(0);
  for (let index = 0; index < draws; index++) {
    const [a, b] = uniforms({ seed: 42, stream: 0, index });
    cells[Math.floor(a * 10) * 10 + Math.floor(b * 10)]!++;
  }
  const expected = draws / 100;
  const statistic = cells.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  expect(statistic).toBeLessThan(148.2); // 99.9 % quantile, 99 degrees of freedom
});
