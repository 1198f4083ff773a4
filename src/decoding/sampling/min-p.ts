import { number } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import { defineSampler } from "./sampler.ts";

/** Keeps tokens at least `p` times as probable as the most probable one; that one always stays. */
function apply(distribution: Distribution, p: number): boolean {
  if (!distribution.reach(1)) return false;
  const threshold = distribution.logits[0]! + Math.log(p);
  if (distribution.restCount > 0 && distribution.restCap >= threshold) return false;
  distribution.keepOnly((place) => distribution.logits[place]! >= threshold);
  return true;
}

export const minP = defineSampler({
  name: "min-p",
  summary: "keeps tokens at least p times as probable as the most probable one",
  source: { title: "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs", arxiv: "2407.01082" },
  parameters: { p: number({ min: 0, max: 1, default: 0.05, doc: "share of the largest probability; 0 keeps all" }) },
  example: { p: 0.05 },
  neutral: { p: 0 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ p }) => ({ kind: "shape", apply: (distribution) => p === 0 || apply(distribution, p) }),
});
