/**
 * Sorting of (id, value) pairs held in two arrays, in place: from the largest value to the smallest, ties to the lowest id.
 * Values must not be NaN.
 */

/** Puts the `count` largest of entries [from, to) in order at [from, from + count); the others follow in any order. O(n + count log count). */
export function sortLargest(ids: Int32Array, values: Float64Array, from: number, to: number, count: number): void {
  const end = Math.min(from + count, to);
  if (end < to) select(ids, values, from, to, end);
  sort(ids, values, from, end);
}

function isBefore(ids: Int32Array, values: Float64Array, a: number, b: number): boolean {
  return values[a]! > values[b]! || (values[a] === values[b] && ids[a]! < ids[b]!);
}

function swap(ids: Int32Array, values: Float64Array, a: number, b: number): void {
  const id = ids[a]!;
  const value = values[a]!;
  ids[a] = ids[b]!;
  values[a] = values[b]!;
  ids[b] = id;
  values[b] = value;
}

/** Quickselect: afterwards every entry of [from, end) precedes every entry of [end, to). */
function select(ids: Int32Array, values: Float64Array, from: number, to: number, end: number): void {
  let low = from;
  let high = to - 1;
  while (low < high) {
    // the median of three as pivot, moved to `high`
    const middle = (low + high) >> 1;
    if (isBefore(ids, values, middle, low)) swap(ids, values, middle, low);
    if (isBefore(ids, values, high, low)) swap(ids, values, high, low);
    if (isBefore(ids, values, middle, high)) swap(ids, values, middle, high);
    let border = low;
    for (let at = low; at < high; at++) if (isBefore(ids, values, at, high)) swap(ids, values, at, border++);
    swap(ids, values, border, high);
    if (border === end || border === end - 1) return;
    if (border < end) low = border + 1;
    else high = border - 1;
  }
}

function sort(ids: Int32Array, values: Float64Array, from: number, to: number): void {
  if (to - from <= 96) {
    // candidates arrive sorted, and guides move few of them
    for (let at = from + 1; at < to; at++) {
      for (let place = at; place > from && isBefore(ids, values, place, place - 1); place--) swap(ids, values, place, place - 1);
    }
    return;
  }
  const order = Uint32Array.from({ length: to - from }, (_, index) => from + index);
  order.sort((a, b) => values[b]! - values[a]! || ids[a]! - ids[b]!);
  const sortedIds = Int32Array.from(order, (index) => ids[index]!);
  const sortedValues = Float64Array.from(order, (index) => values[index]!);
  ids.set(sortedIds, from);
  values.set(sortedValues, from);
}
