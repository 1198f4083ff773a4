import type { BlockPlan } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import { integer, number } from "../method.ts";
import { defineSkip, planWithout } from "./skip.ts";

/**
 * Every position has a number of blocks, the same for whatever stands there, and falling from the prompt on. Which ones are left out goes by
 * the order in which the model does best without them (the paper leaves out the lower middle): what is left out stays so, and a block that
 * runs finds all keys and values it reads. The lowest `first` blocks and the highest one always run.
 */
export const layers = defineSkip({
  name: "layers",
  summary: "fewer and fewer blocks along the answer, the same for every row",
  source: { title: "SkipDecode: Autoregressive Skip Decoding with Batching and Caching for Efficient LLM Inference", arxiv: "2307.02628" },
  parameters: {
    from: number({ min: 0, isMinOpen: true, max: 1, default: 1, doc: "share of the blocks that the first token of the answer runs" }),
    to: number({ min: 0, isMinOpen: true, max: 1, default: 0.75, doc: "share that the last token the answer may have runs" }),
    first: integer({ min: 1, default: 1, doc: "lowest blocks that always run" }),
  },
  example: { to: 0.5, first: 1 },
  neutral: { to: 1 },
  needs: ["blocks"],
  refuses: { draft: "rows of a verified draft would leave out different attention halves, which a pass decides for all rows of a request" },
  create({ from, to, first }) {
    if (to > from)
      throw new OptionError("skip", `layers: to (${to}) must not exceed from (${from}): a block that was left out can't be read later`);
    return {
      name: "layers",
      async start({ blocks, promptLength, maxLength, order }) {
        if (to === 1) return { blocksAt: () => undefined };
        const plans = new Map<number, BlockPlan | undefined>();
        const leftOut = (await order("block")).filter((block) => block >= first);
        const [fewest, asked] = [blocksOf({ blocks, from, to, first }, maxLength, 2), Math.round(to * blocks)];
        const choices = [];
        if (fewest !== asked) {
          const because = `the lowest ${first} (first) and the highest block always run, though to=${to} would leave ${asked}`;
          choices.push({ what: "skip", chosen: `no fewer than ${fewest} of ${blocks} blocks`, because });
        }
        if (fewest < blocks) {
          const chosen = `leaves out blocks ${leftOut.slice(0, blocks - fewest).join(", ")}, in this order`;
          choices.push({ what: "skip", chosen, because: "the model does best without them" });
        }
        return {
          choices,
          blocksAt(position) {
            const count = blocksOf({ blocks, from, to, first }, position - promptLength, maxLength - promptLength);
            if (!plans.has(count)) plans.set(count, count >= blocks ? undefined : planWithout(leftOut.slice(0, blocks - count), "block"));
            return plans.get(count);
          },
        };
      },
    };
  },
});

/** Blocks that token `index` of an answer of at most `length` tokens runs: linear from `from` to `to`, never rising. */
export function blocksOf(
  { blocks, from, to, first }: { readonly blocks: number; readonly from: number; readonly to: number; readonly first: number },
  index: number,
  length: number,
): number {
  const share = from - (from - to) * Math.min(index / Math.max(length - 1, 1), 1);
  return Math.min(blocks, Math.max(first + 1, Math.round(share * blocks)));
}
