/** Steps of the colour scale: at least so probable. The last holds the rest. */
export const probabilitySteps = [0.9, 0.5, 0.2, 0.05, 0.01, 0] as const;

/**
 * Step of the colour scale for a token: 0 for what was nearly certain, 5 for what was less probable than 1 in 100; undefined where the
 * probability isn't known. A token exactly at a limit belongs to the more probable step.
 *
 * @param logprob  natural logarithm, <= 0
 */
export function probabilityStep(logprob: number | undefined): number | undefined {
  if (logprob === undefined) return undefined;
  const probability = Math.exp(logprob);
  return probabilitySteps.findIndex((limit) => probability >= limit - 1e-12);
}

/** "43 %", "0.2 %", "< 0.01 %": two significant digits, never a wrong 0 or 100. */
export function percent(logprob: number): string {
  const value = 100 * Math.exp(logprob);
  if (value < 0.01) return "< 0.01 %";
  if (value >= 99.95) return value >= 100 - 1e-9 ? "100 %" : "> 99.9 %";
  return `${value >= 10 ? value.toFixed(value > 99 ? 1 : 0) : value.toPrecision(value < 1 ? 1 : 2)} %`;
}

/** Bits of surprise: -log2 p. */
export const bits = (logprob: number): number => (logprob === 0 ? 0 : -logprob / Math.LN2);

/** A token as a person reads it in a list: blanks and line ends made visible, quoted. */
export function visible(text: string): string {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·");
}
