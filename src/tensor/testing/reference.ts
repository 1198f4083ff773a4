import type { DType } from "../../ggml/index.ts";
import { topologicalOrder } from "../program.ts";
import { elementCount, type Shape } from "../shape.ts";
import type { Operation, OperationName, RopeAttributes, Storage, Tensor, UnaryName } from "../tensor.ts";
import { roundToBf16, roundToF16 } from "./round.ts";

// The operations once more, in float64 and from their definitions, for tests only. Nothing here follows ggml's algorithms: each
// result is written as a function of its index, with plain sums. Slow on purpose.

/** A tensor's numbers, row-major. */
export interface Numbers {
  readonly shape: Shape;
  readonly data: Float64Array;
}

export interface Given {
  /** Numbers of the inputs, by name. They are rounded to the input's type. */
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
  /** Numbers of the leaves, by the storage's name; for a quantized weight what its blocks stand for. */
  readonly leaves?: Readonly<Record<string, ArrayLike<number>>>;
  /** Row at which windows on caches begin. */
  readonly windowRow?: number;
}

type Index = readonly number[];

/**
 * What the outputs are, computed in float64.
 *
 * Only what the graph says is rounded: inputs, leaves, caches and casts to their types.
 * @throws Error if a value is missing or has another length
 */
export function interpret<Name extends string>(outputs: Readonly<Record<Name, Tensor>>, given: Given): Record<Name, Numbers> {
  const known = new Map<Tensor, Numbers>();
  for (const tensor of topologicalOrder(Object.values(outputs))) {
    const sources = tensor.inputs.map((source) => known.get(source)!);
    const definition = definitions[tensor.op] as Definition<OperationName>;
    const result = definition(tensor as never, sources, given);
    known.set(tensor, { shape: tensor.shape, data: result instanceof Float64Array ? result : build(tensor.shape, result) });
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, known.get(tensor as Tensor)!])) as Record<Name, Numbers>;
}

/** An operation's result: its numbers, or how a number follows from its index. */
type Definition<N extends OperationName> = (
  x: Operation<N>,
  sources: readonly Numbers[],
  given: Given,
) => Float64Array | ((index: Index) => number);

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const unaries: Record<UnaryName, (x: number) => number> = {
  sqr: (x) => x * x,
  sqrt: Math.sqrt,
  log: Math.log,
  exp: Math.exp,
  sin: Math.sin,
  cos: Math.cos,
  abs: Math.abs,
  neg: (x) => -x,
  step: (x) => (x > 0 ? 1 : 0),
  sgn: Math.sign,
  relu: (x) => Math.max(x, 0),
  gelu: geluTanh,
  geluErf: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  geluQuick: (x) => x * sigmoid(1.702 * x),
  silu: (x) => x * sigmoid(x),
  tanh: Math.tanh,
  sigmoid,
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
};

const gates = { silu: unaries.silu, gelu: geluTanh, relu: unaries.relu };

