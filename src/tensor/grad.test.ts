import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { grad, recompute } from "./grad.ts";
import { type Rule, rules } from "./gradient-rules.ts";
import { add, affine, attention, cast, input, linear, mul, reshape, sumLast, unary } from "./operations.ts";
import type { OperationName, Tensor } from "./tensor.ts";
import { type GradientCase, gradientCases, parametersOf, weighted } from "./testing/gradient-cases.ts";
import { RandomCase } from "./testing/random-case.ts";
import { interpret } from "./testing/reference.ts";

const runs = process.env.CHAINRULE_SOAK ? 300 : 6;
const probed = 6; // elements of each parameter that are moved
const step = 1e-4; // error of a central difference: step² times the third derivative, and 1e-16 / step

/** Compares gradients of `loss` with central differences of the interpreter, at some elements of each parameter. */
function expectGradients(loss: Tensor, gradients: readonly Tensor[], parameters: readonly Tensor[], c: RandomCase): void {
  const inputs = Object.fromEntries(Object.entries(c.inputs).map(([name, data]) => [name, Float64Array.from(data)]));
  const analytic = interpret(Object.fromEntries(gradients.map((g, i) => [`${i}`, g])), { inputs });
  parameters.forEach((parameter, i) => {
    if (parameter.op !== "input") throw new Error("parameters are inputs here");
    const data = inputs[parameter.attributes.name]!;
    expect(gradients[i]!.shape).toEqual(parameter.shape);
    const stride = Math.max(1, Math.floor(data.length / probed));
    for (let at = 0; at < data.length; at += stride) {
      const value = data[at]!;
      const lossAt = (moved: number) => {
        data[at] = moved;
        return interpret({ loss }, { inputs }).loss.data[0]!;
      };
      const difference = (lossAt(value + step) - lossAt(value - step)) / (2 * step);
      data[at] = value;
      const error = Math.abs(analytic[`${i}`]!.data[at]! - difference);
      if (!(error <= 1e-5 + 1e-5 * Math.abs(difference)))
        throw new Error(`${parameter.attributes.name}[${at}]: gradient ${analytic[`${i}`]!.data[at]}, difference ${difference}`);
    }
  });
}

