import { FormatError } from "../errors.ts";
import type { ModuleNames, Projection } from "../nn/index.ts";
import type { RopeAttributes, RopePairs, Shape, Tensor } from "../tensor/index.ts";
import type { Metadata } from "../weights/index.ts";

// Legend: T rows of a pass, H heads, K kv heads, D head dim, C hidden size, V vocabulary size.

/** Gives a checkpoint's tensors by name, as leaves of a graph. @throws FormatError where one is missing or has another shape */
export interface WeightSource {
  /** To be multiplied with or added. */
  get(name: string, shape: Shape): Tensor;
  find(name: string, shape: Shape): Tensor | undefined;
  /** To look rows up in. */
  table(name: string, shape: Shape): Tensor;
}

export interface AttentionShape {
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  /** How far back a row sees: positions p with row - p < slidingWindow; undefined sees everything. */
  readonly slidingWindow: number | undefined;
}

export interface ModelConfig {
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Context the model was trained on. */
  readonly contextLength: number;
  /** One entry per transformer block. */
  readonly blocks: readonly AttentionShape[];
}

/** What a family's mathematics may ask of the pass it runs in. */
export interface Pass {
  /** [T] i32 */
  readonly positions: Tensor;
  /**
   * A linear layer of a block, with whatever the pass adds to it (adapters).
   * @param x [T, C] -> [T, N]
   */
  linear(x: Tensor, layer: Projection): Tensor;
  /**
   * Writes keys and values to the cache and attends to what each row sees.
   * @param q [T, H, D]; k, v [T, K, D]
   * @returns [T, H·D]
   */
  attend(block: number, q: Tensor, k: Tensor, v: Tensor, options: { scale: number; softcap?: number }): Tensor;
}

/** One half of a block: what it adds to the residual stream [T, C]. */
export type HalfBlock = (x: Tensor, pass: Pass) => Tensor;

/** A model as mathematics. Residual additions, taps, skipping, exits and caching are the engine's: a family never sees them. */
export interface Transformer {
  readonly config: ModelConfig;
  /** ids [T] i32 -> [T, C], after the family's embedding scale */
  embed(ids: Tensor): Tensor;
  /** What is added to the embeddings before the first block (learned positions); default nothing. */
  position?(x: Tensor, pass: Pass): Tensor;
  readonly blocks: readonly { readonly attention: HalfBlock; readonly feedForward: HalfBlock }[];
  /** The final norm: [T, C] -> [T, C] */
  norm(x: Tensor): Tensor;
  /** [T, C] -> logits [T, V] */
  head(x: Tensor): Tensor;
}

/** An architecture family: reads a checkpoint's metadata, then builds the mathematics over its weights. */
export interface Family {
  readonly architecture: string;
  /** Where adapter files of Hugging Face's world find the layers. */
  readonly modules: ModuleNames;
  configure(metadata: Metadata): ModelConfig;
  build(metadata: Metadata, weights: WeightSource): Transformer;
}

/** The layers of llama-shaped checkpoints. `rotary` says whether rows of q and k stand in another order there. */
export function llamaModules(rotary: boolean): ModuleNames {
  const turned = (module: string, rotaryHeads: string) => (rotary ? { module, rotaryHeads } : { module });
  return {
    block: "model.layers.%",
    layers: {
      attn_q: turned("self_attn.q_proj", "attention.head_count"),
      attn_k: turned("self_attn.k_proj", "attention.head_count_kv"),
      attn_v: { module: "self_attn.v_proj" },
      attn_output: { module: "self_attn.o_proj" },
      ffn_gate: { module: "mlp.gate_proj" },
      ffn_up: { module: "mlp.up_proj" },
      ffn_down: { module: "mlp.down_proj" },
    },
    halves: { attn: "self_attn", ffn: "mlp" },
  };
}

