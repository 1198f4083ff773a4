import { OptionError } from "../errors.ts";
import { familyOf } from "../models/index.ts";
import type { Shape } from "../tensor/index.ts";
import type { BpeVocabulary } from "../tokenizer/index.ts";
import { type GgufFile, Metadata, type MetadataValue, StringArray, type TensorToWrite, writeGguf } from "../weights/index.ts";
import { normal } from "./random.ts";

/** A llama-shaped model. Defaults: the head's width 32, a feed-forward of 8/3 of the width in whole 32s, input and output embedding shared. */
export interface ModelShape {
  readonly hiddenSize: number;
  readonly blocks: number;
  readonly heads: number;
  /** Key and value heads; default as many as heads. */
  readonly kvHeads?: number;
  readonly feedForward?: number;
  readonly contextLength: number;
}

/** @throws OptionError for a shape that no model can have */
function checkedShape(shape: ModelShape): Required<ModelShape> {
  const { hiddenSize, heads } = shape;
  const full = { kvHeads: heads, feedForward: Math.ceil((hiddenSize * 8) / 3 / 32) * 32, ...shape };
  for (const [name, value] of Object.entries(full))
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 20)
      throw new OptionError(name, `must be a whole number in [1, ${2 ** 20}], got ${value}`);
  if (hiddenSize % heads !== 0 || (hiddenSize / heads) % 2 !== 0)
    throw new OptionError("heads", `${heads} heads must divide the hidden size ${hiddenSize} into even widths`);
  if (heads % full.kvHeads !== 0) throw new OptionError("kvHeads", `${full.kvHeads} must divide the ${heads} heads`);
  return full;
}

/** Tokenizer metadata for a vocabulary we trained, with the first special token as end of text. */
export function vocabularyMetadata({ tokens, merges, specialTokens }: BpeVocabulary): [string, MetadataValue][] {
  const types = Int32Array.from(tokens, (_, id) => (id < specialTokens.length ? 3 : 1)); // control, normal
  return [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: StringArray.from(tokens) }],
    ["tokenizer.ggml.token_type", { type: "array", of: "int32", value: types }],
    ["tokenizer.ggml.merges", { type: "array", of: "string", value: StringArray.from(merges) }],
    ["tokenizer.ggml.bos_token_id", { type: "uint32", value: 0 }],
    ["tokenizer.ggml.eos_token_id", { type: "uint32", value: 0 }],
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: true }],
  ];
}

/** The tokenizer of a model file, for a model of another shape over the same tokens. */
export const vocabularyOf = ({ metadata }: GgufFile): [string, MetadataValue][] =>
  [...metadata].filter(([key]) => key.startsWith("tokenizer."));

/**
 * Writes a llama-shaped model with random f32 weights: normal with a deviation of 0.02, and of 0.02 / √(2 · blocks) where a matrix writes to the
 * residual stream; norms are 1. Training starts from this file like from any other.
 *
 * @see Radford et al. 2019 for the initialization
 */
export async function writeRandomModel(
  path: string,
  options: {
    readonly name: string;
    readonly shape: ModelShape;
    readonly tokenizer: readonly (readonly [string, MetadataValue])[];
    readonly seed: number;
    /** Values to begin with in place of random ones, by tensor. */
    readonly initial?: (tensor: string, shape: Shape) => Float32Array | undefined;
  },
): Promise<void> {
  const { name, seed, initial } = options;
  const { hiddenSize, blocks, heads, kvHeads, feedForward, contextLength } = checkedShape(options.shape);
  const u32 = (value: number): MetadataValue => ({ type: "uint32", value });
  const entries: (readonly [string, MetadataValue])[] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["general.name", { type: "string", value: name }],
    ["llama.context_length", u32(contextLength)],
    ["llama.embedding_length", u32(hiddenSize)],
    ["llama.block_count", u32(blocks)],
    ["llama.feed_forward_length", u32(feedForward)],
    ["llama.attention.head_count", u32(heads)],
    ["llama.attention.head_count_kv", u32(kvHeads)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "float32", value: 1e-5 }],
    ["llama.rope.dimension_count", u32(hiddenSize / heads)],
    ["llama.rope.freq_base", { type: "float32", value: 10_000 }],
    ...options.tokenizer,
  ];
  const metadata = new Metadata(path, entries);
  const vocabSize = metadata.requireStrings("tokenizer.ggml.tokens").length;
  entries.push(["llama.vocab_size", u32(vocabSize)]);
  const tensors: TensorToWrite[] = [];
  const add = (tensor: string, shape: Shape, deviation: number | undefined) => {
    const stream = tensors.length;
    const count = shape.reduce((product, length) => product * length, 1);
    const drawn = () =>
      Float32Array.from({ length: count }, (_, i) => (deviation === undefined ? 1 : deviation * normal(seed, "weights", stream, i)));
    const data = () => {
      const { buffer, byteOffset, byteLength } = initial?.(tensor, shape) ?? drawn();
      return [new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)];
    };
    tensors.push({ name: tensor, type: "f32", shape, data });
  };
  const residual = 0.02 / Math.sqrt(2 * blocks);
  const kvSize = (hiddenSize / heads) * kvHeads;
  add("token_embd.weight", [vocabSize, hiddenSize], 0.02);
  add("output_norm.weight", [hiddenSize], undefined);
  for (let block = 0; block < blocks; block += 1) {
    const at = `blk.${block}`;
    add(`${at}.attn_norm.weight`, [hiddenSize], undefined);
    add(`${at}.attn_q.weight`, [hiddenSize, hiddenSize], 0.02);
    add(`${at}.attn_k.weight`, [kvSize, hiddenSize], 0.02);
    add(`${at}.attn_v.weight`, [kvSize, hiddenSize], 0.02);
    add(`${at}.attn_output.weight`, [hiddenSize, hiddenSize], residual);
    add(`${at}.ffn_norm.weight`, [hiddenSize], undefined);
    add(`${at}.ffn_gate.weight`, [feedForward, hiddenSize], 0.02);
    add(`${at}.ffn_up.weight`, [feedForward, hiddenSize], 0.02);
    add(`${at}.ffn_down.weight`, [hiddenSize, feedForward], residual);
  }
  familyOf("llama").configure(metadata);
  await writeGguf(path, { metadata: entries, tensors });
}
