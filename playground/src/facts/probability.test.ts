import fc from "fast-check";
import { expect, test } from "vitest";
import { bits, percent, probabilityStep, visible } from "./probability.ts";

test("steps of the scale: a limit belongs to the more probable side", () => {
  const step = (probability: number) => probabilityStep(Math.log(probability));
  expect([1, 0.9, 0.89, 0.5, 0.49, 0.2, 0.05, 0.01, 0.0099, 1e-30].map(step)).toEqual([0, 0, 1, 1, 2, 2, 3, 4, 5, 5]);
  expect(probabilityStep(Number.NEGATIVE_INFINITY)).toBe(5);
  expect(probabilityStep(undefined)).toBeUndefined();
});

test("steps never go back as tokens get less probable", () => {
  const logprob = fc.double({ min: -50, max: 0, noNaN: true });
  fc.assert(fc.property(logprob, logprob, (a, b) => (a >= b ? probabilityStep(a)! <= probabilityStep(b)! : true)));
});

test("shares never look certain or impossible when they aren't", () => {
  const shown = (probability: number) => percent(Math.log(probability));
  expect([1, 0.9999, 0.995, 0.43, 0.0712, 0.0041, 0.00001].map(shown)).toEqual([
    "100 %",
    "> 99.9 %",
    "99.5 %",
    "43 %",
    "7.1 %",
    "0.4 %",
    "< 0.01 %",
  ]);
});

test("bits are -log2 p; blanks and line ends are made visible", () => {
  expect(bits(Math.log(0.25))).toBeCloseTo(2, 12);
  expect(bits(0)).toBe(0);
  expect(visible(" a\n\tb")).toBe("·a↵⇥b");
});
