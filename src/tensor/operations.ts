import { ShapeError } from "../errors.ts";
import type { DType } from "../ggml/index.ts";
import { broadcasts, elementCount, type Shape, sameShape } from "./shape.ts";
import { node, type OperationName, type RopeAttributes, type Storage, type Tensor, type UnaryName } from "./tensor.ts";

// Legend: B any leading axes, T rows, H heads, K kv heads, D head dim, C hidden, V vocabulary, S streams, R rows per stream.
// Every function checks shapes and types, so that what reaches ggml never fails a native check.

/** Types whose elements stand alone; all others are quantized in blocks along the last axis, or no type of ours. */
const plainTypes: readonly DType[] = ["f32", "f16", "bf16", "i32", "i64"];
const floats: readonly DType[] = ["f32", "f16", "bf16"];
/** Quantized types for which there is a product with f32 rows. */
const quantized: readonly DType[] = [
  ...(["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"] as const),
  ...(["iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs"] as const),
  ...(["tq1_0", "tq2_0", "mxfp4", "nvfp4", "q1_0", "q2_0"] as const),
];
/** Types of matrices that {@link linear} multiplies with and {@link gather} reads rows of. */
export const weightTypes: readonly DType[] = [...floats, ...quantized];

function expectType(operation: string, what: string, tensor: Tensor, ...types: DType[]): void {
  if (!types.includes(tensor.dtype)) {
    throw new ShapeError(operation, { tensor: what, expected: `type ${types.join(" or ")}`, actual: `type ${tensor.dtype}` });
  }
}

function expectShape(operation: string, what: string, tensor: Tensor, expected: string, holds: boolean): void {
  if (!holds) throw new ShapeError(operation, { tensor: what, expected, actual: tensor.shape });
}

function expectReadable(operation: string, what: string, tensor: Tensor): void {
  if (tensor.op === "leaf" && tensor.attributes.storage.repacked) {
    throw new ShapeError(operation, {
      tensor: `${what} (${tensor.attributes.storage.name})`,
      expected: "a plain buffer",
      actual: "a repacked buffer, which only linear() reads",
    });
  }
}

/** A weight or a cache. */
export function leaf(storage: Storage): Tensor {
  return node("leaf", [], { storage }, storage.shape, storage.dtype);
}

/** Data given anew at each run, by name. */
export function input(name: string, dtype: "f32" | "f16" | "i32" | "i64", shape: Shape): Tensor {
  return node("input", [], { name }, shape, dtype);
}

function binary(op: "add" | "sub" | "mul" | "div", a: Tensor, b: Tensor): Tensor {
  expectType(op, "the first operand", a, "f32");
  expectType(op, "the second operand", b, "f32");
  expectShape(op, "the second operand", b, `one that stretches to [${a.shape.join(", ")}]`, broadcasts(b.shape, a.shape));
  return node(op, [contiguous(a), contiguous(b)], {}, a.shape);
}

/** a + b; b stretches to a along axes of length 1. [B] f32 */
export const add = (a: Tensor, b: Tensor): Tensor => binary("add", a, b);
export const sub = (a: Tensor, b: Tensor): Tensor => binary("sub", a, b);
export const mul = (a: Tensor, b: Tensor): Tensor => binary("mul", a, b);
export const div = (a: Tensor, b: Tensor): Tensor => binary("div", a, b);

/** An elementwise function; "gelu" is the tanh approximation, "geluErf" the exact one, "geluQuick" x·sigmoid(1.702x). */
export function unary(name: UnaryName, x: Tensor): Tensor {
  expectType(name, "the operand", x, "f32");
  return node("unary", [contiguous(x)], { name }, x.shape);
}

/** scale · x + bias */
export function affine(x: Tensor, scale: number, bias = 0): Tensor {
  expectType("affine", "the operand", x, "f32");
  return node("affine", [contiguous(x)], { scale, bias }, x.shape);
}

/** Values outside [min, max] become the nearer end. */
export function clamp(x: Tensor, min: number, max: number): Tensor {
  expectType("clamp", "the operand", x, "f32");
  if (!(min <= max)) throw new RangeError(`clamp: min must be <= max, got ${min} and ${max}`);
  return node("clamp", [contiguous(x)], { min, max }, x.shape);
}

