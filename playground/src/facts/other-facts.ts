/** Facts that a part of the report shows in its own way. A new one is listed until it has such a part. */
const shown: ReadonlySet<string> = new Set([
  ...["tokens", "tokensPerPass", "passes", "skips", "branches", "effort", "attribution", "adapters", "guides", "choices"],
  ...["times.firstTokenMs", "drafts.method", "drafts.drafted", "drafts.accepted", "drafts.byPosition", "drafts.offBecause"],
]);
/** Longer lists are cut. */
const maxRows = 100;

/** Every fact that nothing else shows: the path of its name, and its value. */
export function otherFacts(facts: object): readonly (readonly [path: string, value: string])[] {
  const rows: [string, string][] = [];
  const add = (path: string, value: unknown) => {
    if (shown.has(path) || value === undefined || value === null) return;
    if (typeof value === "object") for (const [key, entry] of Object.entries(value)) add(path === "" ? key : `${path}.${key}`, entry);
    else rows.push([path, typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value)]);
  };
  add("", facts);
  return rows.length <= maxRows ? rows : [...rows.slice(0, maxRows), ["…", `${rows.length - maxRows} more`]];
}
