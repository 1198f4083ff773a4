/**
 * Moves a running mean towards the parameters, in place: `m ← decay·m + (1 - decay)·p`. A mean begins as the parameters before the first step.
 *
 * @param decay  in (0, 1)
 * @see Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging
 */
export function updateAverage(mean: Float32Array | Float64Array, values: Float32Array | Float64Array, decay: number): void {
  for (let i = 0; i < mean.length; i += 1) mean[i] = decay * mean[i]! + (1 - decay) * values[i]!;
}
