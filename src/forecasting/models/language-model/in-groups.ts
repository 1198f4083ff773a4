/** Hands items with equal keys to `run` together; results stand in the items' order. */
export function inGroups<T, R>(items: readonly T[], keyOf: (item: T) => string, run: (group: readonly T[]) => readonly R[]): R[] {
  const groups = new Map<string, number[]>();
  for (const [index, item] of items.entries()) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), index]);
  const results: R[] = [];
  for (const indices of groups.values())
    for (const [i, result] of run(indices.map((index) => items[index]!)).entries()) results[indices[i]!] = result;
  return results;
}
