import type { SkipRule } from "../../engine/index.ts";
import { integer, number } from "../method.ts";
import { defineSkip, planWithout } from "./skip.ts";

/** Undefined where the row runs in full. */
type State = { isSkipping: boolean } | undefined;

/**
 * Skips feed-forward halves where the one before hardly turned the residual stream. As many as the budget are marked, those that the model
 * does best without (the paper goes by the mean cosine, which says little about that here: docs/skipping.md); all others are cold and always
 * run. In each token's pass, once the cosine of the half before a marked one reaches the threshold, that one and the marked ones that follow
 * are skipped. Attention always runs, so the cache has no holes.
 */
export const ffn = defineSkip({
  name: "ffn",
  summary: "feed-forward halves that hardly change the state, decided token by token",
  source: { title: "FFN-SkipLLM: A Hidden Gem for Autoregressive Decoding with Adaptive Feed Forward Skipping", arxiv: "2404.03865" },
  parameters: {
    budget: number({ min: 0, max: 0.5, default: 0.25, doc: "share of the feed-forward halves that a token may skip; 0 skips none" }),
    threshold: number({
      ...{ min: 0, max: 1, default: 0.96 },
      doc: "cosine before and after a half from which the marked ones that follow are skipped; 0: whatever it is, which is faster",
    }),
    warmup: integer({ min: 0, default: 0, doc: "tokens of the answer that run in full first" }),
  },
  example: { budget: 0.5, threshold: 0 },
  neutral: { budget: 0 },
  needs: ["blocks"],
  create: ({ budget, threshold, warmup }) => ({
    name: "ffn",
    async start({ blocks, promptLength, order }) {
      const most = Math.round(budget * blocks);
      if (most === 0) return { blocksAt: () => undefined };
      const marked = (await order("ffn")).slice(0, most);
      const from = promptLength + warmup;
      const rule: SkipRule = {
        name: "ffn",
        decides: marked.map((block) => `blocks.${block}.ffn`),
        start: (position): State => (position < from ? undefined : { isSkipping: threshold === 0 }),
        next(state, block, _half, { ffnCosine }) {
          const own = state as State;
          if (own === undefined) return "run";
          own.isSkipping ||= ffnCosine[block - 1]! >= threshold;
          return own.isSkipping ? "skip" : "run";
        },
      };
      const always = planWithout(marked, "ffn"); // a pass that needs no decision isn't cut
      const because = "the model does best without them";
      return {
        blocksAt: (position) => (threshold === 0 && position >= from ? always : rule),
        choices: [{ what: "skip", chosen: `may skip in blocks ${[...marked].sort((a, b) => a - b).join(", ")}`, because }],
      };
    },
  }),
});
