import { expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import type { DType } from "../ggml/index.ts";
import {
  add,
  affine,
  argmax,
  attention,
  cast,
  chosenLinear,
  clamp,
  concat,
  cumsum,
  expand,
  explicitAttention,
  gather,
  glu,
  input,
  leaf,
  linear,
  narrow,
  outer,
  pad,
  permute,
  reshape,
  rmsNorm,
  rope,
  scatterAdd,
  setRows,
  softmax,
  sumLast,
  topK,
  unary,
  window,
} from "./operations.ts";
import type { Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";
import { storageOf } from "./testing/reference.ts";

// What ggml would abort on, or compute wrongly, is an error here. Each line: the operation, the fault, the call.

let count = 0;
const of = (dtype: "f32" | "f16" | "i32" | "i64", ...shape: number[]) => input(`x${count++}`, dtype, shape);
const f = (...shape: number[]) => of("f32", ...shape);
const weight = (dtype: DType, ...shape: number[]) => leaf(storageOf("w", dtype, shape));
const repacked = leaf({ ...storageOf("w", "q4_0", [32, 32]), repacked: true });
const turn = {
  dims: 4,
  pairs: "halves",
  base: 1e4,
  scale: 1,
  originalContext: 0,
  extrapolation: 0,
  attentionFactor: 1,
  betaFast: 32,
  betaSlow: 1,
} as const;
const view = { streams: 1, cells: 2, heads: 2, headDim: 4, rowsPerStream: 4 };
const mask = of("f16", 1, 1, 2, 3);
const [q, k] = [f(1, 2, 2, 4), f(1, 2, 3, 4)];

const rejected: readonly [operation: string, fault: string, call: () => Tensor][] = [
  ["input", "five axes", () => f(1, 1, 1, 1, 1)],
  ["input", "an axis of length 0", () => f(2, 0)],
  ["input", "a fractional axis", () => f(1.5)],
  ["input", "more elements than memory has", () => f(2 ** 30, 2 ** 30)],
  ["expand", "a product that overflows", () => expand(f(1, 1), [2 ** 40, 2 ** 40])],
  ["add", "a larger second operand", () => add(f(1, 3), f(2, 3))],
  ["add", "axes that don't stretch", () => add(f(2, 3), f(2, 2))],
  ["add", "an f16 operand", () => add(f(2), of("f16", 2))],
  ["relu", "integers", () => unary("relu", of("i32", 2))],
  ["affine", "f16", () => affine(of("f16", 2), 1)],
  ["clamp", "f16", () => clamp(of("f16", 2), 0, 1)],
  ["glu", "unequal shapes", () => glu("silu", f(2, 3), f(3))],
  ["linear", "another inner axis", () => linear(f(2, 3), f(4, 2))],
  ["linear", "a vector as weight", () => linear(f(2, 3), f(3))],
  ["linear", "leading axes that don't divide", () => linear(f(3, 2, 4), f(2, 5, 4))],
  ["linear", "a weight with more axes", () => linear(f(2, 4), f(1, 5, 4))],
  ["linear", "integers as weight", () => linear(f(2, 32), weight("i32", 5, 32))],
  ["linear", "a type without products", () => linear(f(2, 32), weight("q8_1", 5, 32))],
  ["chosenLinear", "f32 choices", () => chosenLinear(f(2, 1, 3), f(4, 5, 3), f(2, 1))],
  ["chosenLinear", "choices for fewer rows", () => chosenLinear(f(2, 1, 3), f(4, 5, 3), of("i32", 1, 1))],
  ["chosenLinear", "two inputs for three choices", () => chosenLinear(f(2, 2, 3), f(4, 5, 3), of("i32", 2, 3))],
  ["chosenLinear", "one matrix", () => chosenLinear(f(2, 1, 3), f(5, 3), of("i32", 2, 1))],
  ["chosenLinear", "another inner axis", () => chosenLinear(f(2, 1, 3), f(4, 5, 2), of("i32", 2, 1))],
  ["chosenLinear", "f16 matrices", () => chosenLinear(f(2, 1, 3), weight("f16", 4, 5, 3), of("i32", 2, 1))],
  ["outer", "unequal lengths", () => outer(f(2, 3), f(3, 2))],
  ["outer", "an f16 operand that would have to be grouped", () => outer(of("f16", 2, 3), f(2, 2, 2))],
  ["outer", "bf16, which has no kernel", () => outer(weight("bf16", 2, 3), f(2, 2))],
  ["gather", "f32 indices", () => gather(f(4, 3), f(2))],
  ["gather", "a table of three axes", () => gather(f(1, 4, 3), of("i32", 2))],
  ["gather", "a repacked table", () => gather(repacked, of("i32", 2))],
  ["gather", "a table of integers", () => gather(of("i64", 4, 3), of("i32", 2))],
  ["scatterAdd", "another number of indices", () => scatterAdd(f(4, 3), of("i32", 2), 3)],
  ["scatterAdd", "no rows", () => scatterAdd(f(4, 3), of("i32", 4), 0)],
  ["setRows", "a computed cache", () => setRows(add(f(4, 8), f(8)), f(2, 8), of("i64", 2))],
  ["setRows", "i32 indices", () => setRows(weight("f16", 4, 8), f(2, 8), of("i32", 2))],
  ["setRows", "rows of another width", () => setRows(weight("f16", 4, 8), f(2, 4), of("i64", 2))],
  ["setRows", "a quantized cache", () => setRows(weight("q8_0", 4, 32), f(2, 32), of("i64", 2))],
  ["rmsNorm", "f16", () => rmsNorm(of("f16", 2), 1e-5)],
  ["rope", "two axes", () => rope(f(2, 4), of("i32", 2), turn)],
  ["rope", "an odd number of features", () => rope(f(2, 1, 5), of("i32", 2), turn)],
  ["rope", "an odd number of turned features", () => rope(f(2, 1, 4), of("i32", 2), { ...turn, dims: 3 })],
  ["rope", "fewer features than are turned", () => rope(f(2, 1, 2), of("i32", 2), turn)],
  ["rope", "another number of positions", () => rope(f(2, 1, 4), of("i32", 3), turn)],
  ["rope", "too few factors", () => rope(f(2, 1, 4), of("i32", 2), turn, f(1))],
  ["softmax", "a mask for fewer rows", () => softmax(f(4, 3), f(1, 3))],
  ["softmax", "a mask of integers", () => softmax(f(4, 3), of("i32", 4, 3))],
  ["attention", "heads that don't divide", () => attention(f(1, 3, 2, 4), k, k, mask, 1)],
  ["attention", "an f32 mask", () => attention(q, k, k, f(1, 1, 2, 3), 1)],
  ["attention", "values of another shape", () => attention(q, k, f(1, 2, 4, 4), mask, 1)],
  ["attention", "quantized keys", () => attention(q, weight("q8_0", 1, 2, 3, 32), k, mask, 1)],
  ["explicitAttention", "a mask for one row", () => explicitAttention(q, k, k, of("f16", 1, 1, 1, 3), 1).out],
  ["window", "a computed cache", () => window(add(f(4, 8), f(8)), view)],
  ["window", "more cells than a stream has", () => window(weight("f16", 4, 8), { ...view, cells: 5 })],
  ["window", "more streams than the cache has", () => window(weight("f16", 4, 8), { ...view, streams: 2 })],
  ["window", "a fraction of a stream", () => window(weight("f16", 4, 8), { ...view, streams: 0.5 })],
  ["window", "a quantized cache", () => window(weight("q8_0", 4, 32), { ...view, headDim: 16 })],
  ["reshape", "another number of elements", () => reshape(f(2, 3), [5])],
  ["reshape", "negative axes", () => reshape(f(2, 3), [-2, -3])],
  ["reshape", "a quantized weight", () => reshape(weight("q4_0", 2, 32), [32, 2])],
  ["permute", "an axis twice", () => permute(f(2, 3), [0, 0])],
  ["permute", "too few axes", () => permute(f(2, 3), [0])],
  ["permute", "a quantized weight", () => permute(weight("q4_0", 32, 32), [1, 0])],
  ["narrow", "beyond the end", () => narrow(f(2, 3), 1, 2, 2)],
  ["narrow", "no such axis", () => narrow(f(2, 3), 2, 0, 1)],
  ["narrow", "nothing", () => narrow(f(2, 3), 1, 0, 0)],
  ["narrow", "parts of quantized rows", () => narrow(weight("q4_0", 32, 64), 1, 0, 32)],
  ["narrow", "a repacked weight", () => narrow(repacked, 0, 0, 8)],
  ["concat", "unequal other axes", () => concat(f(2, 3), f(3, 4), 1)],
  ["concat", "no such axis", () => concat(f(2, 3), f(2, 3), -1)],
  ["pad", "no such axis", () => pad(f(2, 3), 2, 1, 1)],
  ["expand", "an axis that isn't 1", () => expand(f(2, 3), [4, 3])],
  ["sumLast", "integers", () => sumLast(of("i32", 2))],
  ["cumsum", "integers", () => cumsum(of("i32", 2))],
  ["cast", "integers", () => cast(of("i32", 2), "f32")],
  ["cast", "a quantized weight", () => cast(weight("q4_0", 32, 32), "f32")],
  ["argmax", "three axes", () => argmax(f(1, 2, 3))],
  ["topK", "more than there are", () => topK(f(2, 3), 4)],
  ["topK", "a fraction", () => topK(f(2, 3), 1.5)],
];

for (const [operation, fault, call] of rejected) {
  test(`${operation} refuses ${fault}`, () => {
    expect(call).toThrow(ShapeError);
    expect(call).toThrow(new RegExp(`^${operation}: `));
  });
}

test("a shape error shows the shapes, outermost axis first", () => {
  const shapes = (x: Shape) => `[${x.join(", ")}]`;
  expect(() => linear(f(2, 3), f(4, 2))).toThrow(`has shape ${shapes([4, 2])}, expected [..., N, 3]`);
  expect(() => cumsum(of("i32", 2))).toThrow("cumsum: the operand is type i32, expected type f32");
});

test("numbers out of range are range errors", () => {
  expect(() => clamp(f(2), 1, 0)).toThrow("clamp: min must be <= max, got 1 and 0");
  expect(() => clamp(f(2), Number.NaN, 0)).toThrow(RangeError);
  expect(() => rmsNorm(f(2), -1)).toThrow("rmsNorm: eps must be >= 0, got -1");
  expect(() => rmsNorm(f(2), Number.NaN)).toThrow(RangeError);
  expect(() => pad(f(2), 0, -1, 0)).toThrow("pad: the lengths must be whole numbers >= 0, got -1 and 0");
  expect(() => rope(f(2, 1, 4), of("i32", 2), { ...turn, extrapolation: 1 })).toThrow("originalContext");
});