function checkFirst({ draw }: GradientCase, seed?: number): void {
  fc.assert(
    fc.property(fc.gen(), (g) => {
      const c = new RandomCase(g);
      const y = draw(c);
      const parameters = parametersOf(y);
      const loss = weighted(y, c, "r");
      expectGradients(loss, grad(loss, parameters), parameters, c);
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  );
}

/** A cast rounds, so its differences are steps: its rule, which hands the gradient on, is checked as such below. */
const smooth = gradientCases.filter(({ op }) => op !== "cast");

describe("first derivatives are those of central differences", () => {
  for (const gradientCase of smooth) test(gradientCase.name, () => checkFirst(gradientCase));
});

describe("second derivatives are those of central differences of the first", () => {
  for (const { name, draw } of smooth) {
    test(name, () => {
      fc.assert(
        fc.property(fc.gen(), (g) => {
          const c = new RandomCase(g);
          const y = draw(c);
          const parameters = parametersOf(y);
          const first = grad(weighted(y, c, "r"), parameters);
          // Σ over parameters of weighted gradients
          const loss = first.map((gradient, i) => weighted(gradient, c, `s${i}`)).reduce(add);
          const known = parameters.filter((p) => dependsOn(loss, p));
          expectGradients(loss, grad(loss, known), known, c);
        }),
        { numRuns: Math.ceil(runs / 2) },
      );
    });
  }
});

const dependsOn = (x: Tensor, source: Tensor): boolean => x === source || x.inputs.some((i) => dependsOn(i, source));

test("every operation has a case of its own, or says why it has no gradient", () => {
  const covered = new Set(gradientCases.map(({ op }) => op));
  const without = Object.keys(rules).filter((op) => !covered.has(op as OperationName));
  expect(without.sort()).toEqual([...["argmax", "attention", "chosenLinear", "input", "leaf", "setRows", "topK", "window"]]);
});

const table = rules as Record<OperationName, Rule<OperationName>>;
const breakages: Record<string, (g: Tensor) => Tensor> = {
  "a thousandth too much": (g) => affine(g, 1.001),
  "the other sign, halved": (g) => affine(g, -0.5), // halved, or twice through one rule would be right again
};

describe("the check finds a broken rule", () => {
  for (const gradientCase of smooth.filter(({ name }) => name !== "step" && name !== "sgn")) {
    for (const [how, change] of Object.entries(breakages)) {
      test(`${gradientCase.name}: ${how}`, () => {
        const right = table[gradientCase.op];
        table[gradientCase.op] = (y, g, transposed) => right(y, g, transposed).map((part) => part && change(part));
        try {
          expect(() => checkFirst(gradientCase, 1)).toThrow("Property failed");
        } finally {
          table[gradientCase.op] = right;
        }
      });
    }
    test(`${gradientCase.name}: the gradient by one input alone`, () => {
      const right = table[gradientCase.op];
      const drawn: number[] = [];
      for (let input = 0; input < 3; input++) {
        let isMet = false;
        table[gradientCase.op] = (y, g, transposed) =>
          right(y, g, transposed).map((part, place) => {
            if (part === undefined || place !== input) return part;
            isMet = true;
            return affine(part, 1.001);
          });
        try {
          let error: unknown;
          try {
            checkFirst(gradientCase, 1);
          } catch (reason) {
            error = reason;
          }
          expect(error !== undefined).toBe(isMet);
          if (isMet) drawn.push(input);
        } finally {
          table[gradientCase.op] = right;
        }
      }
      expect(drawn[0]).toBe(0);
    });
  }
});

test("the gradient by a weight with many outputs, whose copies are made in panels, is the outer product", () => {
  const [x, weight, r] = [input("x", "f32", [3, 2]), input("w", "f32", [2048, 2]), input("r", "f32", [3, 2048])];
  const [gradient] = grad(sumLast(reshape(mul(linear(x, weight), r), [1, 3 * 2048])), [weight]);
  const inputs = { x: [1, 2, 3, 4, 5, 6], w: new Float64Array(4096), r: Float64Array.from({ length: 3 * 2048 }, (_, i) => (i * 37) % 101) };
  const expected = Float64Array.from({ length: 4096 }, (_, i) =>
    [0, 1, 2].reduce((sum, row) => sum + inputs.r[row * 2048 + (i >> 1)]! * inputs.x[2 * row + (i & 1)]!, 0),
  );
  expect(interpret({ gradient: gradient! }, { inputs }).gradient.data).toEqual(expected);
});

function checkCast(): void {
  const x = input("x", "f32", [1, 3]);
  const y = mul(cast(cast(x, "f16"), "f32"), input("r", "f32", [1, 3]));
  const inputs = { x: [1, 2.0001, 3], r: [5, 6, 7] };
  const [gradient] = grad(sumLast(y), [x]);
  expect([...interpret({ gradient: gradient! }, { inputs }).gradient.data]).toEqual(inputs.r);
}

test("a cast hands the gradient on", checkCast);

test.each(Object.entries(breakages))("the check of a cast finds %s", (_, change) => {
  const right = table.cast;
  table.cast = (y, g, transposed) => right(y, g, transposed).map((part) => part && change(part));
  try {
    expect(checkCast).toThrow();
  } finally {
    table.cast = right;
  }
});

/** Recomputed parts in a row that share a parameter and a result of outside with each other and with what isn't recomputed. */
function withRecomputation(c: RandomCase, again: (f: (x: Tensor) => Tensor, x: Tensor) => Tensor): Tensor {
  const [rows, width] = [c.integer(1, 3), c.integer(1, 3)];
  const weight = c.tensor([width, width]);
  const outside = unary("tanh", linear(weight, c.tensor([width, width]))); // itself on the way to parameters
  const block = (x: Tensor) => add(mul(unary("sigmoid", linear(x, weight)), linear(x, outside)), x);
  const first = again(block, unary("tanh", c.tensor([rows, width])));
  return add(
    mul(again(block, first), linear(first, outside)),
    again((x) => mul(x, x), first),
  );
}

test("recomputation changes no gradient, first or second, where what it computes again is shared with outside", () => {
  fc.assert(
    fc.property(fc.gen(), (g) => {
      const c = new RandomCase(g);
      const y = withRecomputation(c, recompute);
      const parameters = parametersOf(y);
      expect(parameters).toHaveLength(3);
      const loss = weighted(y, c, "r");
      const gradients = grad(loss, parameters);
      expectGradients(loss, gradients, parameters, c);
      const along = gradients.map((gradient, i) => weighted(gradient, c, `s${i}`)).reduce(add);
      expectGradients(along, grad(along, parameters), parameters, c);
    }),
    { numRuns: runs },
  );
});

test("what has no gradient says what to use instead", () => {
  const x = input("q", "f32", [1, 1, 1, 4]);
  const y = attention(x, x, x, input("mask", "f16", [1, 1, 1, 1]), 1);
  expect(() => grad(sumLast(y), [x])).toThrow("grad: attention has no gradient; use explicitAttention");
});

test("a loss of several elements and a parameter that it doesn't depend on are errors", () => {
  const x = input("x", "f32", [2]);
  expect(() => grad(x, [x])).toThrow("the loss must be f32 with one element, got f32 [2]");
  expect(() => grad(sumLast(x), [input("other", "f32", [2])])).toThrow("does not depend on parameter 0 (other)");
});