/** activation(gate) · up, in one pass. */
export function glu(kind: "silu" | "gelu" | "relu", gate: Tensor, up: Tensor): Tensor {
  expectType("glu", "the gate", gate, "f32");
  expectType("glu", "the other operand", up, "f32");
  expectShape("glu", "the other operand", up, `[${gate.shape.join(", ")}]`, sameShape(gate.shape, up.shape));
  return node("glu", [contiguous(gate), contiguous(up)], { gate: kind }, gate.shape);
}

/**
 * x · weightᵀ over the last axis, for weights of any type.
 *
 * @param x       [B, T, C] f32
 * @param weight  [B', N, C], the axes of B' equal to those of B or dividing them (grouped heads)
 * @returns [B, T, N] f32
 */
export function linear(x: Tensor, weight: Tensor): Tensor {
  expectType("linear", "the input", x, "f32");
  const inner = weight.shape.at(-1)!;
  const outer = weight.shape.length > 1 ? weight.shape.at(-2)! : 1;
  expectShape("linear", nameOf(weight), weight, `[..., N, ${x.shape.at(-1)}]`, weight.shape.length >= 2 && inner === x.shape.at(-1));
  expectGroups("linear", nameOf(weight), weight, weight.shape.slice(0, -2), x.shape.slice(0, -2));
  expectType("linear", nameOf(weight), weight, ...weightTypes);
  return node("linear", [contiguous(x), unitRows(weight)], {}, [...x.shape.slice(0, -1), outer]);
}

/**
 * {@link linear} with a matrix of its own for each row, out of a stack; a row may choose several. One row's bits depend on nothing but the row
 * and the matrix. Choices are data: the caller checks their range.
 *
 * @param x        [T, K, C] f32, or [T, 1, C]: the same row for each of its choices
 * @param weights  [M, N, C] leaf, f32
 * @param choices  [T, K] i32, indices in [0, M)
 * @returns [T, K, N] f32
 */
export function chosenLinear(x: Tensor, weights: Tensor, choices: Tensor): Tensor {
  expectType("chosenLinear", "the input", x, "f32");
  expectType("chosenLinear", "the matrices", weights, "f32");
  expectType("chosenLinear", "the choices", choices, "i32");
  expectReadable("chosenLinear", "the matrices", weights);
  expectShape("chosenLinear", "the choices", choices, "[T, K]", choices.shape.length === 2);
  const [rows, count] = choices.shape as [number, number];
  const fits = x.shape.length === 3 && x.shape[0] === rows && (x.shape[1] === 1 || x.shape[1] === count);
  expectShape("chosenLinear", "the input", x, `[${rows}, 1 or ${count}, C]`, fits);
  expectShape(
    "chosenLinear",
    "the matrices",
    weights,
    `[M, N, ${x.shape[2]}]`,
    weights.shape.length === 3 && weights.shape[2] === x.shape[2],
  );
  return node("chosenLinear", [contiguous(x), contiguous(weights), contiguous(choices)], {}, [rows, count, weights.shape[1]!]);
}

/**
 * Σ over n of the products of the n-th rows: what {@link linear} is to its weight and input, this is to their gradients.
 *
 * @param a  [B', N, C] f32, f16 or quantized; the axes of B' equal to those of B or dividing them (equal if not f32)
 * @param b  [B, N, T] f32
 * @returns [B, T, C] f32, `y[t, c] = Σ_n b[n, t] a[n, c]`
 */
export function outer(a: Tensor, b: Tensor): Tensor {
  expectType("outer", "the first operand", a, "f32", "f16", ...quantized);
  expectType("outer", "the second operand", b, "f32");
  expectReadable("outer", "the first operand", a);
  const [batch, length, columns] = [b.shape.slice(0, -2), b.shape.at(-2), b.shape.at(-1)];
  expectShape("outer", "the second operand", b, "[..., N, T]", b.shape.length >= 2);
  expectShape("outer", "the first operand", a, `[..., ${length}, C]`, a.shape.length >= 2 && a.shape.at(-2) === length);
  const aBatch = a.shape.slice(0, -2);
  if (a.dtype === "f32") expectGroups("outer", "the first operand", a, aBatch, batch);
  else expectShape("outer", "the first operand", a, `[${[...batch, length].join(", ")}, C]`, sameShape(aBatch, batch));
  return node("outer", [unitRows(a), contiguous(b)], {}, [...batch, columns!, a.shape.at(-1)!]);
}

