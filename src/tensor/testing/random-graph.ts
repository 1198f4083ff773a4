import { ShapeError } from "../../errors.ts";
import type { Device, DType } from "../../ggml/index.ts";
import {
  add,
  affine,
  argmax,
  attention,
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
  setRows,
  softmax,
  sub,
  sumLast,
  topK,
  unary,
  window,
} from "../operations.ts";
import { elementCount } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { Leaves } from "./leaves.ts";
import { RandomCase, uniform } from "./random-case.ts";

const largest = 4096; // elements of a tensor in a random graph

/** A graph of 3 to 12 operations on anything that their constructors accept, with what it takes to run it. */
export interface RandomGraph extends Disposable {
  readonly outputs: Record<string, Tensor>;
  readonly inputs: Record<string, Float32Array>;
  readonly leaves: Leaves;
  /** Outputs whose numbers may jump where an operand moves a little; they are run and not compared. */
  readonly uncertain: ReadonlySet<string>;
}

export function randomGraph(device: Device, seed: number): RandomGraph {
  const random = uniform(seed);
  const integer = (min: number, max: number) => min + Math.floor(random() * (max - min + 1));
  const c = new RandomCase(((_: unknown, range?: { min: number; max: number }) =>
    integer(range?.min ?? 0, range?.max ?? 2 ** 31)) as never);
  const inner = 32;
  const leafOf = (dtype: DType, rows: number) => ({ dtype, shape: [rows, inner], data: c.numbers(rows * inner, -1, 1) });
  const leaves = new Leaves(device, {
    weight: leafOf(c.pick("f32", "f16"), integer(1, 9)),
    quantized: leafOf(c.pick("q4_0", "q8_0", "q5_1"), integer(1, 9)),
    cache: leafOf(c.pick("f32", "f16"), 12),
  });
  const pool: Tensor[] = [leaves.get("weight"), leaves.get("quantized")];
  for (let i = 0; i < 3; i += 1) pool.push(c.tensor(c.shape(1, 4, 12), { dtype: c.pick("f32", "f32", "f16"), low: -1, high: 1 }));
  pool.push(c.tensor([integer(1, 4), inner], { low: -1, high: 1 }));
  const jumps = new Set<Tensor>();
  let cache: Tensor | undefined = leaves.get("cache");

  const any = () => c.pick(...pool);
  /** Something that fits where a shape is wanted: out of the pool, or new. */
  const like = (shape: readonly number[], dtype: "f32" | "f16" = "f32") => {
    const fitting = pool.filter((x) => x.dtype === dtype && x.shape.join() === shape.join());
    return fitting.length > 0 && random() < 0.5 ? c.pick(...fitting) : c.tensor(shape, { dtype, low: -1, high: 1 });
  };
  const axisOf = (x: Tensor) => integer(0, Math.max(0, x.shape.length - 1));
  const ids = (count: number, below: number) => c.given("i32", [count], c.integers(count, below));
  const attentionOf = (q: Tensor) => {
    const [streams, heads, rows, headDim] = q.shape as [number, number, number, number];
    const cells = integer(1, 9);
    const dtype = c.pick<"f32" | "f16">("f32", "f16");
    const kvHeads = c.pick(...[1, 2, 3, heads].filter((n) => heads % n === 0));
    const kv = () => c.tensor([streams, kvHeads, cells, headDim], { dtype, low: -1, high: 1 });
    const mask = c.tensor([streams, 1, rows, cells], { dtype: "f16", low: -2, high: 0 });
    return random() < 0.5 ? attention(q, kv(), kv(), mask, 0.5) : explicitAttention(q, kv(), kv(), mask, 0.5).out;
  };
  const steps: (() => Tensor)[] = [
    () => c.pick(add, sub, mul)(any(), any()),
    () => {
      const a = any();
      return c.pick(add, sub, mul)(a, like(c.stretchable(a.shape)));
    },
    () => {
      const a = any();
      return div(a, affine(unary("sigmoid", like(a.shape)), 1, 0.5));
    },
    () => unary(c.pick("tanh", "sigmoid", "silu", "gelu", "sin", "softplus", "relu", "abs", "elu", "geluErf"), any()),
    () => affine(any(), c.pick(-1, 0.5), c.pick(0, 1)),
    () => clamp(any(), -1, 1),
    () => {
      const gate = any();
      return glu(c.pick("silu", "gelu", "relu"), gate, like(gate.shape));
    },
    () => linear(any(), any()),
    () => {
      const x = any();
      return linear(x, c.tensor([integer(1, 6), x.shape.at(-1)!], { dtype: c.pick("f32", "f16"), low: -1, high: 1 }));
    },
    () => {
      const x = any();
      return outer(x, like([...x.shape.slice(0, -1), integer(1, 5)]));
    },
    () => {
      const table = any();
      const count = integer(1, 5);
      return gather(table, ids(count, table.shape[0] ?? 1));
    },
    () => {
      const rows = any();
      return scatterAdd(rows, ids(rows.shape[0] ?? 1, 4), 4);
    },
    () => c.pick(rmsNorm, layerNorm, l2Norm)(any(), 0.1),
    () => {
      const x = any();
      const dims = 2 * integer(1, 4);
      const attributes = { dims, pairs: c.pick("halves" as const, "neighbours" as const), base: 100, scale: 1, originalContext: 0 };
      const rest = { extrapolation: 0, attentionFactor: 1, betaFast: 32, betaSlow: 1, transposed: random() < 0.5 };
      return rope(x, ids(x.shape[0] ?? 1, 20), { ...attributes, ...rest });
    },
    () => softmax(any()),
    () => {
      const x = any();
      return softmax(x, like(c.stretchable(x.shape), c.pick("f32", "f16")));
    },
    () => attentionOf(any()),
    () => attentionOf(c.tensor([integer(1, 2), 2 * integer(1, 2), integer(1, 4), 4], { low: -1, high: 1 })),
    () => {
      const x = any();
      const factors = elementCount(x.shape);
      const first = c.pick(...[1, 2, 3, 4, factors].filter((n) => factors % n === 0));
      return reshape(x, c.pick([first, factors / first], [factors], [1, first, factors / first]));
    },
    () => {
      const x = any();
      const shuffled = x.shape.map((_, axis) => ({ axis, key: random() })).sort((a, b) => a.key - b.key);
      return permute(
        x,
        shuffled.map(({ axis }) => axis),
      );
    },
    () => {
      const x = any();
      const axis = axisOf(x);
      const start = integer(0, (x.shape[axis] ?? 1) - 1);
      return narrow(x, axis, start, integer(1, (x.shape[axis] ?? 1) - start));
    },
    () => contiguous(any()),
    () => {
      const a = any();
      const axis = axisOf(a);
      return concat(a, like(a.shape.map((n, i) => (i === axis ? integer(1, 3) : n))), axis);
    },
    () => {
      const x = any();
      return pad(x, axisOf(x), integer(0, 2), integer(0, 2));
    },
    () => {
      const x = any();
      return expand(
        x,
        x.shape.map((n) => (n === 1 ? integer(1, 4) : n)),
      );
    },
    () => sumLast(any()),
    () => cumsum(any()),
    () => cast(any(), c.pick("f16", "f32", "bf16")),
    () => {
      const result = c.pick(argmax, (x: Tensor) => topK(x, Math.min(3, x.shape.at(-1) ?? 1)))(any());
      jumps.add(result);
      return result;
    },
    () => {
      if (cache === undefined) throw new ShapeError("setRows", { tensor: "the cache", expected: "one not yet read", actual: "read" });
      const rows = c.pick(any(), like([integer(1, 6), inner]));
      const count = Math.min(rows.shape[0] ?? 1, 12);
      const written = setRows(cache, rows, c.given("i64", [count], c.distinct(count, 12)));
      cache = undefined;
      const heads = c.pick(1, 2, 4);
      return window(written, { streams: 2, cells: integer(1, 6), heads, headDim: inner / heads, rowsPerStream: 6 });
    },
  ];

  const made: Tensor[] = [];
  const wanted = integer(3, 12);
  for (let attempt = 0; made.length < wanted && attempt < 400; attempt += 1) {
    const before: { inputs: string[]; cache: Tensor | undefined } = { inputs: Object.keys(c.inputs), cache };
    try {
      const result = c.pick(...steps)();
      if (elementCount(result.shape) > largest) throw new ShapeError("graph", { tensor: "it", expected: "smaller", actual: result.shape });
      if (result.inputs.some((x) => jumps.has(x))) jumps.add(result);
      made.push(result);
      if (!jumps.has(result)) pool.push(result);
    } catch (error) {
      if (!(error instanceof ShapeError) && !(error instanceof RangeError)) throw error;
      for (const name of Object.keys(c.inputs)) if (!before.inputs.includes(name)) delete c.inputs[name];
      cache = before.cache;
    }
  }
  const readable = made.filter(({ dtype }) => dtype === "f32" || dtype === "i32");
  // the last result, and some on the way, whose memory must outlive them
  const chosen = readable.filter((_, i) => i === readable.length - 1 || random() < 0.3);
  const outputs = Object.fromEntries(chosen.map((x, i) => [`y${i}`, x]));
  const uncertain = new Set(Object.entries(outputs).flatMap(([name, x]) => (jumps.has(x) ? [name] : [])));
  return { outputs, inputs: c.inputs, leaves, uncertain, [Symbol.dispose]: () => leaves[Symbol.dispose]() };
}

/** A graph in words: `y = linear[2, 3](input[2, 4], permute[3, 4](input[4, 3]))`. */
export function describeGraph(x: Tensor): string {
  const sources = x.inputs.length === 0 ? "" : `(${x.inputs.map(describeGraph).join(", ")})`;
  return `${x.op}${x.dtype === "f32" ? "" : `:${x.dtype}`}[${x.shape.join(", ")}]${sources}`;
}
