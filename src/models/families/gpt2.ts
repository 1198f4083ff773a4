import { norm, project } from "../../nn/index.ts";
import { add, gather, narrow, reshape, type Tensor, unary } from "../../tensor/index.ts";
import type { Metadata } from "../../weights/index.ts";
import { attentionScale, commonConfig, type Family, hyperparameters, type Pass, type Transformer, type WeightSource } from "../model.ts";

/**
 * GPT-2 and its relatives (mGPT): learned positions, layer normalization, one projection for q, k and v.
 * @see Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Shliazhko et al. 2022, https://arxiv.org/abs/2204.07580
 */
export const gpt2: Family = {
  architecture: "gpt2",
  modules: {
    block: "transformer.h.%",
    layers: {
      attn_qkv: { module: "attn.c_attn" },
      attn_output: { module: "attn.c_proj" },
      ffn_up: { module: "mlp.c_fc" },
      ffn_down: { module: "mlp.c_proj" },
    },
    halves: { attn: "attn", ffn: "mlp" },
  },
  configure: (metadata) => commonConfig(metadata, "gpt2").config,

  build(metadata: Metadata, weights: WeightSource): Transformer {
    const { config, hiddenSize, numBlocks, numHeads, numKvHeads, headDim, feedForward } = commonConfig(metadata, "gpt2");
    const eps = hyperparameters(metadata, "gpt2").real("attention.layer_norm_epsilon");
    const scale = attentionScale(headDim);
    const table = weights.table("token_embd.weight", [config.vocabSize, hiddenSize]);
    const positions = weights.table("position_embd.weight", [config.contextLength, hiddenSize]);
    const output =
      weights.find("output.weight", [config.vocabSize, hiddenSize]) ?? weights.get("token_embd.weight", [config.vocabSize, hiddenSize]);
    const normOf = (name: string) => ({
      weight: weights.get(`${name}.weight`, [hiddenSize]),
      bias: weights.get(`${name}.bias`, [hiddenSize]),
      eps,
    });
    const projection = (name: string, rows: number, columns: number) => ({
      name,
      weight: weights.get(`${name}.weight`, [rows, columns]),
      bias: weights.get(`${name}.bias`, [rows]),
    });
    const outputNorm = normOf("output_norm");

    const blocks = Array.from({ length: numBlocks }, (_, index) => {
      const at = `blk.${index}`;
      const attentionNorm = normOf(`${at}.attn_norm`);
      const qkv = projection(`${at}.attn_qkv`, (numHeads + 2 * numKvHeads) * headDim, hiddenSize);
      const o = projection(`${at}.attn_output`, hiddenSize, hiddenSize);
      const ffnNorm = normOf(`${at}.ffn_norm`);
      const up = projection(`${at}.ffn_up`, feedForward, hiddenSize);
      const down = projection(`${at}.ffn_down`, hiddenSize, feedForward);
      return {
        attention(x: Tensor, pass: Pass) {
          const T = x.shape[0]!;
          const joined = reshape(pass.linear(norm(x, attentionNorm), qkv), [T, numHeads + 2 * numKvHeads, headDim]);
          const q = narrow(joined, 1, 0, numHeads); // [T, H, D]
          const k = narrow(joined, 1, numHeads, numKvHeads); // [T, K, D]
          const v = narrow(joined, 1, numHeads + numKvHeads, numKvHeads);
          return pass.linear(pass.attend(index, q, k, v, { scale }), o);
        },
        feedForward: (x: Tensor, pass: Pass) => pass.linear(unary("gelu", pass.linear(norm(x, ffnNorm), up)), down),
      };
    });

    return {
      config,
      embed: (ids) => gather(table, ids),
      position: (x, pass) => add(x, gather(positions, pass.positions)),
      blocks,
      norm: (x) => norm(x, outputNorm),
      head: (x) => project(x, { name: "output", weight: output }),
    };
  },
};