function expectGroups(operation: string, what: string, tensor: Tensor, groups: Shape, batch: Shape): void {
  const shift = batch.length - groups.length;
  const divide = shift >= 0 && groups.every((length, axis) => batch[axis + shift]! % length === 0);
  expectShape(operation, what, tensor, `leading axes that divide [${batch.join(", ")}]`, divide);
}

const nameOf = (tensor: Tensor): string =>
  tensor.op === "leaf" ? tensor.attributes.storage.name : tensor.op === "input" ? tensor.attributes.name : "the weight";

/** Rows of a table by index: [V, C], ids [T] i32 -> [T, C] f32. Indices are data: the caller checks their range. */
export function gather(table: Tensor, ids: Tensor): Tensor {
  expectType("gather", "the indices", ids, "i32");
  expectType("gather", "the table", table, ...weightTypes);
  expectReadable("gather", "the table", table);
  expectShape("gather", "the table", table, "[V, C]", table.shape.length === 2);
  expectShape("gather", "the indices", ids, "[T]", ids.shape.length === 1);
  return node("gather", [unitRows(table), ids], {}, [ids.shape[0]!, table.shape[1]!]);
}

/** The other way round: row v of the result is the sum of the rows whose index is v. [T, C] f32, ids [T] i32 < numRows -> [numRows, C] */
export function scatterAdd(rows: Tensor, ids: Tensor, numRows: number): Tensor {
  expectType("scatterAdd", "the rows", rows, "f32");
  expectType("scatterAdd", "the indices", ids, "i32");
  expectShape("scatterAdd", "the rows", rows, "[T, C]", rows.shape.length === 2);
  expectShape("scatterAdd", "the indices", ids, `[${rows.shape[0]}]`, ids.shape.length === 1 && ids.shape[0] === rows.shape[0]);
  return node("scatterAdd", [contiguous(rows), contiguous(ids)], {}, [numRows, rows.shape[1]!]);
}

/**
 * Writes rows into a cache and returns the cache as it is afterwards: what reads the result is computed after the write.
 *
 * @param cache    [M, E] leaf, f16 or f32
 * @param rows     [T, E] f32
 * @param indices  [T] i64, distinct rows of the cache but for the scratch one
 */
export function setRows(cache: Tensor, rows: Tensor, indices: Tensor): Tensor {
  if (cache.op !== "leaf" && cache.op !== "setRows") {
    throw new ShapeError("setRows", {
      tensor: "the cache",
      expected: "a leaf, or what setRows returned",
      actual: `the result of ${cache.op}`,
    });
  }
  expectType("setRows", "the cache", cache, "f16", "f32");
  expectType("setRows", "the rows", rows, "f32");
  expectType("setRows", "the indices", indices, "i64");
  expectShape(
    "setRows",
    "the rows",
    rows,
    `[T, ${cache.shape[1]}]`,
    cache.shape.length === 2 && rows.shape.length === 2 && rows.shape[1] === cache.shape[1],
  );
  expectShape("setRows", "the indices", indices, `[${rows.shape[0]}]`, indices.shape.length === 1 && indices.shape[0] === rows.shape[0]);
  return node("setRows", [cache, contiguous(rows), indices], {}, cache.shape, cache.dtype);
}

function norm(op: "rmsNorm" | "layerNorm" | "l2Norm", x: Tensor, eps: number): Tensor {
  expectType(op, "the operand", x, "f32");
  if (!(eps >= 0 && eps < Number.POSITIVE_INFINITY)) throw new RangeError(`${op}: eps must be >= 0, got ${eps}`);
  return node(op, [contiguous(x)], { eps }, x.shape);
}

/** x / sqrt(mean(x²) + eps) over the last axis. */
export const rmsNorm = (x: Tensor, eps: number): Tensor => norm("rmsNorm", x, eps);
/** (x - mean) / sqrt(variance + eps) over the last axis. */
export const layerNorm = (x: Tensor, eps: number): Tensor => norm("layerNorm", x, eps);
/** x / max(‖x‖, eps) over the last axis. */
export const l2Norm = (x: Tensor, eps: number): Tensor => norm("l2Norm", x, eps);

