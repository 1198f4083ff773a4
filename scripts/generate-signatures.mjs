// Writes src/ggml/signatures.ts: the native functions we call, with their C types, read from the headers of the pinned build.
// Usage: node scripts/generate-signatures.mjs LLAMA_CPP_CHECKOUT   (the commit named in src/ggml/pin.ts)
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const checkout = process.argv[2];
if (!checkout) throw new Error("usage: node scripts/generate-signatures.mjs LLAMA_CPP_CHECKOUT");

/** What we call, by the library which exports it. CPU functions are fetched by name from the backend's registry. */
const wanted = {
  base: `ggml_version ggml_commit ggml_init ggml_free ggml_used_mem ggml_tensor_overhead ggml_graph_overhead_custom ggml_new_tensor
    ggml_new_graph_custom ggml_build_forward_expand ggml_graph_add_node ggml_graph_clear ggml_graph_node ggml_graph_n_nodes
    ggml_set_input ggml_set_output ggml_type_name ggml_op_name ggml_type_size ggml_blck_size ggml_row_size ggml_nbytes
    ggml_quantize_chunk ggml_quantize_requires_imatrix ggml_log_set ggml_set_abort_callback ggml_get_type_traits
    ggml_add ggml_sub ggml_mul ggml_div ggml_sqr ggml_sqrt ggml_log ggml_exp ggml_sin ggml_cos ggml_abs ggml_neg ggml_step ggml_sgn
    ggml_relu ggml_gelu ggml_gelu_erf ggml_gelu_quick ggml_silu ggml_tanh ggml_sigmoid ggml_softplus ggml_elu
    ggml_sum ggml_sum_rows ggml_mean ggml_argmax ggml_repeat_4d ggml_concat ggml_norm ggml_rms_norm ggml_l2_norm ggml_mul_mat ggml_mul_mat_id ggml_out_prod
    ggml_scale_bias ggml_cpy ggml_cast ggml_cont_4d ggml_reshape_4d ggml_view_4d ggml_permute ggml_get_rows ggml_set_rows
    ggml_soft_max_ext ggml_rope_ext ggml_rope_ext_back ggml_clamp ggml_flash_attn_ext ggml_prec_set_acc ggml_top_k
    ggml_swiglu_split ggml_geglu_split ggml_reglu_split ggml_cumsum ggml_im2col ggml_pad ggml_pad_ext ggml_get_rows_back
    ggml_gallocr_new ggml_gallocr_free ggml_gallocr_alloc_graph ggml_gallocr_get_buffer_size
    ggml_backend_buft_name ggml_backend_buft_alloc_buffer ggml_backend_buft_get_alignment ggml_backend_buft_get_alloc_size
    ggml_backend_buft_is_host ggml_backend_buffer_free ggml_backend_buffer_get_base ggml_backend_buffer_get_size
    ggml_backend_buffer_clear ggml_backend_buffer_set_usage ggml_backend_free ggml_backend_name ggml_backend_tensor_set ggml_backend_tensor_get
    ggml_backend_tensor_alloc ggml_backend_graph_compute ggml_backend_dev_name ggml_backend_dev_description
    ggml_backend_dev_memory ggml_backend_dev_type ggml_backend_dev_init ggml_backend_dev_buffer_type ggml_backend_dev_supports_op
    ggml_backend_dev_backend_reg ggml_backend_reg_get_proc_address ggml_backend_reg_name`,
  registry: "ggml_backend_load_all_from_path ggml_backend_dev_count ggml_backend_dev_get ggml_backend_dev_by_type",
  cpu: `ggml_backend_cpu_set_threadpool ggml_backend_cpu_set_use_ref ggml_threadpool_new ggml_threadpool_free
    ggml_backend_cpu_set_n_threads ggml_backend_cpu_set_abort_callback ggml_backend_dev_get_extra_bufts ggml_backend_get_features`,
  llama: `llama_backend_init llama_log_set llama_model_default_params llama_context_default_params llama_model_load_from_file llama_model_free
    llama_model_get_vocab llama_init_from_model llama_free llama_decode llama_batch_init llama_batch_free llama_get_logits_ith llama_get_logits
    llama_get_embeddings llama_get_memory llama_memory_clear llama_memory_seq_rm llama_set_n_threads llama_attach_threadpool
    llama_vocab_n_tokens llama_vocab_bos llama_vocab_eos llama_vocab_get_add_bos llama_vocab_is_eog llama_vocab_get_attr
    llama_tokenize llama_token_to_piece llama_detokenize llama_model_meta_val_str
    llama_adapter_lora_init llama_adapter_lora_free llama_set_adapters_lora`,
};
const headers = [
  "ggml/include/ggml.h",
  "ggml/include/ggml-alloc.h",
  "ggml/include/ggml-backend.h",
  "ggml/include/ggml-cpu.h",
  "include/llama.h",
];

/** Structs passed or returned by value: our names for them, declared in src/ggml/structs.ts. */
const byValue = {
  ggml_init_params: "InitParams",
  llama_model_params: "ModelParams",
  llama_context_params: "ContextParams",
  llama_batch: "Batch",
};
const enums = new Set();
const callbacks = new Set(["ggml_abort_callback", "ggml_abort_callback_t", "ggml_log_callback"]);
/** typedef struct x * x_t; and plain opaque pointers */
const handles = new Map(
  Object.entries({
    ggml_backend_t: "ggml_backend",
    ggml_backend_dev_t: "ggml_backend_device",
    ggml_backend_reg_t: "ggml_backend_reg",
    ggml_backend_buffer_t: "ggml_backend_buffer",
    ggml_backend_buffer_type_t: "ggml_backend_buffer_type",
    ggml_gallocr_t: "ggml_gallocr",
    ggml_threadpool_t: "ggml_threadpool",
    llama_memory_t: "llama_memory_i",
  }),
);
const scalars = {
  void: ["void", "void"],
  bool: ["bool", "boolean"],
  int: ["int", "number"],
  int32_t: ["int32_t", "number"],
  uint32_t: ["uint32_t", "number"],
  int64_t: ["int64_t", "number"],
  size_t: ["size_t", "number"],
  float: ["float", "number"],
  double: ["double", "number"],
  uint8_t: ["uint8_t", "number"],
  llama_token: ["int32_t", "number"],
  llama_pos: ["int32_t", "number"],
  llama_seq_id: ["int32_t", "number"],
};

