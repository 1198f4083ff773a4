import { pointForecasts } from "./ets-distribution.ts";
import type { EtsRecursion } from "./ets-recursion.ts";

/**
 * Mean absolute errors [W] of the forecasts over `horizon` steps from every place of the series that has two seasons before it and
 * `horizon` values after it. The parameters are those of the whole series.
 *
 * @param x  unknowns of `recursion`
 */
export function windowErrors(
  recursion: EtsRecursion,
  x: Float64Array,
  values: Float64Array,
  period: number,
  horizon: number,
): Float64Array {
  const phi = recursion.iPhi < 0 ? 1 : x[recursion.iPhi]!;
  const errors = new Float64Array(numWindows(values, period, horizon));
  recursion.run(x, undefined, (t, level, growth, season, place) => {
    const window = t + 1 - 2 * period;
    if (window < 0 || window >= errors.length) return;
    const ahead = season.map((_, k) => season[(place + k) % season.length]!);
    const mean = pointForecasts(recursion.form, phi, { level, growth, season: ahead }, horizon);
    errors[window] = meanDistance(values, t + 1, mean);
  });
  return errors;
}

/** The errors of the same windows where each step is forecast as it was a season before. */
export function seasonalNaiveErrors(values: Float64Array, period: number, horizon: number): Float64Array {
  const mean = new Float64Array(horizon);
  return Float64Array.from({ length: numWindows(values, period, horizon) }, (_, window) => {
    const start = window + 2 * period;
    for (let h = 0; h < horizon; h++) mean[h] = values[start - period + (h % period)]!;
    return meanDistance(values, start, mean);
  });
}

function numWindows(values: Float64Array, period: number, horizon: number): number {
  return Math.max(0, values.length - horizon - 2 * period + 1);
}

function meanDistance(values: Float64Array, start: number, mean: Float64Array): number {
  let sum = 0;
  for (let h = 0; h < mean.length; h++) sum += Math.abs(values[start + h]! - mean[h]!);
  return sum / mean.length;
}

/**
 * Whether one forecaster's errors are larger than another's over the same windows by more than a standard error of the mean difference.
 * Windows that overlap count as one per `horizon`; of fewer than two nothing can be said. The values have magnitude 1.
 *
 * @see Breiman, Friedman, Olshen & Stone 1984, Classification and Regression Trees, 3.4.3 (the one standard error rule)
 */
export function isWorse(errors: Float64Array, than: Float64Array, horizon: number): boolean {
  const count = errors.length;
  const independent = count / horizon;
  if (independent < 2) return false;
  let mean = 0;
  for (let i = 0; i < count; i++) mean += (errors[i]! - than[i]!) / count;
  let variance = 0;
  for (let i = 0; i < count; i++) variance += (errors[i]! - than[i]! - mean) ** 2 / count;
  // forecasts beyond the range of a double are worse, too
  return !(mean <= Math.sqrt(variance / (independent - 1)) + roundingError);
}

/** Of forecasts that are right but for their last bits, as those of a constant are. */
const roundingError = 1e-9;
