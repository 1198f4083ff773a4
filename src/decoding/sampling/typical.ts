import { number } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import { defineSampler } from "./sampler.ts";
import { sortLargest } from "./select.ts";

/**
 * Keeps the shortest list of most typical tokens whose mass reaches `mass`: typical are those whose surprise -log p is closest
 * to the entropy of the distribution (ties: the earlier entry). The entropy needs every token, so without a truncation before it
 * this reads the full row.
 */
function apply(distribution: Distribution, mass: number): boolean {
  if (distribution.restCount > 0 && distribution.restHigh > Number.NEGATIVE_INFINITY) return false;
  if (!distribution.reach(1)) return false;
  const { logits, size } = distribution;
  const max = logits[0]!;
  let total = 0;
  let weighted = 0;
  for (let place = 0; place < size; place++) {
    const weight = Math.exp(logits[place]! - max);
    total += weight;
    if (weight > 0) weighted += weight * (logits[place]! - max);
  }
  const logTotal = max + Math.log(total);
  const entropy = Math.log(total) - weighted / total;

  const places = Int32Array.from({ length: size }, (_, place) => place);
  const typicality = Float64Array.from(places, (place) => -Math.abs(logTotal - logits[place]! - entropy));
  const isKept = new Uint8Array(size);
  let sorted = 0;
  let reached = 0;
  for (let at = 0; at < size && reached < mass; at++) {
    if (at >= sorted) {
      const count = Math.max(64, 7 * sorted);
      sortLargest(places, typicality, sorted, size, count);
      sorted += count;
    }
    isKept[places[at]!] = 1;
    reached += Math.exp(logits[places[at]!]! - logTotal);
  }
  distribution.keepOnly((place) => isKept[place] === 1);
  return true;
}

export const typical = defineSampler({
  name: "typical",
  summary: "keeps the tokens whose surprise is closest to the entropy, up to a mass of p (locally typical sampling)",
  source: { title: "Locally Typical Sampling", arxiv: "2202.00666" },
  parameters: { p: number({ min: 0, isMinOpen: true, max: 1, default: 0.95, doc: "mass that stays; 1 keeps all" }) },
  example: { p: 0.9 },
  neutral: { p: 1 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ p }) => ({ kind: "shape", apply: (distribution) => p === 1 || apply(distribution, p) }),
});
