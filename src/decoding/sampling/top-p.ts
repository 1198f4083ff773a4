import { number } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import { defineSampler } from "./sampler.ts";

/** Each look further down sorts so many times more: few passes over the vocabulary, little sorted in vain. */
const growth = 8;

/** Keeps the shortest list of most probable tokens whose mass reaches p; the token that crosses p stays. */
function apply(distribution: Distribution, p: number): boolean {
  if (!distribution.reach(1)) return false;
  const { logits, size } = distribution;
  const max = logits[0]!;
  let known = 0;
  for (let place = 0; place < size; place++) known += Math.exp(logits[place]! - max);
  // all mass lies in [low, high]: equal on unshaped candidates, apart behind a temperature
  const low = known + Math.exp(distribution.restLow - max);
  const high = known + Math.exp(distribution.restHigh - max);
  let mass = 0;
  for (let place = 0; place < size; place++) {
    if (place >= distribution.sorted && !distribution.reach(Math.max(place + 1, growth * distribution.sorted))) return false;
    const before = mass;
    mass += Math.exp(logits[place]! - max);
    if (mass < p * high) continue;
    if (before >= p * low) return false;
    distribution.truncate(place + 1);
    return true;
  }
  return distribution.restCount === 0; // rounding left the sum below p: everything stays
}

export const topP = defineSampler({
  name: "top-p",
  summary: "keeps the most probable tokens up to a mass of p (nucleus sampling)",
  source: { title: "The Curious Case of Neural Text Degeneration", arxiv: "1904.09751" },
  parameters: { p: number({ min: 0, isMinOpen: true, max: 1, default: 0.95, doc: "mass that stays; 1 keeps all" }) },
  example: { p: 0.9 },
  neutral: { p: 1 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ p }) => ({ kind: "shape", apply: (distribution) => p === 1 || apply(distribution, p) }),
});
