import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { Device, type DType, liveOwnerCount } from "../../src/ggml/index.ts";
import {
  add,
  affine,
  argmax,
  attention,
  cast,
  chosenLinear,
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
  type RopeAttributes,
  reshape,
  rmsNorm,
  rope,
  scatterAdd,
  setRows,
  softmax,
  sub,
  sumLast,
  type Tensor,
  topK,
  type UnaryName,
  unary,
  window,
} from "../../src/tensor/index.ts";
import { Leaves } from "../../src/tensor/testing/leaves.ts";
import { RandomCase } from "../../src/tensor/testing/random-case.ts";
import { interpret, type Numbers } from "../../src/tensor/testing/reference.ts";
import { runOnce, type Tolerance, worstError } from "../../src/tensor/testing/run-program.ts";

// Every operation, compiled and run, against the float64 interpreter: random shapes, operands that lie row after row, permuted or
// as parts of larger ones; both backends; one and two threads. Tolerances: docs/tensor.md.

const runs = process.env.CHAINRULE_SOAK ? 1000 : 5;
const one = Device.create("cpu", 1);
const two = Device.create("cpu", 2);
afterAll(() => {
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

const single = 2 ** -24; // relative error of one rounding to f32
const half = 2 ** -11; // the same for f16
const moved: Tolerance = {}; // operations that move numbers and compute none: exact
const elementary: Tolerance = { relative: 4 * single, absolute: 1e-7 }; // one or two roundings
const vectorized: Tolerance = { relative: 64 * single, absolute: 1e-6 }; // exp and what is built on it: polynomials of a few ulp

type Case = {
  y: Tensor;
  tolerance: Tolerance;
  leaves?: Leaves;
  windowRow?: number;
  compare?: (actual: Numbers, expected: Numbers) => void;
};

/** Draws cases and compares all ways of running them with the interpreter. */
function property(name: string, draw: (c: RandomCase) => Case): void {
  test(name, () => {
    let worst = 0;
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = new RandomCase(g);
        const { y, tolerance, leaves, windowRow = 0, compare } = draw(c);
        using _ = leaves;
        const expected = interpret({ y }, { inputs: c.inputs, leaves: leaves?.values() ?? {}, windowRow }).y;
        for (const device of [one, two]) {
          for (const backend of ["fast", "invariant"] as const) {
            const actual = runOnce(device, { y }, c.inputs, { backend, rowWise: () => true, windowRow }).y;
            expect(actual.data.length).toBe(expected.data.length);
            if (compare) compare(actual, expected);
            else {
              const { ratio, at } = worstError(actual, expected, tolerance);
              worst = Math.max(worst, ratio);
              if (ratio > 1)
                throw new Error(
                  `${backend}, ${device.threads} threads: [${y.shape}] element ${at} is ${actual.data[at]}, not ${expected.data[at]} (${ratio.toFixed(1)} x tolerance)`,
                );
            }
          }
        }
      }),
      { numRuns: runs },
    );
    if (process.env.CHAINRULE_SHOW_ERRORS) console.log(`${name}: ${worst.toFixed(3)} of the tolerance`);
  });
}

