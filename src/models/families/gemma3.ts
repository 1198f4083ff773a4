import { FormatError } from "../../errors.ts";
import { norm, project } from "../../nn/index.ts";
import { affine, gather, glu, reshape, rope, type Tensor, unary } from "../../tensor/index.ts";
import type { Metadata } from "../../weights/index.ts";
import {
  attentionScale,
  commonConfig,
  type Family,
  hyperparameters,
  llamaModules,
  type Pass,
  ropeAttributes,
  type Transformer,
  type WeightSource,
} from "../model.ts";

/**
 * Gemma 3 (text): norms before and after each half, norms on q and k, five blocks with a sliding window to one without.
 * @see Gemma Team 2025, https://arxiv.org/abs/2503.19786
 */
export const gemma3: Family = {
  architecture: "gemma3",
  modules: llamaModules(false),
  configure: (metadata) => configure(metadata).config,

  build(metadata: Metadata, weights: WeightSource): Transformer {
    const { config, hiddenSize, numBlocks, numHeads, numKvHeads, headDim, feedForward } = configure(metadata);
    const h = hyperparameters(metadata, "gemma3");
    const eps = h.real("attention.layer_norm_rms_epsilon");
    const softcap = h.real("final_logit_softcapping", 0);
    // the 27B checkpoint scales by the width per head, all others by the head's features
    const scale = attentionScale(numBlocks === 62 ? hiddenSize / numHeads : headDim);
    const globalRope = ropeAttributes(metadata, "gemma3", headDim, "halves");
    const localRope = { ...globalRope, base: h.real("rope.freq_base_swa", 10_000), scale: 1, extrapolation: 0 };

    const table = weights.table("token_embd.weight", [config.vocabSize, hiddenSize]);
    const output =
      weights.find("output.weight", [config.vocabSize, hiddenSize]) ?? weights.get("token_embd.weight", [config.vocabSize, hiddenSize]);
    const normOf = (name: string, length = hiddenSize) => ({ weight: weights.get(`${name}.weight`, [length]), eps });
    const outputNorm = normOf("output_norm");

    const blocks = Array.from({ length: numBlocks }, (_, index) => {
      const at = `blk.${index}`;
      const projection = (name: string, rows: number, columns: number) => ({
        name: `${at}.${name}`,
        weight: weights.get(`${at}.${name}.weight`, [rows, columns]),
      });
      const rotary = config.blocks[index]!.slidingWindow === undefined ? globalRope : localRope;
      const attentionNorm = normOf(`${at}.attn_norm`);
      const q = projection("attn_q", numHeads * headDim, hiddenSize);
      const k = projection("attn_k", numKvHeads * headDim, hiddenSize);
      const v = projection("attn_v", numKvHeads * headDim, hiddenSize);
      const o = projection("attn_output", hiddenSize, numHeads * headDim);
      const qNorm = normOf(`${at}.attn_q_norm`, headDim);
      const kNorm = normOf(`${at}.attn_k_norm`, headDim);
      const postAttention = normOf(`${at}.post_attention_norm`);
      const ffnNorm = normOf(`${at}.ffn_norm`);
      const gate = projection("ffn_gate", feedForward, hiddenSize);
      const up = projection("ffn_up", feedForward, hiddenSize);
      const down = projection("ffn_down", hiddenSize, feedForward);
      const postFeedForward = normOf(`${at}.post_ffw_norm`);
      return {
        attention(x: Tensor, pass: Pass) {
          const T = x.shape[0]!;
          const h = norm(x, attentionNorm);
          const queries = rope(norm(reshape(pass.linear(h, q), [T, numHeads, headDim]), qNorm), pass.positions, rotary); // [T, H, D]
          const keys = rope(norm(reshape(pass.linear(h, k), [T, numKvHeads, headDim]), kNorm), pass.positions, rotary); // [T, K, D]
          const values = reshape(pass.linear(h, v), [T, numKvHeads, headDim]);
          const attended = pass.attend(index, affine(queries, scale), keys, values, { scale: 1 });
          return norm(pass.linear(attended, o), postAttention);
        },
        feedForward(x: Tensor, pass: Pass) {
          const h = norm(x, ffnNorm);
          return norm(pass.linear(glu("gelu", pass.linear(h, gate), pass.linear(h, up)), down), postFeedForward);
        },
      };
    });

    return {
      config,
      embed: (ids) => affine(gather(table, ids), Math.fround(Math.sqrt(hiddenSize))),
      blocks,
      norm: (x) => norm(x, outputNorm),
      head(x) {
        const logits = project(x, { name: "output", weight: output });
        return softcap > 0 ? affine(unary("tanh", affine(logits, 1 / softcap)), softcap) : logits;
      },
    };
  },
};

function configure(metadata: Metadata) {
  const h = hyperparameters(metadata, "gemma3");
  const window = h.optional("attention.sliding_window") ?? 0;
  if (!Number.isInteger(window) || window < 0)
    throw new FormatError(metadata.file, `gemma3.attention.sliding_window must be a whole number, got ${window}`);
  const entry = metadata.get("gemma3.attention.sliding_window_pattern"); // one flag per block, or a period
  const pattern = entry?.type === "array" && entry.of !== "string" ? entry.value : undefined;
  const period = pattern === undefined ? h.count("attention.sliding_window_pattern", 6) : 0;
  const isLocal = (block: number) => (pattern === undefined ? block % period < period - 1 : Boolean(pattern[block]));
  return commonConfig(metadata, "gemma3", (block) => (window > 0 && isLocal(block) ? window : undefined));
}