/**
 * Rotary position embedding.
 *
 * @param x          [T, H, D] f32
 * @param positions  [T] i32
 * @param factors    [dims / 2] f32 that divide the frequencies (Llama 3), if the model has them
 * @see Su et al. 2021, https://arxiv.org/abs/2104.09864
 */
export function rope(x: Tensor, positions: Tensor, attributes: RopeAttributes, factors?: Tensor): Tensor {
  const { originalContext, extrapolation } = attributes;
  if (!Number.isInteger(originalContext) || originalContext < (extrapolation === 0 ? 0 : 1))
    throw new RangeError(`rope: originalContext must be a whole number, and with extrapolation >= 1, got ${originalContext}`);
  expectType("rope", "the operand", x, "f32");
  expectType("rope", "the positions", positions, "i32");
  expectShape("rope", "the operand", x, "[T, H, D]", x.shape.length === 3);
  expectShape("rope", "the positions", positions, `[${x.shape[0]}]`, positions.shape.length === 1 && positions.shape[0] === x.shape[0]);
  const { dims } = attributes;
  expectShape(
    "rope",
    "the operand",
    x,
    `an even number of features per head, at least ${dims} of them, also even`,
    dims % 2 === 0 && dims > 0 && dims <= x.shape[2]! && x.shape[2]! % 2 === 0, // ggml copies the features behind `dims` by twos
  );
  if (factors !== undefined) {
    expectType("rope", "the frequency factors", factors, "f32");
    expectShape("rope", "the frequency factors", factors, `[${dims / 2}]`, factors.shape.length === 1 && factors.shape[0]! >= dims / 2);
  }
  return node("rope", factors === undefined ? [unitRows(x), positions] : [unitRows(x), positions, factors], attributes, x.shape);
}

/** softmax(scale · x + mask) over the last axis; the mask [.., T, C] f32 or f16 stretches over leading axes. */
export function softmax(x: Tensor, mask?: Tensor, scale = 1): Tensor {
  expectType("softmax", "the operand", x, "f32");
  if (mask !== undefined) {
    expectType("softmax", "the mask", mask, "f32", "f16");
    const [rows, columns] = mask.shape.slice(-2);
    expectShape(
      "softmax",
      "the mask",
      mask,
      `[..., ${x.shape.at(-2)}, ${x.shape.at(-1)}]`,
      columns === x.shape.at(-1) && rows === x.shape.at(-2) && broadcasts(mask.shape, x.shape),
    );
  }
  return node("softmax", mask === undefined ? [contiguous(x)] : [contiguous(x), contiguous(mask)], { scale }, x.shape);
}

/**
 * softmax(scale · q kᵀ + mask) v with grouped heads, in one kernel; `explicitAttention` is the same from plain operations.
 *
 * @param q     [S, H, R, D] f32
 * @param k, v  [S, K, C, D] f16 or f32, H a multiple of K
 * @param mask  [S, 1, R, C] f16: 0 where a row sees a cell, -Infinity where not
 * @returns [S, R, H, D] f32
 * @see Dao et al. 2022, https://arxiv.org/abs/2205.14135
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: number, softcap = 0): Tensor {
  checkAttention("attention", q, k, v, mask);
  expectType("attention", "the mask", mask, "f16");
  const [streams, heads, rows, headDim] = q.shape as [number, number, number, number];
  return node("attention", [unitRows(q), unitRows(k), unitRows(v), contiguous(mask)], { scale, softcap }, [streams, rows, heads, headDim]);
}

function checkAttention(operation: string, q: Tensor, k: Tensor, v: Tensor, mask: Tensor): void {
  expectType(operation, "q", q, "f32");
  expectType(operation, "k", k, "f16", "f32");
  expectType(operation, "v", v, "f16", "f32");
  const [streams, heads, rows, headDim] = q.shape;
  expectShape(operation, "q", q, "[S, H, R, D]", q.shape.length === 4);
  expectShape(
    operation,
    "k",
    k,
    `[${streams}, K, C, ${headDim}], K dividing ${heads}`,
    k.shape.length === 4 && k.shape[0] === streams && heads! % k.shape[1]! === 0 && k.shape[3] === headDim,
  );
  expectShape(operation, "v", v, `[${k.shape.join(", ")}]`, sameShape(v.shape, k.shape));
  expectShape(
    operation,
    "the mask",
    mask,
    `[${streams}, 1, ${rows}, ${k.shape[2]}]`,
    sameShape(mask.shape, [streams!, 1, rows!, k.shape[2]!]),
  );
}

/**
 * {@link attention} written with plain operations, for training and for reading the weights.
 * @returns `out` [S, R, H, D] and the attention weights `pattern` [S, H, R, C]
 */
