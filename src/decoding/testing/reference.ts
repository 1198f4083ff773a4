/**
 * The samplers' formulas on plain arrays, written for clarity and sharing no code with `sampling/`: tests compare with these.
 * A law is the list of probabilities of all tokens.
 */
export type Law = readonly number[];

export function softmax(logits: ArrayLike<number>): Law {
  const values = Array.from(logits);
  const max = Math.max(...values);
  return normalize(values.map((logit) => Math.exp(logit - max)));
}

function normalize(weights: readonly number[]): Law {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Token ids from the most probable to the least, ties to the lowest id. */
function ranked(law: Law): number[] {
  return [...law.keys()].sort((a, b) => law[b]! - law[a]! || a - b);
}

function only(law: Law, kept: Iterable<number>): Law {
  const set = new Set(kept);
  return normalize(law.map((p, id) => (set.has(id) ? p : 0)));
}

/** Ids in the order given up to and including the one at which the mass reaches `mass`. */
function untilMass(law: Law, order: readonly number[], mass: number): number[] {
  let sum = 0;
  const kept: number[] = [];
  for (const id of order) {
    if (sum >= mass) break;
    kept.push(id);
    sum += law[id]!;
  }
  return kept;
}

export const referenceShapes: Readonly<Record<string, (law: Law, value: number) => Law>> = {
  temperature: (law, value) => normalize(law.map((p) => p ** (1 / value))),
  "top-k": (law, k) =>
    only(
      law,
      ranked(law)
        .filter((id) => law[id]! > 0)
        .slice(0, k),
    ),
  "top-p": (law, p) => only(law, untilMass(law, ranked(law), p)),
  "min-p": (law, p) =>
    only(
      law,
      [...law.keys()].filter((id) => law[id]! >= p * Math.max(...law)),
    ),
  typical(law, mass) {
    const entropy = -law.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
    const distance = (id: number) => Math.abs(-Math.log(law[id]!) - entropy);
    const order = ranked(law)
      .filter((id) => law[id]! > 0)
      .sort((a, b) => distance(a) - distance(b));
    return only(law, untilMass(law, order, mass));
  },
};

/**
 * Pearson's statistic of counts against a law, and its 99.9 % limit (Wilson-Hilferty). Cells expecting fewer than five draws
 * are pooled; a count where the law has none makes it infinite.
 */
export function chiSquare(counts: readonly number[], law: Law): { statistic: number; limit: number } {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  const cells: { count: number; expected: number }[] = [];
  const pool = { count: 0, expected: 0 };
  for (const [id, p] of law.entries()) {
    if (p === 0 && counts[id]! > 0) return { statistic: Number.POSITIVE_INFINITY, limit: 0 };
    const cell = { count: counts[id]!, expected: p * draws };
    if (cell.expected >= 5) cells.push(cell);
    else {
      pool.count += cell.count;
      pool.expected += cell.expected;
    }
  }
  if (pool.expected >= 1) cells.push(pool);
  const statistic = cells.reduce((sum, { count, expected }) => sum + (count - expected) ** 2 / expected, 0);
  const freedom = Math.max(cells.length - 1, 1);
  const spread = 2 / (9 * freedom);
  return { statistic, limit: freedom * (1 - spread + 3.09 * Math.sqrt(spread)) ** 3 };
}
