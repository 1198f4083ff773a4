import type { Candidates } from "./sequence.ts";

/**
 * The `count` largest of a row's logits, sorted from large to small, ties to the lowest id.
 *
 * @param logits   [V]
 * @param ids      the native top set of the row, in any order
 * @param logSumExp of the row
 */
export function candidatesOf(logits: Float32Array, ids: Int32Array, count: number, logSumExp: number): Candidates {
  const wanted = Math.min(count, logits.length);
  let sorted = sortByLogit(ids, logits);
  // more than the native set holds, or a tie at its end that lower ids outside might share: the whole row decides
  const covers = ids.length === logits.length || (wanted < sorted.length && logits[sorted[wanted - 1]!]! > logits[sorted.at(-1)!]!);
  if (!covers) sorted = largest(logits, wanted);
  const top = sorted.length === wanted ? sorted : sorted.slice(0, wanted);
  return { ids: top, logits: Float32Array.from(top, (id) => logits[id]!), logSumExp };
}

function sortByLogit(ids: Int32Array, logits: Float32Array): Int32Array {
  return ids.slice().sort((a, b) => logits[b]! - logits[a]! || a - b);
}

/** By selection over the whole row: a threshold first, then one sort of what reaches it. */
function largest(logits: Float32Array, count: number): Int32Array {
  const threshold = logits.slice().sort()[logits.length - count]!;
  const above: number[] = [];
  const equal: number[] = [];
  logits.forEach((logit, id) => {
    if (logit > threshold) above.push(id);
    else if (logit === threshold) equal.push(id);
  });
  return sortByLogit(Int32Array.from([...above, ...equal.slice(0, count - above.length)]), logits);
}

/** log Σ exp(logits), from the probability that a softmax gave to the largest of them. */
export function logSumExpOf(logits: Float32Array, probabilities: Float32Array, ids: Int32Array): number {
  let best = ids[0]!;
  for (const id of ids) if (logits[id]! > logits[best]!) best = id;
  return logits[best]! - Math.log(probabilities[best]!);
}
