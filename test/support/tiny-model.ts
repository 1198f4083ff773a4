import { loadNative, typeIds } from "../../src/ggml/index.ts";
import { type MetadataValue, type TensorToWrite, type TensorType, tensorBytes, writeGguf } from "../../src/weights/index.ts";

/** A small deterministic generator (mulberry32), so that a tiny model is the same on every machine. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

export type TinyArchitecture = "llama" | "qwen2" | "qwen3" | "gemma3" | "gpt2";

export interface TinyOptions {
  readonly architecture?: TinyArchitecture;
  /** Type of the matrices; norms and biases are float32. */
  readonly type?: TensorType;
  readonly vocabSize?: number;
  readonly hiddenSize?: number;
  readonly blocks?: number;
  readonly contextLength?: number;
  readonly seed?: number;
  readonly metadata?: Readonly<Record<string, MetadataValue>>;
}

/** Writes a checkpoint with random weights in real shapes, which libllama loads as well. */
export async function writeTinyModel(path: string, options: TinyOptions = {}): Promise<void> {
  const { architecture = "llama", type = "f32", vocabSize = 320, hiddenSize = 256, blocks = 3, contextLength = 1024, seed = 1 } = options;
  const heads = 4;
  const kvHeads = architecture === "gpt2" ? heads : 2;
  const headDim = hiddenSize / heads;
  const feedForward = hiddenSize * 2;
  const next = random(seed);
  const u32 = (value: number): MetadataValue => ({ type: "uint32", value });
  const f32 = (value: number): MetadataValue => ({ type: "float32", value });
  const eps = architecture === "gpt2" ? "layer_norm_epsilon" : "layer_norm_rms_epsilon";
  const metadata: [string, MetadataValue][] = [
    ["general.architecture", { type: "string", value: architecture }],
    ["general.name", { type: "string", value: `tiny random ${architecture}` }],
    [`${architecture}.vocab_size`, u32(vocabSize)],
    [`${architecture}.context_length`, u32(contextLength)],
    [`${architecture}.embedding_length`, u32(hiddenSize)],
    [`${architecture}.block_count`, u32(blocks)],
    [`${architecture}.feed_forward_length`, u32(feedForward)],
    [`${architecture}.attention.head_count`, u32(heads)],
    [`${architecture}.attention.head_count_kv`, u32(kvHeads)],
    [`${architecture}.attention.${eps}`, f32(1e-5)],
    ["tokenizer.ggml.model", { type: "string", value: "no_vocab" }],
  ];
  if (architecture !== "gpt2")
    metadata.push([`${architecture}.rope.dimension_count`, u32(headDim)], [`${architecture}.rope.freq_base`, f32(10_000)]);
  if (architecture === "gemma3") {
    metadata.push(
      ["gemma3.attention.sliding_window", u32(48)],
      ["gemma3.attention.key_length", u32(headDim)],
      ["gemma3.attention.value_length", u32(headDim)],
    );
  }
  for (const [key, value] of Object.entries(options.metadata ?? {})) {
    const at = metadata.findIndex(([known]) => known === key);
    if (at === -1) metadata.push([key, value]);
    else metadata[at] = [key, value];
  }

  const tensors: TensorToWrite[] = [];
  const add = (name: string, shape: number[], scale: number, offset = 0, as: TensorType = "f32") => {
    const columns = shape.at(-1)!;
    const count = shape.reduce((product, length) => product * length, 1);
    const values = Float32Array.from({ length: count }, () => offset + (next() + next() + next() - 1.5) * scale);
    tensors.push({ name, type: as, shape, data: () => [quantize(values, as, columns)] });
  };
  const matrix = (name: string, rows: number, columns: number) => add(name, [rows, columns], 2 / Math.sqrt(columns), 0, type);
  const norm = (name: string, length = hiddenSize) => add(name, [length], 0.3, 1);
  const bias = (name: string, length: number) => add(name, [length], 0.2);

  matrix("token_embd.weight", vocabSize, hiddenSize);
  if (architecture === "gpt2") add("position_embd.weight", [contextLength, hiddenSize], 0.3);
  norm("output_norm.weight");
  if (architecture === "gpt2") bias("output_norm.bias", hiddenSize);
  for (let block = 0; block < blocks; block += 1) {
    const at = `blk.${block}`;
    norm(`${at}.attn_norm.weight`);
    if (architecture === "gpt2") {
      bias(`${at}.attn_norm.bias`, hiddenSize);
      matrix(`${at}.attn_qkv.weight`, 3 * hiddenSize, hiddenSize);
      bias(`${at}.attn_qkv.bias`, 3 * hiddenSize);
    } else {
      matrix(`${at}.attn_q.weight`, heads * headDim, hiddenSize);
      matrix(`${at}.attn_k.weight`, kvHeads * headDim, hiddenSize);
      matrix(`${at}.attn_v.weight`, kvHeads * headDim, hiddenSize);
    }
    if (architecture === "qwen2") {
      bias(`${at}.attn_q.bias`, heads * headDim);
      bias(`${at}.attn_k.bias`, kvHeads * headDim);
      bias(`${at}.attn_v.bias`, kvHeads * headDim);
    }
    if (architecture === "qwen3" || architecture === "gemma3") {
      norm(`${at}.attn_q_norm.weight`, headDim);
      norm(`${at}.attn_k_norm.weight`, headDim);
    }
    matrix(`${at}.attn_output.weight`, hiddenSize, heads * headDim);
    if (architecture === "gpt2") bias(`${at}.attn_output.bias`, hiddenSize);
    if (architecture === "gemma3") norm(`${at}.post_attention_norm.weight`);
    norm(`${at}.ffn_norm.weight`);
    if (architecture === "gpt2") bias(`${at}.ffn_norm.bias`, hiddenSize);
    else matrix(`${at}.ffn_gate.weight`, feedForward, hiddenSize);
    matrix(`${at}.ffn_up.weight`, feedForward, hiddenSize);
    matrix(`${at}.ffn_down.weight`, hiddenSize, feedForward);
    if (architecture === "gpt2") {
      bias(`${at}.ffn_up.bias`, feedForward);
      bias(`${at}.ffn_down.bias`, hiddenSize);
    }
    if (architecture === "gemma3") norm(`${at}.post_ffw_norm.weight`);
  }
  await writeGguf(path, { metadata, tensors });
}

function quantize(values: Float32Array, type: TensorType, columns: number): Uint8Array {
  if (type === "f32") return new Uint8Array(values.buffer);
  const rows = values.length / columns;
  const bytes = new Uint8Array(tensorBytes(type, rows, columns));
  loadNative().ggml_quantize_chunk(typeIds[type], values, bytes, 0, rows, columns, null);
  return bytes;
}
