import { integer, number } from "../method.ts";
import { countingGuide } from "./counts.ts";
import { defineGuide } from "./guide.ts";

/**
 * Divides positive logits of tokens that have occurred by `penalty` and multiplies negative ones, in the prompt and the answer,
 * as HF transformers, vLLM and llama.cpp do. It works on raw logits, whose zero is the model's own, so unlike the additive
 * guides it does not commute with others.
 */
export const repetition = defineGuide({
  name: "repetition",
  summary: "divides positive logits of tokens already in prompt or answer by a penalty, multiplies negative ones",
  source: { title: "CTRL: A Conditional Transformer Language Model for Controllable Generation", arxiv: "1909.05858" },
  parameters: {
    penalty: number({ min: 0, isMinOpen: true, max: 10, default: 1.1, doc: "1 changes nothing; above 1 discourages, below 1 encourages" }),
    last: integer({ min: 0, max: 1_000_000, default: 0, doc: "how many of the last tokens count; 0 for all" }),
  },
  example: { penalty: 1.2 },
  neutral: { penalty: 1 },
  needs: ["want.top", "want.scores"],
  create: ({ penalty, last }) =>
    countingGuide("repetition", penalty, (logit) => (logit > 0 ? logit / penalty : logit * penalty), { off: 1, countsPrompt: true, last }),
});
