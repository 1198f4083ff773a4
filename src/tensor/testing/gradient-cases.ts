import {
  add,
  affine,
  cast,
  clamp,
  concat,
  contiguous,
  cumsum,
  div,
  expand,
  explicitAttention,
  gather,
  glu,
  input,
  l2Norm,
  layerNorm,
  linear,
  mul,
  narrow,
  outer,
  pad,
  permute,
  reshape,
  rmsNorm,
  rope,
  scatterAdd,
  softmax,
  sub,
  sumLast,
  unary,
} from "../operations.ts";
import { elementCount } from "../shape.ts";
import type { OperationName, Tensor, UnaryName } from "../tensor.ts";
import type { RandomCase } from "./random-case.ts";

export interface GradientCase {
  readonly name: string;
  /** The operation whose rule this is about. */
  readonly op: OperationName;
  readonly draw: (c: RandomCase) => Tensor;
}

const shape = (c: RandomCase) => c.shape(1, 4, 5);
const positive = { low: 0.5, high: 2 };

/** Ranges in which functions are smooth and of moderate size; 0 is met with probability zero only. */
const functions: Record<UnaryName, { low: number; high: number }> = {
  sqr: { low: -2, high: 2 },
  sqrt: positive,
  log: positive,
  exp: { low: -2, high: 2 },
  sin: { low: -3, high: 3 },
  cos: { low: -3, high: 3 },
  abs: { low: -2, high: 2 },
  neg: { low: -2, high: 2 },
  step: { low: -2, high: 2 },
  sgn: { low: -2, high: 2 },
  relu: { low: -2, high: 2 },
  gelu: { low: -3, high: 3 },
  geluErf: { low: -1, high: 1 },
  geluQuick: { low: -3, high: 3 },
  silu: { low: -3, high: 3 },
  tanh: { low: -2, high: 2 },
  sigmoid: { low: -3, high: 3 },
  softplus: { low: -3, high: 3 },
  elu: { low: -2, high: 2 },
};

const ropeAttributes = {
  base: 100,
  scale: 0.5,
  originalContext: 64,
  extrapolation: 1,
  attentionFactor: 0.9,
  betaFast: 8,
  betaSlow: 1,
};

