import type { SkipRule } from "../../engine/index.ts";
import { integer, number } from "../method.ts";
import { defineSkip } from "./skip.ts";

/** What a row has decided so far. */
interface State {
  left: number;
  isSkipping: boolean;
}

/**
 * Skips feed-forward halves where the one before hardly turned the residual stream. Calibration marks the blocks whose halves the model
 * misses most as cold: they always run (the paper goes by the mean cosine, which says little about that here: docs/skipping.md). In each token's pass, once the cosine of one that is not cold reaches the threshold, the following ones that are
 * not cold are skipped, until the budget is spent. Attention always runs, so the cache has no holes.
 */
export const ffn = defineSkip({
  name: "ffn",
  summary: "feed-forward halves that hardly change the state, decided token by token",
  source: { title: "FFN-SkipLLM: A Hidden Gem for Autoregressive Decoding with Adaptive Feed Forward Skipping", arxiv: "2404.03865" },
  parameters: {
    budget: number({ min: 0, max: 0.5, default: 0.25, doc: "share of the feed-forward halves that a token may skip; 0 skips none" }),
    threshold: number({ min: 0, max: 1, default: 0.96, doc: "cosine before and after a half from which the next ones are skipped" }),
    warmup: integer({ min: 0, default: 0, doc: "tokens of the answer that run in full first" }),
  },
  example: { budget: 0.5, threshold: 0 },
  neutral: { budget: 0 },
  needs: ["blocks"],
  create: ({ budget, threshold, warmup }) => ({
    name: "ffn",
    async start({ blocks, promptLength, prices }) {
      const most = Math.round(budget * blocks);
      if (most === 0) return { blocksAt: () => undefined };
      const warm = warmBlocks(await prices(), most);
      const rule: SkipRule = {
        name: "ffn",
        decides: warm.map((block) => `blocks.${block}.ffn`),
        start: (position): State => ({ left: position < promptLength + warmup ? 0 : most, isSkipping: false }),
        next(state, block, _half, { ffnCosine }) {
          const own = state as State;
          const before = warm[warm.indexOf(block) - 1];
          own.isSkipping ||= before !== undefined && (ffnCosine[before] ?? -1) >= threshold;
          if (!own.isSkipping || own.left === 0) return "run";
          own.left -= 1;
          return "skip";
        },
      };
      const because = "the model misses their feed-forward halves least";
      return { blocksAt: () => rule, choices: [{ what: "skip", chosen: `may skip in blocks ${warm.join(", ")}`, because }] };
    },
  }),
});

/** A third more blocks than the budget, those with the lowest prices, in the order of the pass. The first and the last block are cold. */
export function warmBlocks(prices: readonly number[], budget: number): number[] {
  const inner = [...prices.keys()].slice(1, -1);
  const ranked = inner.sort((a, b) => prices[a]! - prices[b]! || a - b);
  return ranked.slice(0, Math.ceil((budget * 4) / 3)).sort((a, b) => a - b);
}
