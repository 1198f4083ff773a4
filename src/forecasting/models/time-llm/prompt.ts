/** What the prompt says of a window. */
export interface WindowStatistics {
  readonly min: number;
  readonly max: number;
  readonly median: number;
  /** Last value minus first: the sum of all differences. */
  readonly change: number;
  /** Those of the strongest autocorrelation, the strongest first. */
  readonly lags: readonly number[];
}

const lagCount = 5;

/** @param window  [L] normalized */
export function statisticsOf(window: ArrayLike<number>): WindowStatistics {
  const values = Array.from(window);
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return {
    ...{ min: sorted[0]!, max: sorted.at(-1)!, median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2 },
    ...{ change: values.at(-1)! - values[0]!, lags: strongestLags(values) },
  };
}

/**
 * Lags of the highest circular autocorrelation. That is 1 at lag 0 and the same at a lag and at L minus it, so lags from 1 to L / 2 are
 * looked at; of equal ones the shorter comes first.
 */
function strongestLags(values: readonly number[]): number[] {
  const length = values.length;
  const correlation = (lag: number) => {
    let sum = 0;
    for (let t = 0; t < length; t++) sum += values[t]! * values[(t + lag) % length]!;
    return sum;
  };
  const lags = Array.from({ length: Math.floor(length / 2) }, (_, i) => ({ lag: i + 1, value: correlation(i + 1) }));
  return lags
    .sort((a, b) => b.value - a.value || a.lag - b.lag)
    .slice(0, lagCount)
    .map(({ lag }) => lag);
}

/** What stands before the patches: what the data are, what is to be done, and the window in words. Two decimals, so that prompts are short and of one length or nearly. */
export function promptOf(description: string, lookback: number, horizon: number, statistics: WindowStatistics): string {
  const { min, max, median, change, lags } = statistics;
  const about = description === "" ? "" : `${description}\n`;
  const [low, high, middle] = [min, max, median].map((value) => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2));
  return (
    `${about}Forecast ${horizon} values from the last ${lookback}. ` +
    `Lowest ${low}, highest ${high}, median ${middle}; trend ${change > 0 ? "upward" : "downward"}; strongest lags ${lags.join(", ")}.\n`
  );
}

/** A prompt at least as long as any of a window: with the widest numbers there can be. */
export function widestPrompt(description: string, lookback: number, horizon: number): string {
  const widest = -Math.sqrt(lookback); // one value away from all others
  const lag = Math.floor(lookback / 2);
  const lags = Array.from({ length: Math.min(lagCount, lag) }, () => lag);
  return promptOf(description, lookback, horizon, { min: widest, max: widest, median: widest, change: -1, lags });
}