const definitions: { [N in OperationName]: Definition<N> } = {
  leaf: (x, _sources, given) => {
    const { name } = x.attributes.storage;
    return typed(x.shape, x.dtype, given.leaves?.[name], `leaf ${name}`);
  },
  input: (x, _sources, given) => typed(x.shape, x.dtype, given.inputs[x.attributes.name], `input ${x.attributes.name}`),
  add: elementwise((a, b) => a + b),
  sub: elementwise((a, b) => a - b),
  mul: elementwise((a, b) => a * b),
  div: elementwise((a, b) => a / b),
  unary: (x, [a]) => a!.data.map((value) => unaries[x.attributes.name](value)),
  affine: (x, [a]) => a!.data.map((value) => x.attributes.scale * value + x.attributes.bias),
  clamp: (x, [a]) => a!.data.map((value) => Math.min(Math.max(value, x.attributes.min), x.attributes.max)),
  glu: (x, [gate, up]) => gate!.data.map((value, i) => gates[x.attributes.gate](value) * up!.data[i]!),
  linear: (_x, [a, weight]) => {
    const inner = a!.shape.at(-1)!;
    return (index) => {
      const row = index.slice(0, -1);
      const out = index.at(-1)!;
      const batch = groupOf(index.slice(0, -2), a!.shape.slice(0, -2), weight!.shape.slice(0, -2));
      return sum(inner, (c) => at(a!, [...row, c]) * at(weight!, [...batch, out, c]));
    };
  },
  chosenLinear: (_x, [a, weights, choices]) => {
    const [, shared, inner] = a!.shape as [number, number, number];
    const count = choices!.shape[1]!;
    return ([t, k, n]) => {
      const chosen = choices!.data[t! * count + k!]!;
      return sum(inner, (c) => at(a!, [t!, shared === 1 ? 0 : k!, c]) * at(weights!, [chosen, n!, c]));
    };
  },
  outer:
    (_x, [a, b]) =>
    (index) => {
      const [t, c] = index.slice(-2);
      const batch = index.slice(0, -2);
      const group = groupOf(batch, b!.shape.slice(0, -2), a!.shape.slice(0, -2));
      return sum(a!.shape.at(-2)!, (n) => at(b!, [...batch, n, t!]) * at(a!, [...group, n, c!]));
    },
  gather:
    (_x, [table, ids]) =>
    ([t, c]) =>
      at(table!, [ids!.data[t!]!, c!]),
  scatterAdd:
    (_x, [rows, ids]) =>
    ([v, c]) =>
      sum(ids!.data.length, (t) => (ids!.data[t] === v ? at(rows!, [t, c!]) : 0)),
  setRows: (x, [cache, rows, indices]) => {
    const width = cache!.shape[1]!;
    const result = cache!.data.slice();
    indices!.data.forEach((row, t) => {
      for (let e = 0; e < width; e += 1) result[row * width + e] = rounding(x.dtype)(at(rows!, [t, e]));
    });
    return result;
  },
  rmsNorm: normalize((row, eps) => {
    const meanSquare = mean(row.map((v) => v * v));
    return row.map((v) => v / Math.sqrt(meanSquare + eps));
  }),
  layerNorm: normalize((row, eps) => {
    const center = mean(row);
    const variance = mean(row.map((v) => (v - center) ** 2));
    return row.map((v) => (v - center) / Math.sqrt(variance + eps));
  }),
  l2Norm: normalize((row, eps) => {
    const length = Math.sqrt(row.reduce((total, v) => total + v * v, 0));
    return row.map((v) => v / Math.max(length, eps));
  }),
  rope: (x, [a, positions, factors]) => {
    const { dims, pairs, transposed } = x.attributes;
    return ([t, h, d]) => {
      if (d! >= dims) return at(a!, [t!, h!, d!]);
      const pair = pairs === "neighbours" ? d! >> 1 : d! % (dims / 2);
      const isFirst = pairs === "neighbours" ? d! % 2 === 0 : d! < dims / 2;
      const [first, second] = pairs === "neighbours" ? [2 * pair, 2 * pair + 1] : [pair, pair + dims / 2];
      const { angle, magnitude } = rotation(x.attributes, positions!.data[t!]!, pair, factors?.data[pair] ?? 1);
      const cos = Math.cos(angle) * magnitude;
      const sin = Math.sin(angle) * magnitude * (transposed ? -1 : 1);
      const u = at(a!, [t!, h!, first!]);
      const v = at(a!, [t!, h!, second!]);
      return isFirst ? u * cos - v * sin : u * sin + v * cos;
    };
  },
  softmax: (x, [a, mask]) => {
    const length = x.shape.at(-1) ?? 1;
    const result = new Float64Array(a!.data.length);
    forEachIndex([...x.shape.slice(0, -1), 1], (start, flat) => {
      const row = Array.from({ length }, (_, c) => {
        const index = [...start.slice(0, -1), c];
        return x.attributes.scale * at(a!, index) + (mask === undefined ? 0 : stretched(mask, index));
      });
      result.set(softmaxOf(row), flat * length);
    });
    return result;
  },
  attention: (x, [q, k, v, mask]) => {
    const { scale, softcap } = x.attributes;
    const [, heads, , headDim] = q!.shape as [number, number, number, number];
    const [, kvHeads, cells] = k!.shape as [number, number, number, number];
    const result = new Float64Array(elementCount(x.shape));
    forEachIndex(x.shape.slice(0, 3), ([s, r, h], flat) => {
      const group = Math.floor(h! / (heads / kvHeads));
      const scores = Array.from({ length: cells }, (_, c) => {
        const product = scale * sum(headDim, (e) => at(q!, [s!, h!, r!, e]) * at(k!, [s!, group, c, e]));
        return (softcap > 0 ? softcap * Math.tanh(product / softcap) : product) + at(mask!, [s!, 0, r!, c]);
      });
      if (scores.every((score) => score === Number.NEGATIVE_INFINITY)) return; // a row that sees nothing gets zeros
      const weights = softmaxOf(scores);
      for (let d = 0; d < headDim; d += 1) {
        result[flat * headDim + d] = sum(cells, (c) => (weights[c] === 0 ? 0 : weights[c]! * at(v!, [s!, group, c, d])));
      }
    });
    return result;
  },
  window: (x, [cache], given) => {
    const [, , , headDim] = x.shape as [number, number, number, number];
    return ([s, c, k, d]) => at(cache!, [(given.windowRow ?? 0) + s! * x.attributes.rowsPerStream + c!, k! * headDim + d!]);
  },
  reshape: (_x, [a]) => a!.data,
  permute: (x, [a]) => {
    const { axes } = x.attributes;
    return (index) => {
      const source: number[] = [];
      axes.forEach((axis, i) => {
        source[axis] = index[i]!;
      });
      return at(a!, source);
    };
  },
  narrow: (x, [a]) => {
    const { axis, start } = x.attributes;
    return (index) =>
      at(
        a!,
        index.map((i, n) => (n === axis ? i + start : i)),
      );
  },
  contiguous: (_x, [a]) => a!.data,
  concat: (x, [a, b]) => {
    const { axis } = x.attributes;
    const split = a!.shape[axis]!;
    return (index) =>
      index[axis]! < split
        ? at(a!, index)
        : at(
            b!,
            index.map((i, n) => (n === axis ? i - split : i)),
          );
  },
  pad: (x, [a]) => {
    const { axis, before } = x.attributes;
    return (index) => {
      const inside = index.map((i, n) => (n === axis ? i - before : i));
      return inside[axis]! >= 0 && inside[axis]! < a!.shape[axis]! ? at(a!, inside) : 0;
    };
  },
  expand:
    (_x, [a]) =>
    (index) =>
      stretched(a!, index),
  sumLast:
    (_x, [a]) =>
    (index) =>
      sum(a!.shape.at(-1) ?? 1, (c) => at(a!, [...index.slice(0, -1), c].slice(0, a!.shape.length))),
  cumsum:
    (_x, [a]) =>
    (index) =>
      sum((index.at(-1) ?? 0) + 1, (c) => at(a!, [...index.slice(0, -1), c].slice(0, a!.shape.length))),
  cast: (x, [a]) => a!.data.map(rounding(x.dtype)),
  argmax:
    (_x, [a]) =>
    ([t]) => {
      const row = rowOf(a!, t!);
      return row.indexOf(Math.max(...row));
    },
  topK: (x, [a]) => {
    const [rows, k] = x.shape as [number, number];
    return Float64Array.from(
      Array.from({ length: rows }, (_, t) => {
        const row = rowOf(a!, t);
        return row
          .map((_, i) => i)
          .sort((i, j) => row[j]! - row[i]! || i - j)
          .slice(0, k);
      }).flat(),
    );
  },
};

