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
 * Qwen 2 and 2.5 (biases on q, k, v) and Qwen 3 (norms on q and k per head).
 * @see Yang et al. 2024, https://arxiv.org/abs/2407.10671; Yang et al. 2025, https://arxiv.org/abs/2505.09388
 */
function qwen(architecture: "qwen2" | "qwen3"): Family {
  return {
    architecture,
    modules: llamaModules(false),
    configure: (metadata) => commonConfig(metadata, architecture).config,

    build(metadata: Metadata, weights: WeightSource): Transformer {
      const { config, hiddenSize, numBlocks, numHeads, numKvHeads, headDim, feedForward } = commonConfig(metadata, architecture);
      const eps = hyperparameters(metadata, architecture).real("attention.layer_norm_rms_epsilon");
      const scale = attentionScale(headDim);
      const rotary = ropeAttributes(metadata, architecture, headDim, "halves");

      const table = weights.table("token_embd.weight", [config.vocabSize, hiddenSize]);
      const output =
        weights.find("output.weight", [config.vocabSize, hiddenSize]) ?? weights.get("token_embd.weight", [config.vocabSize, hiddenSize]);
      const outputBias = weights.find("output.bias", [config.vocabSize]);
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
        const headNorm = (name: string) =>
          architecture === "qwen3" ? { weight: weights.get(`${at}.${name}.weight`, [headDim]), eps } : undefined;
        const qNorm = headNorm("attn_q_norm");
        const kNorm = headNorm("attn_k_norm");
        const ffnNorm = { weight: weights.get(`${at}.ffn_norm.weight`, [hiddenSize]), eps };
        const gate = projection(`${at}.ffn_gate`, feedForward, hiddenSize);
        const up = projection(`${at}.ffn_up`, feedForward, hiddenSize);
        const down = projection(`${at}.ffn_down`, hiddenSize, feedForward);
        return {
          attention(x: Tensor, pass: Pass) {
            const h = norm(x, attentionNorm);
            const T = x.shape[0]!;
            const turn = (y: Tensor, heads: number, perHead: typeof qNorm) => {
              const split = reshape(y, [T, heads, headDim]);
              return rope(perHead === undefined ? split : norm(split, perHead), pass.positions, rotary); // [T, heads, D]
            };
            const attended = pass.attend(
              index,
              turn(pass.linear(h, q), numHeads, qNorm),
              turn(pass.linear(h, k), numKvHeads, kNorm),
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
        head: (x) => project(x, { name: "output", weight: output, bias: outputBias }),
      };
    },
  };
}

export const qwen2 = qwen("qwen2");
export const qwen3 = qwen("qwen3");
