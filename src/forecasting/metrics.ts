/**
 * Measures of forecasts. All take actual values with NaN for a missing one: such steps are left out, and a measure of nothing is NaN.
 * Means and
 * differences stay in the range of a double; squares of values beyond 1e154 don't and are infinite.
 */

/** a - b, or the end of the range of a double where that lies beyond it; NaN stays NaN. */
export function boundedDifference(a: number, b: number): number {
  return bounded(a - b);
}

/** The nearest double that is finite; NaN stays NaN. */
export function bounded(value: number): number {
  return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value));
}

/** Mean of f over the steps with an actual value. */
function meanOver(actual: Float64Array, f: (step: number) => number): number {
  let [mean, count] = [0, 0];
  for (let step = 0; step < actual.length; step++) if (!Number.isNaN(actual[step])) mean += f(step) / ++count - mean / count;
  return count === 0 ? Number.NaN : mean;
}

/** Mean squared error. */
export function meanSquaredError(actual: Float64Array, forecast: Float64Array): number {
  return meanOver(actual, (step) => (actual[step]! - forecast[step]!) ** 2);
}

/** Mean absolute error. */
export function meanAbsoluteError(actual: Float64Array, forecast: Float64Array): number {
  return meanOver(actual, (step) => Math.abs(boundedDifference(actual[step]!, forecast[step]!)));
}

/** Symmetric mean absolute percentage error as in the M4 competition, 0 to 200: 200 |y - f| / (|y| + |f|), and 0 where both are 0. */
export function symmetricMape(actual: Float64Array, forecast: Float64Array): number {
  return meanOver(actual, (step) => {
    const [a, f] = [Math.abs(actual[step]!), Math.abs(forecast[step]!)];
    const larger = Math.max(a, f);
    return larger === 0 ? 0 : (200 * Math.abs(actual[step]! / larger - forecast[step]! / larger)) / (a / larger + f / larger);
  });
}

/**
 * The scale of MASE: mean absolute difference to the value one season before, over a history; of the value before where the history is
 * no longer than a season. NaN where no two such values exist; 0 for a history without change.
 *
 * @see Hyndman & Koehler 2006, Another look at measures of forecast accuracy, https://doi.org/10.1016/j.ijforecast.2006.03.001
 */
export function seasonalScale(history: Float64Array, seasonalPeriod: number): number {
  const lag = history.length > seasonalPeriod ? seasonalPeriod : 1;
  const differences = history.subarray(lag).map((value, index) => boundedDifference(value, history[index]!));
  return meanOver(differences, (index) => Math.abs(differences[index]!));
}

/** Mean absolute scaled error: MAE over `scale` (see `seasonalScale`). A scale of 0 gives NaN: such a series says nothing. */
export function meanAbsoluteScaledError(actual: Float64Array, forecast: Float64Array, scale: number): number {
  return scale > 0 ? meanAbsoluteError(actual, forecast) / scale : Number.NaN;
}

/** Quantile (pinball) loss of one value: q (y - f) above the forecast, (1 - q)(f - y) below. */
export function quantileLoss(actual: number, forecast: number, quantile: number): number {
  const error = actual - forecast;
  return error >= 0 ? quantile * error : (quantile - 1) * error;
}

/**
 * Weighted quantile loss: twice the quantile loss, averaged over the quantiles, over the sum of |y|. Unscaled (`scale: "none"`) and
 * with evenly spaced quantiles it approximates the CRPS per step.
 *
 * @param forecasts  one [H] per quantile
 */
export function weightedQuantileLoss(
  actual: Float64Array,
  forecasts: readonly Float64Array[],
  quantiles: readonly number[],
  scale: "sum" | "none" = "sum",
): number {
  const size = meanOver(actual, (step) => Math.abs(actual[step]!));
  const losses = quantiles.map((quantile, index) =>
    meanOver(actual, (step) => quantileLoss(actual[step]!, forecasts[index]![step]!, quantile)),
  );
  const loss = (2 * losses.reduce((sum, value) => sum + value, 0)) / quantiles.length;
  return scale === "none" ? loss : size > 0 ? loss / size : Number.NaN;
}

/** Part of the steps whose value lies in [lo, hi], bounds included. */
export function coverage(actual: Float64Array, lo: Float64Array, hi: Float64Array): number {
  return meanOver(actual, (step) => (actual[step]! >= lo[step]! && actual[step]! <= hi[step]! ? 1 : 0));
}

/** Mean of the finite values; NaN of none. */
export function finiteMean(values: Iterable<number>): number {
  let [mean, count] = [0, 0];
  for (const value of values) if (Number.isFinite(value)) mean += (value - mean) / ++count;
  return count === 0 ? Number.NaN : mean;
}
