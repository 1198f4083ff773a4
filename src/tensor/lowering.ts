import { type BackendName, type Native, readTensorHeader, type TensorContext, type TensorPointer, typeIds } from "../ggml/index.ts";
import { elementCount, toNe } from "./shape.ts";
import type { Operation, OperationName, Storage, Tensor, UnaryName } from "./tensor.ts";

/** What a node's lowering may use. */
export interface Target {
  readonly native: Native;
  readonly context: TensorContext;
  readonly backend: BackendName;
  /** Whether a weight needs one row per plane so that a row's bits don't depend on the rows beside it. */
  readonly rowWise: (storage: Storage) => boolean;
}

const unaryFunctions = {
  sqr: "ggml_sqr",
  sqrt: "ggml_sqrt",
  log: "ggml_log",
  exp: "ggml_exp",
  sin: "ggml_sin",
  cos: "ggml_cos",
  abs: "ggml_abs",
  neg: "ggml_neg",
  step: "ggml_step",
  sgn: "ggml_sgn",
  relu: "ggml_relu",
  gelu: "ggml_gelu",
  geluErf: "ggml_gelu_erf",
  geluQuick: "ggml_gelu_quick",
  silu: "ggml_silu",
  tanh: "ggml_tanh",
  sigmoid: "ggml_sigmoid",
  softplus: "ggml_softplus",
  elu: "ggml_elu",
} as const satisfies Record<UnaryName, string>;

const glus = { silu: "ggml_swiglu_split", gelu: "ggml_geglu_split", relu: "ggml_reglu_split" } as const;
const binaries = { add: "ggml_add", sub: "ggml_sub", mul: "ggml_mul", div: "ggml_div" } as const;
const norms = { rmsNorm: "ggml_rms_norm", layerNorm: "ggml_norm", l2Norm: "ggml_l2_norm" } as const;
const accumulateF32 = 10; // GGML_PREC_F32

/** Headers a node takes at most: row-wise products add two reshapes. */
export const maxHeadersPerNode = 3;

type Lower<N extends OperationName> = (target: Target, x: Operation<N>, sources: readonly TensorPointer[]) => TensorPointer;

const binary =
  (op: keyof typeof binaries): Lower<typeof op> =>
  ({ native, context }, _x, [a, b]) =>
    native[binaries[op]](context.reserve(), a!, b!);

const norm =
  (op: keyof typeof norms): Lower<typeof op> =>
  ({ native, context }, x, [a]) =>
    native[norms[op]](context.reserve(), a!, x.attributes.eps);

