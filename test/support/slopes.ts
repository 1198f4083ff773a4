import { expect } from "vitest";
import type { Program, Tensor } from "../../src/tensor/index.ts";
import { interpret } from "../../src/tensor/testing/reference.ts";
import { openGguf, type Parameters, readRows, toFloat } from "../../src/weights/index.ts";

export interface SlopeCheck {
  /** Has run; its outputs are the loss and, by the parameters' names, the gradients. */
  readonly program: Program;
  readonly loss: Tensor;
  readonly parameters: Parameters;
  /** Of the frozen model's file. */
  readonly path: string;
  /** All but masks. */
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
  readonly mask: ArrayLike<number>;
  readonly isGelu: boolean;
}

/** Holds each parameter's largest gradient against the slope of the loss in the float64 interpreter. GELU's kernel is a table of f16 numbers. */
export function expectSlopes({ program, loss, parameters, path, inputs, mask, isGelu }: SlopeCheck): void {
  using file = openGguf(path);
  const leaves: Record<string, Float64Array> = Object.fromEntries(
    [...file.tensors.values()].map(({ name }) => [name, Float64Array.from(readRows(file, name, undefined, toFloat))]),
  );
  for (const name of parameters.names) leaves[name] = Float64Array.from(parameters.values(name));
  const masks = Object.fromEntries(program.inputNames.filter((name) => name.startsWith("mask")).map((name) => [name, mask]));
  const lossAt = () => interpret({ loss }, { inputs: { ...inputs, ...masks }, leaves }).loss.data[0]!;
  expect(program.read("loss")[0]).toBeCloseTo(lossAt(), isGelu ? 2 : 4);
  for (const name of parameters.names) expectSlope({ name, gradient: program.read(name), values: leaves[name]!, lossAt, isGelu });
}

/**
 * Holds a tensor's largest gradient, which any error of its chain shows in, against the central difference of the loss.
 *
 * @param check.values  the tensor's, from which `lossAt` computes the loss; they are changed and put back
 */
export function expectSlope(check: {
  readonly name: string;
  readonly gradient: ArrayLike<number>;
  readonly values: Float64Array;
  readonly lossAt: () => number;
  readonly isGelu: boolean;
}): void {
  const { name, values, lossAt, isGelu } = check;
  const gradient = Float64Array.from(check.gradient);
  const at = gradient.reduce((best, value, i) => (Math.abs(value) > Math.abs(gradient[best]!) ? i : best), 0);
  const before = values[at]!;
  const step = 1e-4;
  values[at] = before + step;
  const above = lossAt();
  values[at] = before - step;
  const below = lossAt();
  values[at] = before;
  const slope = (above - below) / (2 * step);
  expect(Math.abs(gradient[at]! - slope), `${name}[${at}]`).toBeLessThan((isGelu ? 2e-2 : 2e-3) * Math.abs(slope) + 1e-5);
}
