import { norm, type Projection, project } from "../../nn/index.ts";
import { gather, glu, reshape, rope, type Tensor } from "../../tensor/index.ts";
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
 * Llama 2 and 3, Mistral, SmolLM2, TinyLlama, Vicuna.
 * @see Touvron et al. 2023, https://arxiv.org/abs/2302.13971; Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783
 */
export const llama: Family = {
  architecture: "llama",
  modules: llamaModules(true),
  configure: (metadata) => commonConfig(metadata, "llama").config,

  build(metadata: Metadata, weights: WeightSource): Transformer {
    const { config, hiddenSize, numBlocks, numHeads, numKvHeads, headDim, feedForward } = commonConfig(metadata, "llama");
    const h = hyperparameters(metadata, "llama");
    const eps = h.real("attention.layer_norm_rms_epsilon");
    const scale = h.optional("attention.scale") ?? attentionScale(headDim);
    const rotary = ropeAttributes(metadata, "llama", headDim, "neighbours");
    const factors = weights.find("rope_freqs.weight", [rotary.dims / 2]); // Llama 3's stretched frequencies

    const table = weights.table("token_embd.weight", [config.vocabSize, hiddenSize]);
    const output =
      weights.find("output.weight", [config.vocabSize, hiddenSize]) ?? weights.get("token_embd.weight", [config.vocabSize, hiddenSize]);
    const outputNorm = { weight: weights.get("output_norm.weight", [hiddenSize]), eps };
    const projection = (name: string, rows: number, columns: number): Projection => ({
      name,
      weight: weights.get(`${name}.weight`, [rows, columns]),
      bias: weights.find(`${name}.bias`, [rows]),
    });

    const blocks = Array.from({ length: numBlocks }, (_, index) => {
      const at = `blk.${index}`;
      const attentionNorm = { weight: weights.get(`${at}.attn_norm.weight`, [hiddenSize]), eps };
      const q = projection(`${at}.attn_q`, numHeads * headDim, hiddenSize);
      const k = projection(`${at}.attn_k`, numKvHeads * headDim, hiddenSize);
      const v = projection(`${at}.attn_v`, numKvHeads * headDim, hiddenSize);
      const o = projection(`${at}.attn_output`, hiddenSize, numHeads * headDim);
      const ffnNorm = { weight: weights.get(`${at}.ffn_norm.weight`, [hiddenSize]), eps };
      const gate = projection(`${at}.ffn_gate`, feedForward, hiddenSize);
      const up = projection(`${at}.ffn_up`, feedForward, hiddenSize);
      const down = projection(`${at}.ffn_down`, hiddenSize, feedForward);
      return {
        attention(x: Tensor, pass: Pass) {
          const h = norm(x, attentionNorm);
          const T = x.shape[0]!;
          const turn = (y: Tensor, heads: number) => rope(reshape(y, [T, heads, headDim]), pass.positions, rotary, factors); // [T, heads, D]
          const attended = pass.attend(
            index,
            turn(pass.linear(h, q), numHeads),
            turn(pass.linear(h, k), numKvHeads),
            reshape(pass.linear(h, v), [T, numKvHeads, headDim]),
            { scale },
          );
          return pass.linear(attended, o);
        },
        feedForward(x: Tensor, pass: Pass) {
          const h = norm(x, ffnNorm);
          return pass.linear(glu("silu", pass.linear(h, gate), pass.linear(h, up)), down);
        },
      };
    });

    return {
      config,
      embed: (ids) => gather(table, ids),
      blocks,
      norm: (x) => norm(x, outputNorm),
      head: (x) => project(x, { name: "output", weight: output }),
    };
  },
};
