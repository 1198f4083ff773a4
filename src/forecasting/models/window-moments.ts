/** Added to a window's variance before the root, so that a constant window has a scale. */
export const varianceFloor = 1e-5;

/** Mean and scale sqrt(variance + 1e-5) of a window, the statistics of instance normalization. */
export function windowStatistics(window: Float64Array): { mean: number; scale: number } {
  let mean = 0;
  for (const value of window) mean += value;
  mean /= window.length;
  let variance = 0;
  for (const value of window) variance += (value - mean) ** 2;
  return { mean, scale: Math.sqrt(variance / window.length + varianceFloor) };
}

/** A window reduced by its own mean and scale sqrt(variance + 1e-5). */
export function normalizedWindow(values: Float64Array, start: number, length: number) {
  const window = values.subarray(start, start + length);
  const { mean, scale } = windowStatistics(window);
  return { mean, scale, inputs: Float32Array.from(window, (value) => (value - mean) / scale) };
}

/**
 * Adds the normal equations of all windows of one series to those of others. A window's inputs are its L values minus their mean and,
 * last, its scale; its targets are the H values that follow, minus the same mean.
 *
 * The sums of products of values at two places of a window hardly change when both places move on by one: the matrix follows
 * from its first row in O(1) per entry, and the whole costs O(N (L + H) + L (L + H)) instead of O(N L (L + H)).
 *
 * @param values   [N], of magnitude 1 and mean near 0, N >= L + H
 * @param inputs   [L + 1, L + 1] Σ x x', the lower triangle is written; added to
 * @param targets  [L + 1, H] Σ x y'; added to
 * @returns number of windows
 */
export function addWindowMoments(
  values: Float64Array,
  lookback: number,
  horizon: number,
  inputs: Float64Array,
  targets: Float64Array,
): number {
  const span = lookback + horizon;
  const numWindows = values.length - span + 1;
  const withMean = new Float64Array(span); // Σ m z_i
  const withScale = new Float64Array(span); // Σ s z_i
  let meanSquared = 0;
  let meanScale = 0;
  let scaleSquared = 0;
  for (let w = 0; w < numWindows; w++) {
    const { mean, scale } = windowStatistics(values.subarray(w, w + lookback));
    for (let i = 0; i < span; i++) {
      withMean[i]! += mean * values[w + i]!;
      withScale[i]! += scale * values[w + i]!;
    }
    meanSquared += mean * mean;
    meanScale += mean * scale;
    scaleSquared += scale * scale;
  }

  for (let lag = 0; lag < span; lag++) {
    // products of places i and i + lag, for i = 0, 1, …
    let sum = 0;
    for (let w = 0; w < numWindows; w++) sum += values[w]! * values[w + lag]!;
    for (let i = 0; i < lookback && i + lag < span; i++) {
      const j = i + lag;
      if (i > 0) sum += values[i - 1 + numWindows]! * values[j - 1 + numWindows]! - values[i - 1]! * values[j - 1]!;
      const centered = sum - withMean[i]! - withMean[j]! + meanSquared;
      if (j < lookback) inputs[j * (lookback + 1) + i]! += centered;
      else targets[i * horizon + (j - lookback)]! += centered;
    }
  }
  const last = lookback * (lookback + 1);
  for (let i = 0; i < lookback; i++) inputs[last + i]! += withScale[i]! - meanScale;
  inputs[last + lookback]! += scaleSquared;
  for (let h = 0; h < horizon; h++) targets[lookback * horizon + h]! += withScale[lookback + h]! - meanScale;
  return numWindows;
}