/** How each operation is written in ggml. Leaves and inputs have their tensors already. */
const lowerings: { [N in Exclude<OperationName, "leaf" | "input">]: Lower<N> } = {
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: binary("div"),
  unary: ({ native, context }, x, [a]) => native[unaryFunctions[x.attributes.name]](context.reserve(), a!),
  affine: ({ native, context }, x, [a]) => native.ggml_scale_bias(context.reserve(), a!, x.attributes.scale, x.attributes.bias),
  clamp: ({ native, context }, x, [a]) => native.ggml_clamp(context.reserve(), a!, x.attributes.min, x.attributes.max),
  glu: ({ native, context }, x, [gate, up]) => native[glus[x.attributes.gate]](context.reserve(), gate!, up!),
  linear: (target, x, [a, weight]) => {
    const { native, context } = target;
    const [input, w] = x.inputs as [Tensor, Tensor];
    if (target.backend === "invariant" && w.op === "leaf" && w.shape.length === 2 && target.rowWise(w.attributes.storage)) {
      const inner = input.shape.at(-1)!;
      const rows = elementCount(input.shape) / inner;
      const planes = native.ggml_reshape_4d(context.reserve(), a!, inner, 1, rows, 1);
      const product = native.ggml_mul_mat(context.reserve(), weight!, planes);
      return native.ggml_reshape_4d(context.reserve(), product, ...toNe(x.shape));
    }
    return native.ggml_mul_mat(context.reserve(), weight!, a!);
  },
  chosenLinear: ({ native, context }, _x, [a, weights, choices]) => native.ggml_mul_mat_id(context.reserve(), weights!, a!, choices!),
  outer: ({ native, context }, _x, [a, b]) => native.ggml_out_prod(context.reserve(), a!, b!),
  scatterAdd: ({ native, context }, x, [rows, ids]) => {
    const shapeOnly = context.tensor("f32", toNe(x.shape).slice(0, 2));
    return native.ggml_get_rows_back(context.reserve(), rows!, ids!, shapeOnly);
  },
  gather: ({ native, context }, _x, [table, ids]) => native.ggml_get_rows(context.reserve(), table!, ids!),
  setRows: ({ native, context }, _x, [cache, rows, indices]) => native.ggml_set_rows(context.reserve(), cache!, rows!, indices!),
  rmsNorm: norm("rmsNorm"),
  layerNorm: norm("layerNorm"),
  l2Norm: norm("l2Norm"),
  rope: ({ native, context }, x, [a, positions, factors]) => {
    const r = x.attributes;
    const mode = r.pairs === "halves" ? 2 : 0;
    const rope = r.transposed ? native.ggml_rope_ext_back : native.ggml_rope_ext;
    return rope(
      context.reserve(),
      a!,
      positions!,
      factors ?? null,
      r.dims,
      mode,
      r.originalContext,
      r.base,
      r.scale,
      r.extrapolation,
      r.attentionFactor,
      r.betaFast,
      r.betaSlow,
    );
  },
  softmax: ({ native, context }, x, [a, mask]) => native.ggml_soft_max_ext(context.reserve(), a!, mask ?? null, x.attributes.scale, 0),
  attention: ({ native, context }, x, [q, k, v, mask]) => {
    const result = native.ggml_flash_attn_ext(context.reserve(), q!, k!, v!, mask!, x.attributes.scale, 0, x.attributes.softcap);
    native.ggml_prec_set_acc(result, accumulateF32);
    return result;
  },
  window: ({ native, context }, x, [cache]) => {
    const [streams, cells, heads, headDim] = x.shape as [number, number, number, number];
    const element = native.ggml_type_size(typeIds[x.dtype]);
    const row = heads * headDim * element;
    return native.ggml_view_4d(
      context.reserve(),
      cache!,
      headDim,
      heads,
      cells,
      streams,
      headDim * element,
      row,
      row * x.attributes.rowsPerStream,
      0,
    );
  },
  reshape: ({ native, context }, x, [a]) => native.ggml_reshape_4d(context.reserve(), a!, ...toNe(x.shape)),
  permute: ({ native, context }, x, [a]) => {
    // ours: result axis i is source axis axes[i]; ggml's: source dimension j goes to position p[j], innermost first
    const rank = x.shape.length;
    const position = [0, 1, 2, 3];
    x.attributes.axes.forEach((source, result) => {
      position[rank - 1 - source] = rank - 1 - result;
    });
    return native.ggml_permute(context.reserve(), a!, position[0]!, position[1]!, position[2]!, position[3]!);
  },
  narrow: ({ native, context }, x, [a]) => {
    const { strides } = readTensorHeader(a!);
    const dimension = x.shape.length - 1 - x.attributes.axis;
    return native.ggml_view_4d(
      context.reserve(),
      a!,
      ...toNe(x.shape),
      strides[1]!,
      strides[2]!,
      strides[3]!,
      x.attributes.start * strides[dimension]!,
    );
  },
  contiguous: ({ native, context }, x, [a]) => native.ggml_cont_4d(context.reserve(), a!, ...toNe(x.shape)),
  concat: ({ native, context }, x, [a, b]) => native.ggml_concat(context.reserve(), a!, b!, x.shape.length - 1 - x.attributes.axis),
  pad: ({ native, context }, x, [a]) => {
    const { axis, before } = x.attributes;
    const dimension = x.shape.length - 1 - axis;
    const lengths = [0, 0, 0, 0, 0, 0, 0, 0] as [number, number, number, number, number, number, number, number];
    lengths[2 * dimension] = before;
    lengths[2 * dimension + 1] = x.shape[axis]! - before - x.inputs[0]!.shape[axis]!;
    return native.ggml_pad_ext(context.reserve(), a!, ...lengths);
  },
  expand: ({ native, context }, x, [a]) => native.ggml_repeat_4d(context.reserve(), a!, ...toNe(x.shape)),
  sumLast: ({ native, context }, _x, [a]) => native.ggml_sum_rows(context.reserve(), a!),
  cumsum: ({ native, context }, _x, [a]) => native.ggml_cumsum(context.reserve(), a!),
  cast: ({ native, context }, x, [a]) => native.ggml_cast(context.reserve(), a!, typeIds[x.dtype]),
  argmax: ({ native, context }, _x, [a]) => native.ggml_argmax(context.reserve(), a!),
  topK: ({ native, context }, x, [a]) => native.ggml_top_k(context.reserve(), a!, x.shape[1]!),
};

/** Makes the native node of an operation whose sources exist. */
export function lower(target: Target, x: Tensor, sources: readonly TensorPointer[]): TensorPointer {
  if (x.op === "leaf" || x.op === "input") throw new Error(`internal: ${x.op} has no lowering`);
  const lowering = lowerings[x.op] as Lower<typeof x.op>;
  return lowering(target, x as never, sources);
}

/** Operations whose result lies in their first source's memory. */
export const viewOperations: ReadonlySet<OperationName> = new Set(["window", "reshape", "permute", "narrow"]);