describe("elementwise", () => {
  const positive = { low: 0.5, high: 2 };
  for (const [name, op, range] of [
    ["add", add, {}],
    ["sub", sub, {}],
    ["mul", mul, {}],
    ["div", div, positive],
  ] as const) {
    property(`${name}, the second operand stretched`, (c) => {
      const shape = c.shape();
      return { y: op(c.tensor(shape), c.tensor(c.stretchable(shape), range)), tolerance: elementary };
    });
  }
  property("affine", (c) => ({ y: affine(c.tensor(c.shape()), c.pick(-1.5, 0, 3), c.pick(0, 0.25)), tolerance: elementary }));
  property("clamp", (c) => ({ y: clamp(c.tensor(c.shape()), c.pick(-1, Number.NEGATIVE_INFINITY), c.pick(0.5, 1)), tolerance: moved }));

  const functions: Record<UnaryName, { range?: { low: number; high: number }; tolerance?: Tolerance }> = {
    sqr: {},
    sqrt: { range: { low: 0, high: 9 } },
    log: { range: { low: 0.05, high: 50 }, tolerance: vectorized },
    exp: { range: { low: -20, high: 5 }, tolerance: vectorized },
    sin: { range: { low: -30, high: 30 }, tolerance: vectorized },
    cos: { range: { low: -30, high: 30 }, tolerance: vectorized },
    abs: {},
    neg: {},
    step: {},
    sgn: {},
    relu: {},
    // a table with one entry per f16 number: operand and result are rounded to f16, the slope is at most 1.13
    gelu: { range: { low: -12, high: 12 }, tolerance: { relative: half, absolute: 12 * 1.13 * half } },
    geluQuick: { range: { low: -8, high: 8 }, tolerance: { relative: half, absolute: 8 * 1.13 * half } },
    geluErf: { range: { low: -8, high: 8 }, tolerance: vectorized },
    silu: { range: { low: -20, high: 20 }, tolerance: vectorized },
    tanh: { range: { low: -8, high: 8 }, tolerance: vectorized },
    sigmoid: { range: { low: -20, high: 20 }, tolerance: vectorized },
    softplus: { range: { low: -30, high: 30 }, tolerance: vectorized },
    elu: { range: { low: -20, high: 5 }, tolerance: vectorized },
  };
  for (const [name, { range = {}, tolerance = elementary }] of Object.entries(functions)) {
    property(name, (c) => ({ y: unary(name as UnaryName, c.tensor(c.shape(), range)), tolerance }));
  }
  for (const gate of ["silu", "gelu", "relu"] as const) {
    property(`glu with ${gate}`, (c) => {
      const shape = c.shape();
      // gelu by the f16 table: operand in [-6, 6], times at most 2
      const tolerance = gate === "gelu" ? { relative: half, absolute: 2 * 6 * 1.13 * half } : vectorized;
      return { y: glu(gate, c.tensor(shape, { low: -6, high: 6 }), c.tensor(shape)), tolerance };
    });
  }
});

describe("reductions and norms", () => {
  // sums of n terms of size up to 2: n roundings of the partial sums
  const sums = (n: number): Tolerance => ({ relative: 8 * single, absolute: 2 * n * n * single });
  property("sumLast", (c) => {
    const shape = c.shape(1, 4, 300);
    return { y: sumLast(c.tensor(shape)), tolerance: sums(shape.at(-1)!) };
  });
  property("cumsum", (c) => {
    const shape = c.shape(1, 4, 300);
    return { y: cumsum(c.tensor(shape)), tolerance: sums(shape.at(-1)!) };
  });
  for (const [name, op] of [
    ["rmsNorm", rmsNorm],
    ["layerNorm", layerNorm],
    ["l2Norm", l2Norm],
  ] as const) {
    property(name, (c) => {
      const shape = c.shape(1, 4, 300);
      const absolute = name === "layerNorm" ? 1e-4 : 2e-6; // the mean is taken off before a division that may be by a small spread
      return { y: op(c.tensor(shape, { low: -1, high: 3 }), c.pick(1e-3, 1e-2)), tolerance: { relative: 64 * single, absolute } };
    });
  }
  property("softmax, with and without a mask", (c) => {
    const shape = c.shape(2, 4, 300);
    const kind = c.pick("none", "f32", "f16");
    const tolerance = { relative: 64 * single, absolute: 1e-7 };
    if (kind === "none") return { y: softmax(c.tensor(shape), undefined, c.pick(1, 0.125)), tolerance };
    const maskShape = [...shape.slice(0, -2).map((n) => c.pick(n, 1)), ...shape.slice(-2)];
    return { y: softmax(c.tensor(shape), c.tensor(maskShape, { dtype: kind, low: -9, high: 0 }), c.pick(1, 0.125)), tolerance };
  });
  test("argmax and topK find the largest, whatever the order of equals", () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = new RandomCase(g);
        const [rows, width] = [c.integer(1, 5), c.integer(1, 300)];
        const k = c.integer(1, width);
        const x = c.given("f32", [rows, width], c.integers(rows * width, c.pick(3, 1000)));
        const expected = interpret({ best: argmax(x), top: topK(x, k) }, { inputs: c.inputs });
        const valuesAt = ({ data }: Numbers, per: number) =>
          Array.from({ length: rows }, (_, t) =>
            [...data.subarray(t * per, (t + 1) * per)].map((i) => c.inputs.x0![t * width + i]!).sort((a, b) => a - b),
          );
        for (const device of [one, two]) {
          const actual = runOnce(device, { best: argmax(x), top: topK(x, k) }, c.inputs);
          expect(valuesAt(actual.best, 1)).toEqual(valuesAt(expected.best, 1));
          expect(valuesAt(actual.top, k)).toEqual(valuesAt(expected.top, k));
          for (let t = 0; t < rows; t += 1) expect(new Set(actual.top.data.subarray(t * k, (t + 1) * k)).size).toBe(k);
        }
      }),
      { numRuns: runs },
    );
  });
});

