import { expect, test } from "vitest";
import { learningRate } from "./schedule.ts";

test("warm-up, then a straight line to the floor", () => {
  const schedule = { kind: "linear", peak: 1, floor: 0.5, warmupSteps: 2, steps: 6 } as const;
  expect([0, 1, 2, 3, 4, 5, 6, 7].map((step) => learningRate(schedule, step))).toEqual([0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.5]);
});

test("a half cosine passes the middle half way", () => {
  const schedule = { peak: 2, floor: 0, steps: 8 };
  expect(learningRate(schedule, 0)).toBe(2);
  expect(learningRate(schedule, 4)).toBeCloseTo(1, 12);
  expect(learningRate(schedule, 2)).toBeCloseTo(1 + Math.SQRT1_2, 12);
  expect(learningRate(schedule, 8)).toBeCloseTo(0, 12);
});

test("a constant rate stays", () => expect(learningRate({ kind: "constant", peak: 3, steps: 4 }, 3)).toBe(3));

test("rates that make no sense are refused by name", () => {
  expect(() => learningRate({ peak: 0, steps: 1 }, 0)).toThrow("peak: must be a number > 0");
  expect(() => learningRate({ peak: 1, steps: 1, floor: 2 }, 0)).toThrow("floor: must be in [0, 1]");
  expect(() => learningRate({ peak: 1, steps: 0 }, 0)).toThrow("steps: must be");
  expect(() => learningRate({ peak: 1, steps: 3, warmupSteps: 4 }, 0)).toThrow("warmupSteps: must be a whole number in [0, 3]");
});
