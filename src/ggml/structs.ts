import koffi from "koffi";
import type { Pointer, TensorPointer } from "./pointer.ts";

/** ggml_init_params */
export interface InitParams {
  mem_size: number;
  mem_buffer: Pointer<"memory"> | null;
  no_alloc: boolean;
}

/** llama_model_params */
export type ModelParams = Record<string, unknown> & {
  n_gpu_layers: number;
  vocab_only: boolean;
  use_extra_bufts: boolean;
  load_mode: number;
};

/** llama_context_params */
export type ContextParams = Record<string, unknown> & {
  n_ctx: number;
  n_batch: number;
  n_ubatch: number;
  n_seq_max: number;
  n_threads: number;
  n_threads_batch: number;
  flash_attn_type: number;
  type_k: number;
  type_v: number;
  no_perf: boolean;
  swa_full: boolean;
  kv_unified: boolean;
};

/** llama_batch */
export interface Batch {
  n_tokens: number;
  token: Pointer<"memory"> | null;
  embd: Pointer<"memory"> | null;
  pos: Pointer<"memory"> | null;
  n_seq_id: Pointer<"memory"> | null;
  seq_id: Pointer<"memory"> | null;
  logits: Pointer<"memory"> | null;
}

/** Declares the structs that cross the border by value, field by field as in the pinned headers. Sizes are checked by the handshake. */
export const structs = {
  InitParams: koffi.struct("InitParams", { mem_size: "size_t", mem_buffer: "void *", no_alloc: "bool" }),
  ThreadpoolParams: koffi.struct("ThreadpoolParams", {
    cpumask: koffi.array("bool", 512),
    n_threads: "int",
    prio: "int",
    poll: "uint32_t",
    strict_cpu: "bool",
    paused: "bool",
  }),
  ModelParams: koffi.struct("ModelParams", {
    devices: "void *",
    tensor_buft_overrides: "void *",
    n_gpu_layers: "int32_t",
    split_mode: "int",
    load_mode: "int",
    lazy_mode: "int",
    main_gpu: "int32_t",
    tensor_split: "void *",
    progress_callback: "void *",
    progress_callback_user_data: "void *",
    kv_overrides: "void *",
    vocab_only: "bool",
    check_tensors: "bool",
    use_extra_bufts: "bool",
    no_host: "bool",
    no_alloc: "bool",
    load_mtp: "bool",
  }),
  ContextParams: koffi.struct("ContextParams", {
    n_ctx: "uint32_t",
    n_batch: "uint32_t",
    n_ubatch: "uint32_t",
    n_seq_max: "uint32_t",
    n_rs_seq: "uint32_t",
    n_outputs_max: "uint32_t",
    n_outputs_max_per_seq: "uint32_t",
    n_threads: "int32_t",
    n_threads_batch: "int32_t",
    ctx_type: "int",
    rope_scaling_type: "int",
    pooling_type: "int",
    attention_type: "int",
    flash_attn_type: "int",
    rope_freq_base: "float",
    rope_freq_scale: "float",
    yarn_ext_factor: "float",
    yarn_attn_factor: "float",
    yarn_beta_fast: "float",
    yarn_beta_slow: "float",
    yarn_orig_ctx: "uint32_t",
    defrag_thold: "float",
    cb_eval: "void *",
    cb_eval_user_data: "void *",
    type_k: "int",
    type_v: "int",
    abort_callback: "void *",
    abort_callback_data: "void *",
    embeddings: "bool",
    offload_kqv: "bool",
    no_perf: "bool",
    op_offload: "bool",
    swa_full: "bool",
    kv_unified: "bool",
    samplers: "void *",
    n_samplers: "size_t",
    ctx_other: "void *",
  }),
  Batch: koffi.struct("Batch", {
    n_tokens: "int32_t",
    token: "void *",
    embd: "void *",
    pos: "void *",
    n_seq_id: "void *",
    seq_id: "void *",
    logits: "void *",
  }),
};

/** Sizes in bytes that the pinned headers give, measured with a C compiler. */
export const structSizes = { InitParams: 24, ThreadpoolParams: 528, ModelParams: 80, ContextParams: 160, Batch: 56 } as const;

/** Byte offsets of the fields of ggml_tensor that we read or patch. */
export const tensorLayout = { type: 0, buffer: 8, ne: 16, nb: 48, op: 80, data: 248 } as const;

/** Byte offset of `to_float` in ggml_type_traits. */
export const typeTraitsToFloat = 40;

/** Reads a tensor's header: strides in bytes, innermost first, and the address of its data (0n before it has a place). */
export function readTensorHeader(tensor: TensorPointer): { strides: [number, number, number, number]; data: bigint } {
  const header = new BigUint64Array(koffi.view(tensor + BigInt(tensorLayout.nb), tensorLayout.data - tensorLayout.nb + 8));
  const strides = [header[0], header[1], header[2], header[3]].map(Number) as [number, number, number, number];
  return { strides, data: header[(tensorLayout.data - tensorLayout.nb) / 8]! };
}

/** The field of a tensor's header that holds the address of its data, as a view one can write. */
export function dataField(tensor: TensorPointer): BigUint64Array {
  return new BigUint64Array(koffi.view(tensor + BigInt(tensorLayout.data), 8));
}

/** The field of a tensor's header that names its buffer. */
export function bufferField(tensor: TensorPointer): BigUint64Array {
  return new BigUint64Array(koffi.view(tensor + BigInt(tensorLayout.buffer), 8));
}