export function explicitAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask: Tensor,
  scale: number,
  softcap = 0,
): { out: Tensor; pattern: Tensor } {
  checkAttention("explicitAttention", q, k, v, mask);
  let scores = linear(q, k); // [S, H, R, C]
  if (softcap > 0) {
    // as the fused kernel does: scale inside the cap
    scores = affine(unary("tanh", affine(scores, scale / softcap)), softcap);
    scale = 1;
  }
  const pattern = softmax(scores, mask, scale); // [S, H, R, C]
  const columns = contiguous(permute(v, [0, 1, 3, 2])); // [S, K, D, C]
  return { out: permute(linear(pattern, columns), [0, 2, 1, 3]), pattern }; // [S, R, H, D]
}

/**
 * Cells of adjacent streams of a cache, seen as heads. Where the first stream starts is data of the run (`Program.setWindow`).
 *
 * @param cache  [M, K·D], what {@link setRows} returned; stream s has rows [s · rowsPerStream, (s + 1) · rowsPerStream)
 * @returns [S, C, K, D]
 */
export function window(
  cache: Tensor,
  shape: { streams: number; cells: number; heads: number; headDim: number; rowsPerStream: number },
): Tensor {
  const { streams, cells, heads, headDim, rowsPerStream } = shape;
  if (cache.op !== "leaf" && cache.op !== "setRows") {
    throw new ShapeError("window", {
      tensor: "the cache",
      expected: "a leaf, or what setRows returned",
      actual: `the result of ${cache.op}`,
    });
  }
  expectType("window", "the cache", cache, "f16", "f32");
  const fits =
    [streams, cells, heads, headDim, rowsPerStream].every((n) => Number.isSafeInteger(n) && n >= 1) &&
    cache.shape.length === 2 &&
    heads * headDim === cache.shape[1] &&
    cells <= rowsPerStream &&
    streams * rowsPerStream <= cache.shape[0]!;
  expectShape(
    "window",
    "the cache",
    cache,
    `[>= ${streams * rowsPerStream}, ${heads * headDim}], cells ${cells} <= ${rowsPerStream}`,
    fits,
  );
  return node("window", [cache], { rowsPerStream }, [streams, cells, heads, headDim], cache.dtype);
}

/** The same elements in the same order under another shape. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  expectShape(
    "reshape",
    "the operand",
    x,
    `${elementCount(shape)} elements for [${shape.join(", ")}]`,
    elementCount(x.shape) === elementCount(shape),
  );
  expectType("reshape", "the operand", x, ...plainTypes);
  if (sameShape(x.shape, shape)) return x;
  return node("reshape", [contiguous(x)], {}, shape, x.dtype);
}

/** Axes in another order, without a copy: result axis i is x's axis `axes[i]`. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const order = [...axes].sort((a, b) => a - b);
  expectShape(
    "permute",
    "the operand",
    x,
    `as many axes as [${axes.join(", ")}]`,
    order.length === x.shape.length && order.every((axis, index) => axis === index),
  );
  expectType("permute", "the operand", x, ...plainTypes);
  return node(
    "permute",
    [x],
    { axes },
    axes.map((axis) => x.shape[axis]!),
    x.dtype,
  );
}

/** Elements [start, start + length) of one axis, without a copy. Of a quantized weight: rows, not parts of rows. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  const size = x.shape[axis];
  const fits =
    size !== undefined && Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= 1 && start + length <= size;
  expectShape("narrow", "the operand", x, `elements [${start}, ${start + length}) on axis ${axis}`, fits);
  expectReadable("narrow", "the operand", x);
  if (axis === x.shape.length - 1) expectType("narrow", "the operand", x, ...plainTypes);
  if (x.op === "permute") {
    const { axes } = x.attributes; // ggml's views keep neighbours on the last axis neighbours in memory: take the part first
    return permute(narrow(x.inputs[0]!, axes[axis]!, start, length), axes);
  }
  return node(
    "narrow",
    [x],
    { axis, start },
    x.shape.map((n, a) => (a === axis ? length : n)),
    x.dtype,
  );
}

/** The operations whose results do not lie row after row in memory. */
const strided: ReadonlySet<OperationName> = new Set(["permute", "narrow", "window"]);

