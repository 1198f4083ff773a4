import { number, standard } from "../method.ts";
import { countingGuide } from "./counts.ts";
import { defineGuide } from "./guide.ts";

/** Subtracts `penalty` times its number of occurrences in the answer (not the prompt) from a token's logit, as OpenAI and vLLM do. */
export const frequency = defineGuide({
  name: "frequency",
  summary: "subtracts a penalty for every time the answer holds a token already",
  source: standard,
  parameters: { penalty: number({ min: -2, max: 2, default: 0.5, doc: "0 changes nothing; negative encourages" }) },
  example: { penalty: 0.7 },
  neutral: { penalty: 0 },
  needs: ["want.top", "want.scores"],
  create: ({ penalty }) =>
    countingGuide("frequency", penalty, (logit, count) => logit - count * penalty, { off: 0, countsPrompt: false, last: 0 }),
});
