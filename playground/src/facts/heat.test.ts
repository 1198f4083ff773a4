import { expect, test } from "vitest";
import { runOf } from "../../test/recorded.ts";
import { heat } from "./heat.ts";

test("the largest score, to either side, has the strongest colour; the others their share", () => {
  expect(heat([2, 1, 0, -0.5, 0.1])).toEqual([5, 3, 0, -1, 0]);
  expect(heat([0.1, -4])).toEqual([0, -5]);
  expect(heat([0, 0])).toEqual([0, 0]);
  expect(heat([])).toEqual([]);
});

test("the recorded run: one score per token of the prompt, the strongest shown as such", () => {
  const { attribution } = runOf("explained").facts!;
  expect(attribution!.prompt.join("")).toBe("The capital of France is");
  for (const { scores } of attribution!.tokens) {
    expect(scores).toHaveLength(attribution!.prompt.length);
    expect(Math.max(...heat(scores).map(Math.abs))).toBe(5);
  }
});