/** For every differentiable operation random graphs of it; all inputs of type f32 are parameters. */
export const gradientCases: readonly GradientCase[] = [
  ...(["add", "sub", "mul", "div"] as const).map((op) => ({
    name: op,
    op,
    draw: (c: RandomCase) => {
      const s = shape(c);
      return { add, sub, mul, div }[op](c.tensor(s), c.tensor(c.stretchable(s), op === "div" ? positive : {}));
    },
  })),
  ...Object.entries(functions).map(([name, range]) => ({
    name,
    op: "unary" as const,
    draw: (c: RandomCase) => unary(name as UnaryName, c.tensor(shape(c), range)),
  })),
  { name: "affine", op: "affine", draw: (c) => affine(c.tensor(shape(c)), -1.5, 2) },
  {
    name: "clamp",
    op: "clamp",
    draw: (c) => clamp(c.tensor(shape(c)), c.pick(-1, Number.NEGATIVE_INFINITY), c.pick(0.5, Number.POSITIVE_INFINITY)),
  },
  {
    name: "glu",
    op: "glu",
    draw: (c) => {
      const s = shape(c);
      return glu(c.pick("silu" as const, "gelu" as const, "relu" as const), c.tensor(s), c.tensor(s));
    },
  },
  {
    name: "linear, grouped",
    op: "linear",
    draw: (c) => {
      const [inner, rows, out] = [c.integer(1, 5), c.integer(1, 4), c.integer(1, 4)];
      const groups = Array.from({ length: c.integer(0, 2) }, () => c.integer(1, 2));
      const batch = groups.map((n) => n * c.integer(1, 2));
      return linear(c.tensor([...batch, rows, inner]), c.tensor([...groups.slice(c.integer(0, groups.length)), out, inner]));
    },
  },
  { name: "linear of one row", op: "linear", draw: (c) => linear(c.tensor([3]), c.tensor([c.integer(1, 4), 3])) },
  {
    name: "outer, grouped",
    op: "outer",
    draw: (c) => {
      const [n, t, columns] = [c.integer(1, 4), c.integer(1, 4), c.integer(1, 5)];
      const groups = Array.from({ length: c.integer(0, 2) }, () => c.integer(1, 2));
      const batch = groups.map((g) => g * c.integer(1, 2));
      return outer(c.tensor([...groups, n, columns]), c.tensor([...batch, n, t]));
    },
  },
  {
    name: "gather",
    op: "gather",
    draw: (c) => {
      const [rows, width, count] = [c.integer(1, 5), c.integer(1, 5), c.integer(1, 7)];
      return gather(c.tensor([rows, width]), c.given("i32", [count], c.integers(count, rows)));
    },
  },
  {
    name: "scatterAdd",
    op: "scatterAdd",
    draw: (c) => {
      const [rows, width, count] = [c.integer(1, 5), c.integer(1, 5), c.integer(1, 7)];
      return scatterAdd(c.tensor([count, width]), c.given("i32", [count], c.integers(count, rows)), rows);
    },
  },
  { name: "rmsNorm", op: "rmsNorm", draw: (c) => rmsNorm(c.tensor(shape(c)), 0.1) },
  { name: "layerNorm", op: "layerNorm", draw: (c) => layerNorm(c.tensor(shape(c)), 0.1) },
  { name: "l2Norm", op: "l2Norm", draw: (c) => l2Norm(c.tensor(shape(c)), c.pick(0.01, 1.5)) },
  {
    name: "rope",
    op: "rope",
    draw: (c) => {
      const [rows, heads, pairs] = [c.integer(1, 3), c.integer(1, 3), c.integer(1, 3)];
      const dims = 2 * pairs;
      const attributes = {
        ...ropeAttributes,
        dims,
        pairs: c.pick("halves" as const, "neighbours" as const),
        transposed: c.pick(true, false),
      };
      return rope(c.tensor([rows, heads, dims + 2 * c.integer(0, 1)]), c.given("i32", [rows], c.integers(rows, 50)), attributes);
    },
  },
  {
    name: "softmax with a mask",
    op: "softmax",
    draw: (c) => {
      const s = c.shape(2, 4, 5);
      return softmax(c.tensor(s), c.tensor([...s.slice(0, -2).map((n) => c.pick(n, 1)), ...s.slice(-2)]), 0.7);
    },
  },
  { name: "softmax", op: "softmax", draw: (c) => softmax(c.tensor(shape(c)), undefined, 1.3) },
  {
    name: "explicitAttention",
    op: "linear",
    draw: (c) => {
      const [streams, kvHeads, group, rows, cells, headDim] = [c.integer(1, 2), c.integer(1, 2), c.integer(1, 2), 2, 3, 2];
      const hidden = c.numbers(streams * rows * cells).map((u, i) => (u < 0 && i % cells !== 0 ? Number.NEGATIVE_INFINITY : 0));
      const q = c.tensor([streams, kvHeads * group, rows, headDim]);
      const k = c.tensor([streams, kvHeads, cells, headDim]);
      const v = c.tensor([streams, kvHeads, cells, headDim]);
      return explicitAttention(q, k, v, c.given("f16", [streams, 1, rows, cells], hidden), 0.7, c.pick(0, 2)).out;
    },
  },
  {
    name: "reshape",
    op: "reshape",
    draw: (c) => {
      const s = shape(c);
      return reshape(c.tensor(s), [1, elementCount(s)]);
    },
  },
  { name: "permute", op: "permute", draw: (c) => permute(c.tensor([2, 3, 4]), c.pick([2, 0, 1], [1, 2, 0], [0, 2, 1])) },
  {
    name: "narrow",
    op: "narrow",
    draw: (c) => {
      const s = shape(c).map((n) => n + 1);
      return narrow(c.tensor(s), c.integer(0, s.length - 1), 1, 1);
    },
  },
  { name: "contiguous", op: "contiguous", draw: (c) => contiguous(permute(c.tensor([2, 3]), [1, 0])) },
  { name: "concat", op: "concat", draw: (c) => concat(c.tensor([2, c.integer(1, 3), 2]), c.tensor([2, 2, 2]), 1) },
  {
    name: "pad",
    op: "pad",
    draw: (c) => {
      const s = shape(c);
      return pad(c.tensor(s), c.integer(0, s.length - 1), c.integer(0, 2), 1);
    },
  },
  {
    name: "expand",
    op: "expand",
    draw: (c) => {
      const s = shape(c);
      return expand(c.tensor(c.stretchable(s)), s);
    },
  },
  { name: "sumLast", op: "sumLast", draw: (c) => sumLast(c.tensor(shape(c))) },
  { name: "cumsum", op: "cumsum", draw: (c) => cumsum(c.tensor(shape(c))) },
  // values of sixteenths, and an f16 type that keeps them: a cast rounds, so differences see steps
  { name: "cast", op: "cast", draw: (c) => cast(cast(c.tensor(shape(c)), "f16"), "f32") },
];

/** A loss that weighs the elements of y differently, so that no wrong gradient cancels: Σ r · y, r in [0.5, 1.5). */
export function weighted(y: Tensor, c: RandomCase, name: string): Tensor {
  const count = elementCount(y.shape);
  c.inputs[name] = c.numbers(count, 0.5, 1.5);
  return sumLast(mul(reshape(y, [1, count]), input(name, "f32", [1, count])));
}

/** The f32 inputs that a random case made (`x0`, `x1`, …). */
export function parametersOf(y: Tensor): Tensor[] {
  const found = new Set<Tensor>();
  const visit = (x: Tensor): void => {
    if (x.op === "input" && x.dtype === "f32" && /^x\d+$/.test(x.attributes.name)) found.add(x);
    x.inputs.forEach(visit);
  };
  visit(y);
  return [...found];
}
