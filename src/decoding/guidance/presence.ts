import { number, standard } from "../method.ts";
import { countingGuide } from "./counts.ts";
import { defineGuide } from "./guide.ts";

/** Subtracts `penalty` from the logit of every token that the answer (not the prompt) holds already, as OpenAI and vLLM do. */
export const presence = defineGuide({
  name: "presence",
  summary: "subtracts a penalty from tokens that the answer holds already",
  source: standard,
  parameters: { penalty: number({ min: -2, max: 2, default: 0.5, doc: "0 changes nothing; negative encourages" }) },
  example: { penalty: 0.7 },
  neutral: { penalty: 0 },
  needs: ["want.top", "want.scores"],
  create: ({ penalty }) => countingGuide("presence", penalty, (logit) => logit - penalty, { off: 0, countsPrompt: false, last: 0 }),
});
