import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { updateAverage } from "./average.ts";
import { adamW, clipByGlobalNorm, type Optimizer, type OptimizerState, sgd } from "./optimizers.ts";
import { learningRate } from "./schedule.ts";

// Numbers of PyTorch in float64 (optimizers.fixture.py has the version and the script); rounding in another order is all that differs.

interface Run {
  after: number[][][];
  norms: number[];
}
const fixture = JSON.parse(readFileSync(new URL("optimizers.fixture.json", import.meta.url), "utf8")) as {
  start: number[][];
  gradients: number[][][];
  adamw: Run;
  adamwClipped: Run;
  sgd: Run;
  averages: number[][][];
  rates: Record<"constant" | "linear" | "cosine", number[]>;
};
const weightDecay = (name: string) => (name === "p0" ? 0.1 : 0);

function expectRun(optimizer: Optimizer, { after, norms }: Run, maxNorm?: number, interrupt?: (state: OptimizerState) => Optimizer): void {
  let current = optimizer;
  const values = fixture.start.map((p) => Float64Array.from(p));
  fixture.gradients.forEach((step, at) => {
    const gradients = step.map((g) => Float64Array.from(g));
    if (maxNorm !== undefined) expect(clipByGlobalNorm(gradients, maxNorm)).toBeCloseTo(norms[at]!, 12);
    if (interrupt !== undefined && at === 3) current = interrupt(structuredClone(current.state));
    current.step(
      values.map((v, i) => ({ name: `p${i}`, values: v, gradient: gradients[i]! })),
      1e-2,
    );
    values.forEach((v, i) => {
      v.forEach((value, j) => {
        expect(value).toBeCloseTo(after[at]![i]![j]!, 12);
      });
    });
  });
}

const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay };

describe("PyTorch's numbers after each step", () => {
  test("AdamW with two decay groups", () => expectRun(adamW(options), fixture.adamw));
  test("AdamW behind clipping by global norm", () => expectRun(adamW(options), fixture.adamwClipped, 0.5));
  test("SGD with momentum and decay", () => expectRun(sgd({ momentum: 0.9, weightDecay }), fixture.sgd));
  test("AdamW resumed from its state in the middle", () =>
    expectRun(adamW(options), fixture.adamw, undefined, (state) => adamW(options, state)));
  test("running means of the parameters", () => {
    const means = fixture.start.map((p) => Float64Array.from(p));
    for (const [at, parameters] of fixture.adamw.after.entries())
      for (const [i, mean] of means.entries()) {
        updateAverage(mean, Float64Array.from(parameters[i]!), 0.9);
        for (const [j, value] of mean.entries()) expect(value).toBeCloseTo(fixture.averages[at]![i]![j]!, 12);
      }
  });
  test.each(["constant", "linear", "cosine"] as const)("the learning rates of warm-up and %s", (kind) => {
    const schedule = { kind, peak: 3e-4, floor: 0.1, warmupSteps: 8, steps: 40 };
    for (const [step, rate] of fixture.rates[kind].entries()) expect(learningRate(schedule, step) / rate).toBeCloseTo(1, 10);
  });
});

test("float32 parameters keep float32 state", () => {
  const optimizer = adamW();
  const values = Float32Array.of(1, 2);
  optimizer.step([{ name: "w", values, gradient: Float32Array.of(1, -1) }], 0.5);
  expect([...values]).toEqual([0.5, 2.5]); // the first step moves by the learning rate, whatever the gradient's size
  expect(optimizer.state.buffers.get("w")![0]).toBeInstanceOf(Float32Array);
});

test("a gradient that is not finite is reported and changes nothing", () => {
  const gradient = Float32Array.of(1, Number.NaN);
  expect(clipByGlobalNorm([gradient], 1)).toBeNaN();
  expect([...gradient]).toEqual([1, Number.NaN]);
});

test("wrong options and lengths are refused by name", () => {
  expect(() => adamW({ beta1: 1 })).toThrow("beta1: must be in [0, 1), got 1");
  expect(() => adamW({ eps: 0 })).toThrow("eps: must be > 0");
  expect(() => sgd({ momentum: Number.NaN })).toThrow("momentum: must be in [0, 1), got NaN");
  expect(() => clipByGlobalNorm([], 0)).toThrow("maxNorm: must be > 0, got 0");
  const optimizer = adamW();
  expect(() => optimizer.step([{ name: "w", values: new Float32Array(2), gradient: new Float32Array(3) }], 1)).toThrow(
    "w: this parameter has 2 values and 3 gradients",
  );
  optimizer.step([{ name: "w", values: new Float32Array(2), gradient: new Float32Array(2) }], 1);
  expect(() => optimizer.step([{ name: "w", values: new Float32Array(3), gradient: new Float32Array(3) }], 1)).toThrow(
    "the optimizer's state",
  );
});
