import { bounded } from "./metrics.ts";

/**
 * Prediction intervals from the errors of a backtest (split conformal prediction), for every step of the horizon at once. The errors of
 * a series are divided by the size that errors have at their step, which makes those of all steps and windows one sample; its quantile,
 * times the size at a step, is half the interval's width there.
 *
 * @see Lei et al. 2018, Distribution-free predictive inference for regression, https://arxiv.org/abs/1604.04173 (locally weighted, 5.2)
 */

/** What intervals are made of: plain data, saved with a model. */
export interface Calibration {
  /** Where the errors come from: the series itself, or the other series where it is too short. */
  readonly source: "series" | "pooled";
  /** [H] size of the errors at each step, non-decreasing, in units of the series. */
  readonly sizes: readonly number[];
  /** Absolute errors over their sizes, ascending. */
  readonly scores: readonly number[];
  /** Adaptive: the level to be taken for each that may be asked, both in percent. */
  readonly levels?: Readonly<Record<string, number>>;
}

/** Fewer windows than this say too little about one series. */
export const minimumWindows = 5;

/** More scores than this are thinned: their quantiles don't move. */
const maxScores = 1000;

/**
 * @param errors  one [H] per window, actual - forecast; NaN where the actual value is missing
 * @returns undefined where some step has no error at all
 */
export function calibrate(errors: readonly Float64Array[], source: Calibration["source"] = "series"): Calibration | undefined {
  const horizon = errors[0]?.length ?? 0;
  const sizes = new Float64Array(horizon);
  for (let step = 0; step < horizon; step++) {
    let [mean, count] = [0, 0];
    for (const window of errors) if (!Number.isNaN(window[step])) mean += Math.abs(window[step]!) / ++count - mean / count;
    if (count === 0) return undefined;
    sizes[step] = mean;
  }
  const smooth = nonDecreasing(sizes);
  const scores: number[] = [];
  for (const window of errors) {
    for (let step = 0; step < horizon; step++) {
      if (Number.isNaN(window[step])) continue;
      scores.push(smooth[step]! > 0 ? bounded(Math.abs(window[step]!) / smooth[step]!) : 0);
    }
  }
  return horizon === 0 ? undefined : { source, sizes: [...smooth], scores: thinned([...Float64Array.from(scores).sort()]) };
}

function thinned(scores: readonly number[]): number[] {
  if (scores.length <= maxScores) return [...scores];
  return Array.from({ length: maxScores }, (_, index) => scores[Math.round((index * (scores.length - 1)) / (maxScores - 1))]!);
}

/**
 * Half the width of the interval at each step: the ⌈(n + 1) level⌉-th smallest score, times the size. Steps beyond the calibrated ones
 * grow as the square root of the step.
 *
 * @param level  percent, between 0 and 100
 */
export function halfWidths({ sizes, scores, levels }: Calibration, level: number, horizon: number): Float64Array {
  const taken = levels?.[level] ?? level;
  const rank = Math.max(1, Math.min(scores.length, Math.ceil((scores.length + 1) * (taken / 100))));
  const score = scores[rank - 1]!;
  return Float64Array.from({ length: horizon }, (_, step) => {
    const known = Math.min(step, sizes.length - 1);
    return bounded(bounded(score * sizes[known]!) * Math.sqrt((step + 1) / (known + 1)));
  });
}

/** The non-decreasing sequence nearest to `values` in squares (pool adjacent violators). */
export function nonDecreasing(values: Float64Array): Float64Array {
  const blocks: { mean: number; count: number }[] = [];
  for (const value of values) {
    let block = { mean: value, count: 1 };
    for (let last = blocks.at(-1); last !== undefined && last.mean > block.mean; last = blocks.at(-1)) {
      blocks.pop();
      const count = last.count + block.count;
      block = { mean: last.mean * (last.count / count) + block.mean * (block.count / count), count };
    }
    blocks.push(block);
  }
  return Float64Array.from(blocks.flatMap(({ mean, count }) => new Array<number>(count).fill(mean)));
}
