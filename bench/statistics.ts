/** Median, and a 95 % bootstrap interval of the median from 2,000 resamples with a fixed generator. */
export function summarize(values: readonly number[]): { median: number; low: number; high: number } {
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const medians = Array.from({ length: 2000 }, () => median(values.map(() => values[Math.floor(next() * values.length)]!)));
  medians.sort((a, b) => a - b);
  return { median: median(values), low: medians[50]!, high: medians[1949]! };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
