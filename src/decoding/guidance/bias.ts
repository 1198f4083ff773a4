import type { TokenId } from "../../token.ts";
import { standard, tokenValues } from "../method.ts";
import { defineGuide, type GuideState } from "./guide.ts";

/** Adds a number to the logits of given tokens (OpenAI's `logit_bias`): -100 rules a token out in practice, 100 demands it. */
export const bias = defineGuide({
  name: "bias",
  summary: "adds a number to the logits of given tokens",
  source: standard,
  parameters: { values: tokenValues({ min: -100, max: 100, doc: "token id to number" }) },
  example: { values: { 101: 2, 104: -3 } },
  neutral: { values: {} },
  needs: ["want.top", "want.scores"],
  create({ values }) {
    const tokens = Object.keys(values).map((id) => Number(id) as TokenId); // checked against the vocabulary where the run starts
    const terms = Object.values(values);
    const state: GuideState = {
      touches: () => tokens,
      apply(distribution) {
        for (const [index, token] of tokens.entries()) {
          const place = distribution.indexOf(token);
          if (place !== undefined) distribution.logits[place]! += terms[index]!;
        }
      },
      advance() {},
      rewind() {},
      fork: () => state,
    };
    const largest = terms.reduce((max, term) => Math.max(max, Math.abs(term)), 0);
    return { name: "bias", weight: largest, start: () => state };
  },
});
