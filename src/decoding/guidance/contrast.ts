import { model as modelParameter, number, optional } from "../method.ts";
import { ReadAlong } from "../read-along.ts";
import { defineGuide } from "./guide.ts";
import { ModelTerms, noTerms, termRow } from "./model-terms.ts";

/**
 * Adds `weight` · (log π_expert(token) - log π_amateur(token)). Without an expert the model itself is the expert. `plausible` is contrastive
 * decoding's rule (Li et al. 2022, arXiv 2210.15097) against tokens that are improbable to everybody and only less so to the expert.
 */
export const contrast = defineGuide({
  name: "contrast",
  summary: "adds what an expert finds more probable than an amateur (DExperts); without an expert the model itself is one",
  source: { title: "DExperts: Decoding-Time Controlled Text Generation with Experts and Anti-Experts", arxiv: "2105.03023" },
  parameters: {
    amateur: modelParameter({ doc: "the model whose likings are subtracted" }),
    expert: optional(modelParameter({ doc: "the model whose likings are added; the model that writes where it is left out" })),
    weight: number({ min: 0, max: 100, default: 0.5, doc: "what the difference counts; 0 changes nothing" }),
    plausible: number({
      min: 0,
      max: 1,
      default: 0.1,
      doc: "rule out what the writing model gives less than this share of its first token's probability; 0 rules nothing out",
    }),
  },
  example: { weight: 0.5 },
  neutral: { weight: 0 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ amateur, expert, weight, plausible }) => ({
    name: "contrast",
    weight,
    async start(prompt, { companion }) {
      if (weight === 0) return noTerms;
      const terms = [{ reader: await ReadAlong.start(companion(amateur), prompt, termRow), weight: -weight }];
      if (expert !== undefined) terms.push({ reader: await ReadAlong.start(companion(expert), prompt, termRow), weight });
      return new ModelTerms(terms, { own: expert === undefined ? weight : 0, plausible, divisor: 1 });
    },
  }),
});