/**
 * Angle and magnitude of a pair of features at a position. Plain: position · base^(-2·pair/dims), times `scale`, over the
 * pair's factor. With YaRN ("NTK-by-parts"), pairs that turn often keep their frequency (extrapolated), those that turn less
 * than once are slowed by `scale` (interpolated), between the two a ramp over the pairs; and the magnitude grows by 0.1·ln(1/scale) + 1.
 *
 * @see Peng et al. 2023, YaRN, https://arxiv.org/abs/2309.00071, and the authors' code for the ends of the ramp, which are whole pairs
 */
function rotation(r: RopeAttributes, position: number, pair: number, factor: number): { angle: number; magnitude: number } {
  const extrapolated = (position * r.base ** ((-2 * pair) / r.dims)) / factor;
  const interpolated = extrapolated * r.scale;
  if (r.extrapolation === 0) return { angle: interpolated, magnitude: r.attentionFactor };
  // the (real-valued) pair that makes `turns` full turns within the original context
  const pairOfTurns = (turns: number) => (r.dims * Math.log(r.originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(r.base));
  const low = Math.max(Math.floor(pairOfTurns(r.betaFast)), 0);
  const high = Math.min(Math.ceil(pairOfTurns(r.betaSlow)), r.dims - 1);
  const ramp = Math.min(Math.max((pair - low) / Math.max(high - low, 0.001), 0), 1);
  const kept = (1 - ramp) * r.extrapolation;
  return {
    angle: interpolated * (1 - kept) + extrapolated * kept,
    magnitude: r.attentionFactor * (1 + 0.1 * Math.log(1 / r.scale)),
  };
}

function elementwise(f: (a: number, b: number) => number): Definition<"add" | "sub" | "mul" | "div"> {
  return (_x, [a, b]) =>
    (index) =>
      f(at(a!, index), stretched(b!, index));
}

function normalize(f: (row: number[], eps: number) => number[]): Definition<"rmsNorm" | "layerNorm" | "l2Norm"> {
  return (x, [a]) => {
    const length = a!.shape.at(-1) ?? 1;
    const result = new Float64Array(a!.data.length);
    for (let start = 0; start < result.length; start += length) {
      result.set(f([...a!.data.subarray(start, start + length)], x.attributes.eps), start);
    }
    return result;
  };
}

/** exp(row - max) over its sum; NaN where the row is -Infinity throughout. */
function softmaxOf(row: readonly number[]): number[] {
  const max = Math.max(...row);
  const powers = row.map((value) => Math.exp(value - max));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

/** erf by its series around 0 and its continued fraction far out. Abramowitz & Stegun 7.1.6 and 7.1.14. */
function erf(x: number): number {
  const z = Math.abs(x);
  if (z < 3) {
    let term = z;
    let total = z;
    for (let n = 1; Math.abs(term) > 1e-18 * total; n += 1) {
      term *= (2 * z * z) / (2 * n + 1);
      total += term;
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * total;
  }
  let fraction = z;
  for (let n = 60; n >= 1; n -= 1) fraction = z + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction);
}

const mean = (row: readonly number[]): number => row.reduce((a, b) => a + b, 0) / row.length;

function sum(length: number, f: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < length; i += 1) total += f(i);
  return total;
}

function rowOf(x: Numbers, t: number): number[] {
  const width = x.shape.at(-1)!;
  return [...x.data.subarray(t * width, (t + 1) * width)];
}

/** The element at an index. */
function at(x: Numbers, index: Index): number {
  let flat = 0;
  for (let axis = 0; axis < x.shape.length; axis += 1) flat = flat * x.shape[axis]! + index[axis]!;
  return x.data[flat]!;
}

/** The element that a smaller tensor shows at an index of a larger one: aligned at the last axis, axes of length 1 repeated. */
function stretched(x: Numbers, index: Index): number {
  const shift = index.length - x.shape.length;
  return at(
    x,
    x.shape.map((length, axis) => (length === 1 ? 0 : index[axis + shift]!)),
  );
}

/** The index, on fewer or divided leading axes, of the group that a batch index belongs to. */
function groupOf(index: Index, large: Shape, small: Shape): number[] {
  const shift = large.length - small.length;
  return small.map((length, axis) => Math.floor(index[axis + shift]! / (large[axis + shift]! / length)));
}

function forEachIndex(shape: Shape, visit: (index: number[], flat: number) => void): void {
  const index = shape.map(() => 0);
  for (let flat = 0; flat < elementCount(shape); flat += 1) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      index[axis]! += 1;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}

function build(shape: Shape, f: (index: Index) => number): Float64Array {
  const data = new Float64Array(elementCount(shape));
  forEachIndex(shape, (index, flat) => {
    data[flat] = f(index);
  });
  return data;
}

function rounding(dtype: DType): (value: number) => number {
  switch (dtype) {
    case "f16":
      return roundToF16;
    case "bf16":
      return roundToBf16;
    case "i32":
    case "i64":
      return Math.trunc;
    default:
      return (value) => value;
  }
}

/** float32 counts as exact: tests that compare with native code hand over float32 numbers, finite differences want float64. */
function typed(shape: Shape, dtype: DType, data: ArrayLike<number> | undefined, what: string): Float64Array {
  if (data === undefined) throw new Error(`interpret: ${what} has no value`);
  if (data.length !== elementCount(shape))
    throw new Error(`interpret: ${what} has ${data.length} numbers, its shape [${shape.join(", ")}] wants ${elementCount(shape)}`);
  return Float64Array.from(data, rounding(dtype));
}

/** Storage of a leaf in tests without native memory. */
export function storageOf(name: string, dtype: DType, shape: Shape): Storage {
  return { name, dtype, shape, pointer: 0n as Storage["pointer"], repacked: false };
}