/** A copy whose elements lie row after row, where they don't yet. */
export function contiguous(x: Tensor): Tensor {
  return strided.has(x.op) ? node("contiguous", [x], {}, x.shape, x.dtype) : x;
}

/** Whether neighbours on the last axis are neighbours in memory, which is all that products, rope and attention ask for. */
function hasUnitRows(x: Tensor): boolean {
  if (x.op === "permute") return x.attributes.axes.at(-1) === x.shape.length - 1 && hasUnitRows(x.inputs[0]!);
  if (x.op === "narrow") return hasUnitRows(x.inputs[0]!);
  return true;
}

const unitRows = (x: Tensor): Tensor => (hasUnitRows(x) ? x : contiguous(x));

export function concat(a: Tensor, b: Tensor, axis: number): Tensor {
  expectType("concat", "the first operand", a, "f32");
  expectType("concat", "the second operand", b, "f32");
  expectShape(
    "concat",
    "the second operand",
    b,
    `[${a.shape.join(", ")}] but for axis ${axis}`,
    a.shape.length === b.shape.length && a.shape[axis] !== undefined && a.shape.every((n, i) => i === axis || n === b.shape[i]),
  );
  return node(
    "concat",
    [contiguous(a), contiguous(b)],
    { axis },
    a.shape.map((n, i) => (i === axis ? n + b.shape[i]! : n)),
  );
}

/** Zeros before and after the elements of one axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  expectType("pad", "the operand", x, "f32");
  expectShape("pad", "the operand", x, `an axis ${axis}`, x.shape[axis] !== undefined);
  if (![before, after].every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 31))
    throw new RangeError(`pad: the lengths must be whole numbers >= 0, got ${before} and ${after}`);
  return node(
    "pad",
    [contiguous(x)],
    { axis, before },
    x.shape.map((n, a) => (a === axis ? before + n + after : n)),
  );
}

/** Stretches axes of length 1 by copying. */
export function expand(x: Tensor, shape: Shape): Tensor {
  expectType("expand", "the operand", x, "f32");
  expectShape("expand", "the operand", x, `one that stretches to [${shape.join(", ")}]`, broadcasts(x.shape, shape));
  return node("expand", [contiguous(x)], {}, shape);
}

/** Sum over the last axis, which stays with length 1. */
export function sumLast(x: Tensor): Tensor {
  expectType("sumLast", "the operand", x, "f32");
  return node("sumLast", [contiguous(x)], {}, [...x.shape.slice(0, -1), 1]);
}

/** Running sum along the last axis. */
export function cumsum(x: Tensor): Tensor {
  expectType("cumsum", "the operand", x, "f32");
  return node("cumsum", [contiguous(x)], {}, x.shape);
}

export function cast(x: Tensor, dtype: "f32" | "f16" | "bf16"): Tensor {
  expectType("cast", "the operand", x, ...floats);
  return x.dtype === dtype ? x : node("cast", [contiguous(x)], {}, x.shape, dtype);
}

/** Index of the largest value of each row: [T, V] -> [T] i32. Of equal ones it is the last on the CPU; devices differ. */
export function argmax(x: Tensor): Tensor {
  expectType("argmax", "the operand", x, "f32");
  expectShape("argmax", "the operand", x, "[T, V]", x.shape.length === 2);
  return node("argmax", [contiguous(x)], {}, [x.shape[0]!], "i32");
}

/** Indices of the k largest values of each row as an unordered set: [T, V] -> [T, k] i32. */
export function topK(x: Tensor, k: number): Tensor {
  expectType("topK", "the operand", x, "f32");
  expectShape("topK", "the operand", x, `[T, V], V >= ${k}`, x.shape.length === 2 && Number.isInteger(k) && k >= 1 && k <= x.shape[1]!);
  return node("topK", [contiguous(x)], {}, [x.shape[0]!, k], "i32");
}
