/**
 * The seasonal indices of classical decomposition: the average, per place in the season, of the series without its centred
 * moving average; they sum to 0 (additive) or average 1 (multiplicative).
 *
 * @param values  [N], N >= 2 · period; for the multiplicative kind all > 0
 * @returns [period]; index k belongs to the values k, k + period, …
 * @throws RangeError for a shorter series
 * @see Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3.4, https://otexts.com/fpp3/classical-decomposition.html
 */
export function seasonalIndices(values: Float64Array, period: number, kind: "additive" | "multiplicative"): Float64Array {
  const numValues = values.length;
  if (numValues < 2 * period) throw new RangeError(`seasonalIndices: ${numValues} values are less than two seasons of ${period}`);
  const half = period >> 1;
  const indices = new Float64Array(period);
  const counts = new Float64Array(period);
  for (let t = half; t < numValues - half; t++) {
    // an even period takes half of the value at either end
    let sum = period % 2 === 0 ? (values[t - half]! + values[t + half]!) / 2 : values[t - half]! + (half > 0 ? values[t + half]! : 0);
    for (let j = t - half + 1; j < t + half; j++) sum += values[j]!;
    const trend = sum / period;
    indices[t % period]! += kind === "additive" ? values[t]! - trend : values[t]! / trend;
    counts[t % period]!++;
  }
  let mean = 0;
  for (let k = 0; k < period; k++) {
    indices[k]! /= counts[k]!;
    mean += indices[k]! / period;
  }
  return indices.map((index) => (kind === "additive" ? index - mean : index / mean));
}