/** Keys of one architecture: `key("block_count")` is `llama.block_count`. @throws FormatError for a missing or senseless number */
export function hyperparameters(metadata: Metadata, architecture: string) {
  const key = (name: string) => `${architecture}.${name}`;
  const optional = (name: string): number | undefined => metadata.getNumber(key(name));
  const check = (name: string, value: number, max: number): number => {
    if (!Number.isInteger(value) || value < 1 || value > max)
      throw new FormatError(metadata.file, `${key(name)} must be an integer in [1, ${max}], got ${value}`);
    return value;
  };
  return {
    key,
    optional,
    /** A positive integer. */
    count(name: string, fallback?: number, max = 2 ** 24): number {
      const value = optional(name) ?? fallback;
      if (value === undefined) throw new FormatError(metadata.file, `metadata has no ${key(name)}`);
      return check(name, value, max);
    },
    real(name: string, fallback?: number): number {
      const value = optional(name) ?? fallback;
      if (value === undefined) throw new FormatError(metadata.file, `metadata has no ${key(name)}`);
      if (!Number.isFinite(value)) throw new FormatError(metadata.file, `${key(name)} must be a finite number, got ${value}`);
      return value;
    },
  };
}

/** 1 / √headDim, each step rounded to float32 as the native engines do, so that scores have the same bits. */
export function attentionScale(features: number): number {
  return Math.fround(1 / Math.fround(Math.sqrt(features)));
}

/** What every decoder-only family reads the same way. @throws FormatError */
export function commonConfig(
  metadata: Metadata,
  architecture: string,
  slidingWindow: (block: number, numBlocks: number) => number | undefined = () => undefined,
) {
  const h = hyperparameters(metadata, architecture);
  const hiddenSize = h.count("embedding_length", undefined, 2 ** 17);
  const numBlocks = h.count("block_count", undefined, 1024);
  const numHeads = h.count("attention.head_count", undefined, 4096);
  const numKvHeads = h.count("attention.head_count_kv", numHeads, 4096);
  const headDim = h.count("attention.key_length", hiddenSize / numHeads, 1024);
  const valueDim = h.count("attention.value_length", headDim, 1024);
  if (valueDim !== headDim)
    throw new FormatError(metadata.file, `keys of ${headDim} and values of ${valueDim} features are not supported: they must be equal`);
  if (numHeads % numKvHeads !== 0) throw new FormatError(metadata.file, `${numHeads} heads can't share ${numKvHeads} key/value heads`);
  const vocabSize = metadata.getStrings("tokenizer.ggml.tokens")?.length ?? h.count("vocab_size");
  const blocks = Array.from({ length: numBlocks }, (_, block) => ({
    numHeads,
    numKvHeads,
    headDim,
    slidingWindow: slidingWindow(block, numBlocks),
  }));
  const config: ModelConfig = { architecture, vocabSize, hiddenSize, contextLength: h.count("context_length", undefined, 2 ** 26), blocks };
  return { config, hiddenSize, numBlocks, numHeads, numKvHeads, headDim, feedForward: h.count("feed_forward_length", undefined, 2 ** 20) };
}

/**
 * Rotary embedding as the metadata describes it: plain, linear scaling, or YaRN.
 * @throws FormatError for a scaling we lack
 * @see Peng et al. 2023 (YaRN), https://arxiv.org/abs/2309.00071
 */
export function ropeAttributes(metadata: Metadata, architecture: string, headDim: number, pairs: RopePairs, base?: number): RopeAttributes {
  const h = hyperparameters(metadata, architecture);
  const type = metadata.getString(h.key("rope.scaling.type")) ?? (h.optional("rope.scale_linear") === undefined ? "none" : "linear");
  if (!["none", "linear", "yarn"].includes(type))
    throw new FormatError(metadata.file, `rope scaling "${type}" is not supported; supported: none, linear, yarn`);
  const factor = type === "none" ? 1 : h.real("rope.scaling.factor", h.optional("rope.scale_linear") ?? 1);
  if (!(factor > 0)) throw new FormatError(metadata.file, `${h.key("rope.scaling.factor")} must be > 0, got ${factor}`);
  const dims = h.count("rope.dimension_count", headDim, headDim);
  if (dims % 2 !== 0) throw new FormatError(metadata.file, `${h.key("rope.dimension_count")} must be even, got ${dims}`);
  return {
    dims,
    pairs,
    base: base ?? h.real("rope.freq_base", 10_000),
    scale: 1 / factor,
    originalContext: h.count("rope.scaling.original_context_length", h.count("context_length")),
    extrapolation: type === "yarn" ? h.real("rope.scaling.yarn_ext_factor", 1) : 0,
    attentionFactor: h.real("rope.scaling.attn_factor", 1),
    betaFast: h.real("rope.scaling.yarn_beta_fast", 32),
    betaSlow: h.real("rope.scaling.yarn_beta_slow", 1),
  };
}
