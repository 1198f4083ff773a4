/** The last `count` of some values and those that came after them. */
export function latest(values: Float64Array, more: Float64Array, count: number): Float64Array {
  const all = new Float64Array(values.length + more.length);
  all.set(values);
  all.set(more, values.length);
  return all.slice(Math.max(0, all.length - count));
}