describe("moves", () => {
  property("permute", (c) => ({ y: c.tensor(c.shape()), tolerance: moved }));
  property("reshape of what lies anyhow", (c) => {
    const shape = c.shape(2);
    return { y: reshape(c.tensor(shape), [shape[0]! * shape[1]!, ...shape.slice(2)].reverse()), tolerance: moved };
  });
  property("narrow of a permuted part", (c) => {
    const shape = c.shape();
    const axis = c.integer(0, shape.length - 1);
    const start = c.integer(0, shape[axis]! - 1);
    return { y: narrow(c.tensor(shape), axis, start, c.integer(1, shape[axis]! - start)), tolerance: moved };
  });
  property("contiguous f16, read through a cast", (c) => ({
    y: cast(contiguous(c.tensor(c.shape(), { dtype: "f16" })), "f32"),
    tolerance: moved,
  }));
  property("concat on any axis", (c) => {
    const shape = c.shape();
    const axis = c.integer(0, shape.length - 1);
    const other = shape.map((n, i) => (i === axis ? c.integer(1, 5) : n));
    return { y: concat(c.tensor(shape), c.tensor(other), axis), tolerance: moved };
  });
  property("pad on any axis", (c) => {
    const shape = c.shape();
    return { y: pad(c.tensor(shape), c.integer(0, shape.length - 1), c.integer(0, 3), c.integer(0, 3)), tolerance: moved };
  });
  property("expand", (c) => {
    const shape = c.shape();
    return { y: expand(c.tensor(c.stretchable(shape)), shape), tolerance: moved };
  });
  property("cast there and back", (c) => ({
    y: cast(cast(c.tensor(c.shape(), { low: -1e4, high: 1e4 }), c.pick("f16", "bf16")), "f32"),
    tolerance: moved,
  }));
  property("scatterAdd", (c) => {
    const [rows, width, numRows] = [c.integer(1, 20), c.integer(1, 40), c.integer(1, 8)];
    return {
      y: scatterAdd(c.tensor([rows, width]), c.given("i32", [rows], c.integers(rows, numRows)), numRows),
      tolerance: { absolute: 2 * rows * rows * single },
    };
  });
});

