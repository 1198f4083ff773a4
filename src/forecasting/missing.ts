/** How holes of a history are filled before a model sees it. The rule looks only at the history, never past its end. */
export type MissingRule = "interpolate" | "previous" | "zero";

/**
 * The values without holes: on a straight line between the neighbours, as the value before, or as 0. Holes at the end repeat the last
 * value (or are 0), holes at the beginning repeat the first.
 *
 * @param before  the value before the first one, where the values continue a series
 */
export function fillMissing(values: Float64Array, rule: MissingRule, before = Number.NaN): Float64Array {
  const filled = values.slice();
  let last = -1;
  for (let i = 0; i <= filled.length; i++) {
    const isEnd = i === filled.length;
    if (!isEnd && Number.isNaN(filled[i])) continue;
    const left = last >= 0 ? filled[last]! : before;
    const right = isEnd ? Number.NaN : filled[i]!;
    for (let hole = last + 1; hole < i; hole++) {
      if (rule === "zero") filled[hole] = 0;
      else if (Number.isNaN(left)) filled[hole] = Number.isNaN(right) ? 0 : right;
      else if (rule === "previous" || isEnd) filled[hole] = left;
      else {
        const weight = (hole - last) / (i - last);
        filled[hole] = left * (1 - weight) + right * weight;
      }
    }
    last = i;
  }
  return filled;
}
