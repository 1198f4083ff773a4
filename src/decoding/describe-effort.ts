import type { EffortFact } from "../engine/index.ts";

/** How far a method that spends many passes came, and what the paper's setting would have taken, in a line. */
export function describeEffort({ method, unit, done, planned, passes, ms, endedBy, paper }: EffortFact): string {
  const end = endedBy === undefined ? "" : `, ended by its limit of ${endedBy}`;
  const asPaper =
    paper === undefined ? "" : `; the paper's setting (${paper.setting}) would take about ${paper.passes} passes, ${duration(paper.ms)}`;
  return `${method}: ${done} of ${planned} ${unit} in ${passes} passes, ${duration(ms)}${end}${asPaper}`;
}

/** "3.2 s", "4 min", "11 h". */
export function duration(ms: number): string {
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}