describe("products", () => {
  /** |x| · |w|ᵀ, which a product's rounding errors are proportional to; `size` replaces |x|. */
  const sizes = (x: Tensor, w: Tensor, c: RandomCase, leaves?: Leaves, size: (v: number) => number = Math.abs): Float64Array => {
    const values = interpret({ x, w }, { inputs: c.inputs, leaves: leaves?.values() ?? {} });
    const inputs = { x: values.x.data.map(size), w: values.w.data.map(Math.abs) };
    return interpret({ y: linear(input("x", "f32", x.shape), input("w", "f32", w.shape)) }, { inputs }).y.data;
  };
  /** Activations are rounded to the weight's partner type: f16 for f16, bf16 for bf16, nothing for f32. Sums are f32. */
  const rounding = (dtype: DType, inner: number): number => (({ f16: half, bf16: 2 ** -8 })[dtype as string] ?? 0) + (8 + inner) * single;

  property("linear with computed operands, grouped leading axes", (c) => {
    const [inner, rows, out] = [c.integer(1, 80), c.integer(1, 9), c.integer(1, 20)];
    const groups = Array.from({ length: c.integer(0, 2) }, () => c.integer(1, 3));
    const batch = groups.map((n) => n * c.integer(1, 3));
    const dtype = c.pick("f32", "f16");
    const x = c.tensor([...batch, rows, inner]);
    const w = c.tensor([...groups.slice(c.integer(0, groups.length)), out, inner], { dtype });
    return { y: linear(x, w), tolerance: { absolute: sizes(x, w, c).map((v) => v * rounding(dtype, inner) + 1e-7) } };
  });

  property("linear of one row without other axes", (c) => {
    const [inner, out] = [c.integer(1, 80), c.integer(1, 20)];
    const [x, w] = [c.tensor([inner]), c.tensor([out, inner])];
    return { y: linear(x, w), tolerance: { absolute: sizes(x, w, c).map((v) => v * rounding("f32", inner) + 1e-7) } };
  });

  const leafTypes: readonly DType[] = [
    "f32",
    "f16",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q8_0",
    "iq4_nl",
    "q2_k",
    "q3_k",
    "q4_k",
    "q5_k",
    "q6_k",
  ];
  for (const dtype of leafTypes) {
    const block = dtype.endsWith("_k") ? 256 : 32;
    const isQuantized = dtype !== "f32" && dtype !== "f16";
    property(`linear with ${dtype} weights`, (c) => {
      const [inner, rows, out] = [block * c.integer(1, 2), c.integer(1, 9), c.integer(1, 20)];
      const batch = Array.from({ length: c.integer(0, 2) }, () => c.integer(1, 2));
      const leaves = new Leaves(one, { w: { dtype, shape: [out, inner], data: c.numbers(out * inner) } });
      const x = c.tensor([...batch, rows, inner]);
      const w = leaves.get("w");
      // activations become 8-bit integers, a step being the largest of their block over 127: half a step of error, and the f16 scale's
      const largest = Math.max(...interpret({ x }, { inputs: c.inputs }).x.data.map(Math.abs));
      const bound = isQuantized
        ? sizes(x, w, c, leaves, () => largest * (0.5 / 127 + half)).map((v) => v + 1e-5)
        : sizes(x, w, c, leaves).map((v) => v * rounding(dtype, inner) + 1e-7);
      return { y: linear(x, w), tolerance: { absolute: bound }, leaves };
    });
    property(`gather from a ${dtype} table`, (c) => {
      const [vocabulary, width, count] = [c.integer(1, 12), block * c.integer(1, 2), c.integer(1, 9)];
      const leaves = new Leaves(one, { table: { dtype, shape: [vocabulary, width], data: c.numbers(vocabulary * width) } });
      const start = c.integer(0, vocabulary - 1);
      const part = narrow(leaves.get("table"), 0, start, vocabulary - start);
      return { y: gather(part, c.given("i32", [count], c.integers(count, vocabulary - start))), tolerance: elementary, leaves };
    });
  }
  property("gather from a computed table", (c) => {
    const [rows, width, count] = [c.integer(1, 12), c.integer(1, 40), c.integer(1, 9)];
    return { y: gather(c.tensor([rows, width]), c.given("i32", [count], c.integers(count, rows))), tolerance: moved };
  });

  property("chosenLinear", (c) => {
    const [rows, count, inner, out, matrices] = [c.integer(1, 40), c.integer(1, 3), c.integer(1, 70), c.integer(1, 20), c.integer(1, 5)];
    const shape = [matrices, out, inner];
    const leaves = new Leaves(one, { w: { dtype: "f32", shape, data: c.numbers(matrices * out * inner) } });
    const x = c.tensor([rows, c.pick(1, count), inner]);
    const choices = c.given("i32", [rows, count], c.integers(rows * count, matrices));
    return { y: chosenLinear(x, leaves.get("w"), choices), tolerance: { absolute: 4 * inner * (inner + 8) * single }, leaves };
  });
  property("outer, grouped", (c) => {
    const [n, t, columns] = [c.integer(1, 20), c.integer(1, 9), c.integer(1, 40)];
    const groups = Array.from({ length: c.integer(0, 2) }, () => c.integer(1, 3));
    const batch = groups.map((g) => g * c.integer(1, 3));
    const [a, b] = [c.tensor([...groups, n, columns]), c.tensor([...batch, n, t])];
    return { y: outer(a, b), tolerance: { absolute: 4 * n * (n + 8) * single } };
  });
  for (const dtype of ["f16", "q4_0", "q4_1", "q8_0", "q6_k"] as const) {
    property(`outer with ${dtype} weights`, (c) => {
      const [n, t, columns] = [c.integer(1, 20), c.integer(1, 9), 256];
      const leaves = new Leaves(one, { w: { dtype, shape: [n, columns], data: c.numbers(n * columns) } });
      // no 8-bit activations here: rows of the weight are turned to f32 (f16 rows are multiplied as they are)
      return { y: outer(leaves.get("w"), c.tensor([n, t])), tolerance: { absolute: 5 * n * (n + 8) * single }, leaves };
    });
  }
});