const text = headers
  .map((name) => readFileSync(join(checkout, name), "utf8"))
  .join("\n")
  .replace(/\/\*[\s\S]*?\*\//g, "")
  .replace(/\/\/[^\n]*/g, "")
  .replace(/^\s*#(?:[^\n\\]|\\\n)*/gm, "");
for (const match of text.matchAll(/enum\s+(\w+)\s*\{/g)) enums.add(match[1]);

/** C type -> [koffi type, TypeScript type] */
function mapType(c, position) {
  const bare = c
    .replace(/\bconst\b/g, "")
    .replace(/\bstruct\b/g, "")
    .replace(/\benum\b/g, "")
    .replace(/\s+/g, " ")
    .trim();
  const stars = (bare.match(/\*/g) ?? []).length;
  const name = bare.replace(/[*\s]/g, "");
  if (stars === 0) {
    if (scalars[name]) return scalars[name];
    if (enums.has(name)) return ["int", "number"];
    if (callbacks.has(name)) return ["void *", 'Pointer<"function"> | null'];
    if (handles.has(name)) return ["void *", `Pointer<"${handles.get(name)}">`];
    if (byValue[name]) return [byValue[name], byValue[name]];
  } else if (stars === 1) {
    if (name === "char") {
      if (position === "return") return ["const char *", "string | null"];
      // a text with its length beside it may hold NUL: it goes as bytes; names and paths go as strings
      return /\bconst\b/.test(c) && position !== "text" ? ["const char *", "string"] : ["void *", "Uint8Array"];
    }
    if (name === "void" || scalars[name] || handles.has(name)) return ["void *", position === "return" ? 'Pointer<"memory">' : "Memory"];
    return ["void *", `Pointer<"${name}">`];
  } else if (stars === 2 && position !== "return") return ["void *", "Memory"]; // a list of pointers
  throw new Error(`no mapping for C type "${c}"`);
}

const lines = [];
const types = [];
for (const [library, names] of Object.entries(wanted)) {
  for (const name of names.trim().split(/\s+/)) {
    // declaration: [API macro] type name(args);  (attributes may follow)
    let match = text.match(
      new RegExp(
        `(?:^|[;}\\n])\\s*(?:GGML_API|GGML_BACKEND_API|LLAMA_API|DEPRECATED\\()?\\s*([\\w\\s*]+?)\\b${name}\\s*\\(([^)]*)\\)`,
        "m",
      ),
    );
    // functions handed out by name only: typedef type (*name_t)(args);
    match ??= text.match(new RegExp(`typedef\\s+([\\w\\s*]+?)\\(\\*${name}_t\\)\\(([^)]*)\\)`));
    if (!match) throw new Error(`${name}: not declared in the headers`);
    const result = mapType(match[1].replace(/GGML_API|LLAMA_API|GGML_BACKEND_API|extern/g, ""), "return");
    const params = match[2].trim();
    const args =
      params === "void" || params === ""
        ? []
        : params.split(",").map((param) => {
            const cleaned = param.trim().replace(/\s+/g, " ");
            const parts = cleaned.match(/^(.*?)(\w+)(\[\w*\])?$/);
            return { name: parts[2], type: mapType(parts[1] + (parts[3] ? "*" : ""), parts[2]) };
          });
    lines.push(`  ${name}: ["${library}", "${result[0]}", [${args.map((a) => `"${a.type[0]}"`).join(", ")}]],`);
    const nullable =
      /^(ggml_soft_max_ext|ggml_rope_ext|ggml_rope_ext_back|ggml_flash_attn_ext|ggml_quantize_chunk|ggml_log_set|llama_log_set|ggml_backend_dev_init|ggml_backend_cpu_set_threadpool|ggml_backend_cpu_set_abort_callback)$/.test(
        name,
      );
    const typed = args.map(
      (a) =>
        `${a.name === "type" || a.name === "new" || a.name === "default" ? `${a.name}_` : a.name}: ${a.type[1]}${nullable && a.type[1].startsWith("Pointer<") && !a.type[1].includes("null") ? " | null" : nullable && (a.type[1] === "Memory" || a.type[1].startsWith("string")) ? " | null" : ""}`,
    );
    types.push(`  ${name}(${typed.join(", ")}): ${result[1]};`);
  }
}

writeFileSync(
  new URL("../src/ggml/signatures.ts", import.meta.url),
  `// Generated by scripts/generate-signatures.mjs from the headers of the pinned build. Do not edit.
import type { Memory, Pointer } from "./pointer.ts";
import type { Batch, ContextParams, InitParams, ModelParams } from "./structs.ts";

/** name -> [library, result type, argument types], in koffi's words. */
export const signatures = {
${lines.join("\n")}
} as const;

/** The native functions as TypeScript sees them. Sizes and 64-bit integers are plain numbers: callers check that they are safe integers. */
export interface NativeFunctions {
${types.join("\n")}
}
`,
);
