import { resolve } from "node:path";
import { FormatError, OptionError, UnsupportedError } from "../errors.ts";
import { quantizeRows, toFloatNative } from "../ggml/index.ts";
import { dequantize, type ToFloat } from "./dequantize.ts";
import { type GgufFile, openGguf, type TensorInfo } from "./gguf-reader.ts";
import { type TensorType, tensorBytes, tensorTypes } from "./gguf-types.ts";
import { writeGguf } from "./gguf-writer.ts";
import type { MetadataValue } from "./metadata.ts";

/** Types to quantize to, with `general.file_type` of such a file (llama.h, `enum llama_ftype`). */
const targets = {
  f32: 0,
  f16: 1,
  bf16: 32,
  q4_0: 2,
  q4_1: 3,
  q5_0: 8,
  q5_1: 9,
  q8_0: 7,
  q2_k: 21, // the variants in which every matrix has the type ("S")
  q3_k: 11,
  q4_k: 14,
  q5_k: 16,
  q6_k: 18,
  iq4_nl: 25,
  iq4_xs: 30,
} as const satisfies Partial<Record<TensorType, number>>;

export type QuantizeTarget = keyof typeof targets;

/** The types {@link quantize} writes. */
export const quantizeTargets = Object.keys(targets) as QuantizeTarget[];

/** Where a row is no multiple of the block, the next larger type whose block is smaller. */
const fallbacks: Partial<Record<TensorType, TensorType>> = {
  q2_k: "q4_0",
  q3_k: "q4_0",
  q4_k: "q5_0",
  q5_k: "q5_1",
  q6_k: "q8_0",
  iq4_xs: "iq4_nl",
};

export interface QuantizedTensor {
  readonly name: string;
  readonly from: TensorType;
  readonly to: TensorType;
  /** Why it has another type than asked for. */
  readonly because?: string;
  readonly index: number;
  readonly count: number;
}

/** Changes rows of a tensor in place. */
export type Edit = (values: Float32Array, firstRow: number) => void;

export interface QuantizeOptions {
  /** One of {@link quantizeTargets}, or "same": each tensor keeps its type. */
  readonly type: string;
  /** Parts of names of tensors that keep the type they have. Each must be in one name at least. */
  readonly keep?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For a tensor to be changed on the way: what changes some of its rows, in f32, from the first of them on. */
  readonly edit?: ((name: string) => Edit | undefined) | undefined;
  /** Called when a tensor is written. */
  readonly onTensor?: ((tensor: QuantizedTensor) => void) | undefined;
}

/**
 * Writes a GGUF file with the tensors of another in a smaller type. Decides tensor by tensor as llama.cpp does: norms, biases and
 * other small tensors stay as they are; the output matrix (or the embedding that serves as one) gets q6_k, or q8_0 where its rows
 * are no multiple of 256; other rows that are not whole blocks get the next larger type. A tensor that is already quantized loses
 * a second time, so begin with f16 or f32 where there is a choice.
 *
 * @returns what became of each tensor
 * @throws OptionError for an unknown type or a `keep` that names nothing, FormatError for a value that is not finite,
 *         UnsupportedError for a tensor whose type ggml can't convert, the signal's reason
 */
export async function quantize(input: string, output: string, options: QuantizeOptions): Promise<readonly QuantizedTensor[]> {
  const target = options.type === "same" ? undefined : targetOf(options.type);
  if (resolve(input) === resolve(output)) throw new OptionError("output", "is the input file");
  using file = openGguf(input);
  const infos = [...file.tensors.values()];
  const keep = options.keep ?? [];
  const idle = keep.find((part) => part === "" || !infos.some(({ name }) => name.includes(part)));
  if (idle !== undefined) throw new OptionError("keep", `no tensor's name contains ${JSON.stringify(idle)}`);
  const isTied = !file.tensors.has("output.weight");
  const plan = infos.map((info, index): QuantizedTensor => {
    const isKept = keep.some((part) => info.name.includes(part));
    const chosen = isKept || target === undefined ? { to: info.type, because: "kept" } : chooseType(info, target, isTied);
    if (options.edit?.(info.name) !== undefined && !Object.hasOwn(targets, chosen.to))
      throw new UnsupportedError(`${info.name} has type ${chosen.to}, which can't be written; choose another type`);
    return { name: info.name, from: info.type, ...chosen, index, count: infos.length };
  });
  await writeGguf(output, {
    metadata: metadataFor(file, target),
    tensors: infos.map((info, index) => ({
      name: info.name,
      type: plan[index]!.to,
      shape: info.shape,
      data: () => convert(file, info, plan[index]!.to, options),
    })),
    onTensor: ({ index }) => options.onTensor?.(plan[index]!),
  });
  return plan;
}

