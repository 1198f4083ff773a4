import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { grad, input, linear, reshape, type Tensor } from "../../src/tensor/index.ts";
import { gradientCases, parametersOf, weighted } from "../../src/tensor/testing/gradient-cases.ts";
import { Leaves } from "../../src/tensor/testing/leaves.ts";
import { RandomCase } from "../../src/tensor/testing/random-case.ts";
import { interpret } from "../../src/tensor/testing/reference.ts";
import { runOnce, worstError } from "../../src/tensor/testing/run-program.ts";

// The graphs of gradients, compiled and run, against the interpreter, which unit tests hold against finite differences.

const runs = process.env.CHAINRULE_SOAK ? 300 : 4;
const device = Device.create("cpu", 2);
afterAll(() => {
  device[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

// f32 throughout; geluQuick's and gelu's tables are forward only, but glu with gelu multiplies by a table's value (f16)
const tolerance = (name: string) => (name === "glu" ? { relative: 2e-3, absolute: 1e-2 } : { relative: 2e-5, absolute: 2e-5 });

for (const { name, draw } of gradientCases) {
  test(`compiled gradients of ${name}`, () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = new RandomCase(g);
        const y = draw(c);
        const gradients = grad(weighted(y, c, "r"), parametersOf(y));
        const outputs: Record<string, Tensor> = Object.fromEntries(gradients.map((x, i) => [`g${i}`, x]));
        const expected = interpret(outputs, { inputs: c.inputs });
        const actual = runOnce(device, outputs, c.inputs);
        for (const key of Object.keys(outputs))
          expect(worstError(actual[key]!, expected[key]!, tolerance(name)).ratio).toBeLessThanOrEqual(1);
      }),
      { numRuns: runs },
    );
  });
}

test("the gradient by the input of a quantized weight uses the weight as it lies", () => {
  const c = new RandomCase(((_: unknown, __: unknown) => 7) as never);
  using leaves = new Leaves(device, { w: { dtype: "q4_0", shape: [5, 64], data: c.numbers(5 * 64) } });
  const x = input("x", "f32", [2, 3, 64]);
  c.inputs.x = c.numbers(2 * 3 * 64);
  const loss = weighted(reshape(linear(x, leaves.get("w")), [2, 15]), c, "r");
  const [gradient] = grad(loss, [x]);
  const expected = interpret({ y: gradient! }, { inputs: c.inputs, leaves: leaves.values() }).y;
  const actual = runOnce(device, { y: gradient! }, c.inputs).y;
  expect(worstError(actual, expected, { absolute: 1e-5, relative: 1e-6 }).ratio).toBeLessThanOrEqual(1);
});
