import type { CostCurve, DraftFacts } from "../../engine/index.ts";
import { maxDraftTokens } from "./draft.ts";

/**
 * Tokens per time against plain decoding, by the cost curve alone: Σ (1 + accepted) / Σ T(rows)/T(1) over the passes after the prompt's.
 * Without the time that guessing took. 1 where there was no such pass.
 */
export function expectedGain(curve: CostCurve, byWidth: DraftFacts["byWidth"]): number {
  let [tokens, cost] = [0, 0];
  for (const { drafted, passes, accepted } of byWidth) {
    tokens += passes + accepted;
    cost += passes * curve.ratio(1 + drafted);
  }
  return cost === 0 ? 1 : tokens / cost;
}

/**
 * Of chains of up to `maxDepth` tokens, the depth that gains most and what it gains, where each token is right with the probability
 * `agreement` if those before it are, and costs `price` passes of one row. Depth 0, gain 1 where none gains.
 */
export function chainGain(
  curve: CostCurve,
  { agreement, price }: { readonly agreement: number; readonly price: number },
  maxDepth: number,
) {
  let best = { depth: 0, gain: 1 };
  let tokens = 1;
  for (let depth = 1; depth <= maxDepth; depth++) {
    tokens += agreement ** depth;
    const gain = tokens / (curve.ratio(1 + depth) + depth * price);
    if (gain > best.gain) best = { depth, gain };
  }
  return best;
}

/**
 * The expected gain of a draft that knew the answer and the curve: the cheapest way to take `tokens` tokens in passes of 1 to `maxWidth` + 1 rows,
 * each of which gives as many tokens as it has rows.
 */
export function clairvoyantGain(curve: CostCurve, tokens: number, maxWidth = maxDraftTokens): number {
  const costs = [0];
  for (let count = 1; count <= tokens; count++) {
    let least = Number.POSITIVE_INFINITY;
    for (let rows = 1; rows <= Math.min(count, maxWidth + 1); rows++) least = Math.min(least, costs[count - rows]! + curve.ratio(rows));
    costs.push(least);
  }
  return tokens === 0 ? 1 : tokens / costs[tokens]!;
}