function targetOf(type: string): QuantizeTarget {
  if (Object.hasOwn(targets, type)) return type as QuantizeTarget;
  throw new OptionError("type", `${JSON.stringify(type)} is unknown; these are known: ${quantizeTargets.join(", ")}`);
}

/** Small or delicate tensors whose names end in `.weight` all the same; see llama.cpp, src/llama-quant.cpp. */
const neverQuantized =
  /_norm\.weight|ffn_gate_inp\.weight|position_embd|token_types|ssm_conv1d|shortconv\.conv\.weight|attn_rel_b\.weight|altup|laurel|per_layer_model_proj/;

/** @see llama.cpp, src/llama-quant.cpp: `tensor_allows_quantization`, `llama_tensor_get_type_impl`, `tensor_type_fallback` */
function chooseType({ name, type, shape }: TensorInfo, target: QuantizeTarget, isTied: boolean): { to: TensorType; because?: string } {
  if (shape.filter((size) => size > 1).length < 2 || !name.endsWith("weight") || neverQuantized.test(name)) {
    return { to: type, because: "small or delicate" };
  }
  const columns = shape.at(-1)!;
  const isQuantized = tensorTypes[target].blockSize > 1;
  const isOutput = name === "output.weight" || (isTied && name === "token_embd.weight");
  if (isOutput && isQuantized && target !== "q8_0") {
    const to = columns % tensorTypes.q6_k.blockSize === 0 ? "q6_k" : columns % tensorTypes.q8_0.blockSize === 0 ? "q8_0" : "f16";
    return to === target ? { to } : { to, because: "is the output matrix" };
  }
  for (const to of [target, fallbacks[target]]) {
    if (to === undefined || columns % tensorTypes[to].blockSize !== 0) continue;
    return to === target ? { to } : { to, because: `rows of ${columns} are no whole blocks of ${target}` };
  }
  return { to: "f16", because: `rows of ${columns} are no whole blocks of ${target}` };
}

function metadataFor(file: GgufFile, target: QuantizeTarget | undefined): Map<string, MetadataValue> {
  const metadata = new Map<string, MetadataValue>(file.metadata);
  if (target === undefined) return metadata;
  metadata.set("general.file_type", { type: "uint32", value: targets[target] });
  if (tensorTypes[target].blockSize > 1) metadata.set("general.quantization_version", { type: "uint32", value: 2 });
  return metadata;
}

/** ggml's conversion of any type to float32, TypeScript's for the few it has none for. @see ToFloat */
export const toFloat: ToFloat = (type, bytes, rows, columns) => {
  if (bytes.length !== tensorBytes(type, rows, columns)) throw new RangeError(`${bytes.length} bytes for ${rows} x ${columns} of ${type}`);
  return toFloatNative(tensorTypes[type].id, bytes, rows * columns) ?? dequantize(type, bytes, rows, columns);
};

const chunkElements = 1 << 20; // 4 MB of float32 at a time, and a turn of the event loop after each

async function* convert(
  file: GgufFile,
  info: TensorInfo,
  to: TensorType,
  { signal, edit: editOf }: QuantizeOptions,
): AsyncGenerator<Uint8Array> {
  const edit = editOf?.(info.name);
  const columns = info.shape.at(-1)!;
  const rowCount = info.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const rowBytes = info.sizeBytes / rowCount;
  const chunkRows = Math.max(1, Math.floor(chunkElements / columns));
  for (let from = 0; from < rowCount; from += chunkRows) {
    await new Promise((done) => setImmediate(done));
    signal?.throwIfAborted();
    const rows = Math.min(chunkRows, rowCount - from);
    const bytes = new Uint8Array(rows * rowBytes);
    file.readInto(info.name, bytes, from * rowBytes);
    if (to === info.type && edit === undefined) {
      yield bytes;
      continue;
    }
    const values = readable(info, bytes, rows, columns);
    edit?.(values, from);
    const bad = values.findIndex((value) => !Number.isFinite(value)); // ggml's quantizers take no such value
    if (bad >= 0) throw new FormatError(file.path, `${info.name} has the value ${values[bad]} in row ${from + Math.floor(bad / columns)}`);
    yield quantizeRows(tensorTypes[to].id, values, rows, columns);
  }
  file.checkUnchanged();
}

function readable(info: TensorInfo, bytes: Uint8Array, rows: number, columns: number): Float32Array {
  try {
    return toFloat(info.type, bytes, rows, columns);
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    throw new UnsupportedError(`${info.name} has type ${info.type}, which can't be converted; name it in keep`, { cause: error });
  }
}