describe("rope", () => {
  const plain: RopeAttributes = {
    dims: 8,
    pairs: "halves",
    base: 10000,
    scale: 1,
    originalContext: 0,
    extrapolation: 0,
    attentionFactor: 1,
    betaFast: 32,
    betaSlow: 1,
  };
  property("both pairings, scaling, factors, YaRN, transposed", (c) => {
    const [rows, heads, width] = [c.integer(1, 6), c.integer(1, 4), 2 * c.integer(1, 40)];
    const dims = 2 * c.integer(1, width / 2);
    const last = c.pick(10, 4000);
    const yarn = c.pick({}, { scale: 0.25 }, { scale: 0.125, originalContext: 1024, extrapolation: c.pick(1, 0.5), attentionFactor: 0.9 });
    const pairs = c.pick("halves" as const, "neighbours" as const);
    const attributes: RopeAttributes = { ...plain, ...yarn, dims, pairs, base: c.pick(10000, 500000), transposed: c.pick(true, false) };
    const factors = c.pick(true, false) ? c.given("f32", [dims / 2], c.numbers(dims / 2, 1, 8)) : undefined;
    const y = rope(c.tensor([rows, heads, width]), c.given("i32", [rows], c.integers(rows, last)), attributes, factors);
    // the angle is a product of up to dims/2 roundings, so its error grows with the position; numbers are up to 2, twice, times 1.3
    return { y, tolerance: { absolute: 1e-5 + last * 16 * single } };
  });
});

describe("caches and attention", () => {
  property("setRows, then windows on all its streams", (c) => {
    const [streams, rowsPerStream, heads, headDim] = [c.integer(1, 3), c.integer(1, 8), c.integer(1, 3), c.integer(1, 10)];
    const first = c.integer(0, 2) * rowsPerStream;
    const total = first + streams * rowsPerStream + c.integer(0, 3);
    const width = heads * headDim;
    const dtype = c.pick("f16", "f32");
    const count = c.integer(1, total);
    const leaves = new Leaves(one, { cache: { dtype, shape: [total, width], data: c.numbers(total * width) } });
    const written = setRows(leaves.get("cache"), c.tensor([count, width]), c.given("i64", [count], c.distinct(count, total)));
    const cells = c.integer(1, rowsPerStream);
    const seen = permute(window(written, { streams, cells, heads, headDim, rowsPerStream }), [0, 2, 1, 3]);
    return { y: cast(seen, "f32"), tolerance: moved, leaves, windowRow: first };
  });

  const draw = (c: RandomCase, dtype: "f16" | "f32") => {
    const [streams, kvHeads, group, rows] = [c.integer(1, 2), c.integer(1, 2), c.integer(1, 3), c.pick(1, 2, 5)];
    const [cells, headDim] = c.pick([1, 64], [7, 16], [64, 32], [33, 4]);
    const q = c.tensor([streams, kvHeads * group, rows, headDim], { low: -1, high: 1 });
    const k = c.tensor([streams, kvHeads, cells, headDim], { dtype, low: -1, high: 1 });
    const v = c.tensor([streams, kvHeads, cells, headDim], { dtype, low: -1, high: 1 });
    // 0 or -Infinity; every row sees its first cell
    const hidden = c.numbers(streams * rows * cells, 0, 1).map((u, i) => (u < 0.4 && i % cells !== 0 ? Number.NEGATIVE_INFINITY : 0));
    const mask = c.given("f16", [streams, 1, rows, cells], hidden);
    return { q, k, v, mask, cells, headDim, scale: headDim ** -0.5, softcap: c.pick(0, 0, 5) };
  };
  // numbers are up to 1. f32: sums of `cells` terms. f16: the query is rounded, so a score moves by half · √D and a weight by twice that;
  // the sum of the values is kept in f16 by the reference kernel: up to one rounding per cell
  const tolerances = {
    f32: ({ cells, headDim }) => ({ absolute: (16 + cells + 2 * headDim) * single * 4 }),
    f16: ({ cells, headDim }) => ({ absolute: (2 * Math.sqrt(headDim) + cells / 2 + 4) * half }),
  } satisfies Record<string, (of: { cells: number; headDim: number }) => Tolerance>;
  for (const dtype of ["f32", "f16"] as const) {
    property(`attention over ${dtype} keys and values`, (c) => {
      const { q, k, v, mask, scale, softcap, ...of } = draw(c, dtype);
      return { y: attention(q, k, v, mask, scale, softcap), tolerance: tolerances[dtype](of) };
    });
    property(`explicitAttention over ${dtype} keys and values`, (c) => {
      const { q, k, v, mask, scale, softcap, ...of } = draw(c, dtype);
      return { y: explicitAttention(q, k, v, mask, scale, softcap).out, tolerance: tolerances[dtype](of) };
    });
    property(`attention and explicitAttention are equal over ${dtype}`, (c) => {
      const { q, k, v, mask, scale, softcap, ...of } = draw(c, dtype);
      const difference = sub(attention(q, k, v, mask, scale, softcap), explicitAttention(q, k, v, mask, scale, softcap).out);
      return { y: difference, tolerance: { absolute: 2 * tolerances[dtype](of).absolute } };
    });
  }
});
