/** Steps of the colour scale to either side of 0. */
export const heatSteps = 5;

/**
 * How strongly each of a row of scores is shown: its share of the largest one, rounded to a step in [-5, 5]. What isn't 0 shows from half
 * a step on; above 0 a token of the prompt speaks for the explained one, below against it.
 */
export function heat(scores: readonly number[]): number[] {
  const most = scores.reduce((largest, score) => Math.max(largest, Math.abs(score)), 0);
  return scores.map((score) => (most === 0 ? 0 : Math.round((score / most) * heatSteps) || 0)); // no -0
}
