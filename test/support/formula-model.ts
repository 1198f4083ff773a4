import { type MetadataValue, type TensorToWrite, writeGguf } from "../../src/weights/index.ts";

/** Sizes of the model that the PyTorch fixtures build from the same formula. */
export const formulaShape = {
  vocabSize: 64,
  hiddenSize: 32,
  blocks: 2,
  heads: 4,
  kvHeads: 2,
  feedForward: 48,
} as const;

/**
 * A float32 llama whose weights are a formula of their order and place, so that a script in another language makes the same.
 * @param options.rotary  whether the reference rotates a head's halves, as Hugging Face does, and not its pairs: q and k are put in pairs then
 */
export async function writeFormulaModel(path: string, { rotary }: { rotary: "halves" | "pairs" }): Promise<void> {
  const { vocabSize: V, hiddenSize: C, blocks, heads: H, kvHeads: K, feedForward: FF } = formulaShape;
  const tensors: TensorToWrite[] = [];
  const add = (name: string, rows: number, columns?: number, heads?: number): void => {
    const values = formula(tensors.length, rows, columns);
    const turned = heads === undefined || rotary === "pairs" ? values : byPairs(values, heads, columns!);
    tensors.push({
      name,
      type: "f32",
      shape: columns === undefined ? [rows] : [rows, columns],
      data: () => [new Uint8Array(turned.buffer)],
    });
  };
  add("token_embd.weight", V, C);
  add("output_norm.weight", C);
  for (let block = 0; block < blocks; block += 1) {
    const name = (part: string) => `blk.${block}.${part}.weight`;
    add(name("attn_norm"), C);
    add(name("attn_q"), C, C, H);
    add(name("attn_k"), (K * C) / H, C, K);
    add(name("attn_v"), (K * C) / H, C);
    add(name("attn_output"), C, C);
    add(name("ffn_norm"), C);
    add(name("ffn_gate"), FF, C);
    add(name("ffn_up"), FF, C);
    add(name("ffn_down"), C, FF);
  }
  const u32 = (value: number): MetadataValue => ({ type: "uint32", value });
  const metadata: [string, MetadataValue][] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["llama.vocab_size", u32(V)],
    ["llama.context_length", u32(64)],
    ["llama.embedding_length", u32(C)],
    ["llama.block_count", u32(blocks)],
    ["llama.feed_forward_length", u32(FF)],
    ["llama.attention.head_count", u32(H)],
    ["llama.attention.head_count_kv", u32(K)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "float32", value: 1e-5 }],
    ["llama.rope.dimension_count", u32(C / H)],
    ["llama.rope.freq_base", { type: "float32", value: 10_000 }],
  ];
  await writeGguf(path, { metadata, tensors });
}

/** Values of the weight that has this number, as every fixture's script computes them. */
export function formula(index: number, rows: number, columns?: number): Float32Array {
  const count = rows * (columns ?? 1);
  return Float32Array.from({ length: count }, (_, i) =>
    columns === undefined
      ? 1 + 0.1 * Math.sin(0.7 * i + index)
      : (Math.sin((1.3 * i * i) / count + 0.37 * i + index) * 1.2) / Math.sqrt(columns),
  );
}

/** Rows of a head from first members, then second ones, to pair by pair. */
function byPairs(values: Float32Array, heads: number, columns: number): Float32Array {
  const headDim = values.length / columns / heads;
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const inHead = row % headDim;
    return values[(row - inHead + (inHead % 2) * (headDim / 2) + Math.floor(inHead / 2)) * columns + column]!;
  });
}
