import { divided, magnitudeOf } from "./magnitude.ts";

/** Mean and population standard deviation; a constant series has the scale of its size. */
export function standardOf(values: Float64Array): { mean: number; scale: number } {
  const magnitude = magnitudeOf(values);
  const scaled = divided(values, magnitude);
  const mean = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
  const deviation = Math.sqrt(scaled.reduce((sum, value) => sum + (value - mean) ** 2, 0) / scaled.length);
  return { mean: mean * magnitude, scale: (deviation > 1e-12 ? deviation : 1) * magnitude };
}

/** Series in units of the part that is learned from, the first 1 - `heldOut` of each. */
export const standardizedParts = (histories: readonly { readonly values: Float64Array }[], heldOut: number) =>
  histories.map(({ values }) => {
    const trainEnd = Math.round(values.length * (1 - heldOut));
    const { mean, scale } = standardOf(values.subarray(0, trainEnd));
    return { standard: { mean, scale }, trainEnd, values: values.map((value) => value / scale - mean / scale) };
  });
