/**
 * Sums of squares overflow long before the values do. Models therefore work on values divided by a power of two, which changes
 * no bit of their mantissas, and multiply their answers back.
 */

/** A power of two such that max |values| / scale is in [1, 2); 1 if all values are 0. */
export function magnitudeOf(values: Float64Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 1;
  const scale = 2 ** Math.min(1023, Math.floor(Math.log2(largest)));
  // log2 may round up to the next integer just below a power of two
  return scale <= largest ? scale : scale / 2;
}

/** A copy of `values` divided by `scale`. */
export function divided(values: Float64Array, scale: number): Float64Array {
  return values.map((value) => value / scale);
}

/**
 * The nearest number: what lies beyond the range of a double becomes its largest value. A trend through 1e308 ends there.
 *
 * @throws Error for NaN, which is a broken invariant of the model
 */
export function saturated(value: number): number {
  if (Number.isNaN(value)) throw new Error("internal: a forecast is not a number");
  return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value));
}
