const goldenShare = (3 - Math.sqrt(5)) / 2;

/**
 * The minimum of a function of one number on [low, high]: the best of a grid, then golden-section search between its neighbours.
 * Finds the right valley if it is wider than two grid steps.
 *
 * @param numPoints  of the grid, >= 3, both ends included
 * @param tolerance  width of the interval that is left, in units of the argument
 */
export function minimizeScalar(
  f: (x: number) => number,
  low: number,
  high: number,
  { numPoints, tolerance }: { readonly numPoints: number; readonly tolerance: number },
): { readonly x: number; readonly value: number } {
  const width = (high - low) / (numPoints - 1);
  let best = { x: low, value: f(low) };
  const keep = (x: number, value: number) => {
    if (value < best.value) best = { x, value };
  };
  for (let i = 1; i < numPoints; i++) {
    const x = i === numPoints - 1 ? high : low + i * width;
    keep(x, f(x));
  }
  let left = Math.max(low, best.x - width);
  let right = Math.min(high, best.x + width);
  let inner = left + goldenShare * (right - left);
  let outer = right - goldenShare * (right - left);
  let innerValue = f(inner);
  let outerValue = f(outer);
  while (right - left > tolerance) {
    if (innerValue <= outerValue) {
      right = outer;
      outer = inner;
      outerValue = innerValue;
      inner = left + goldenShare * (right - left);
      innerValue = f(inner);
    } else {
      left = inner;
      inner = outer;
      innerValue = outerValue;
      outer = right - goldenShare * (right - left);
      outerValue = f(outer);
    }
    keep(inner, innerValue);
    keep(outer, outerValue);
  }
  return best;
}
