import type { EffortFact } from "../api/wire.ts";

function seconds(ms: number): string {
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

const spent = ({ passes, ms }: { readonly passes: number; readonly ms?: number }) =>
  `${passes.toLocaleString("en")} passes${ms === undefined ? "" : `, ${seconds(ms)}`}`;

const describeLimits = ({ passes, seconds: most }: NonNullable<EffortFact["limits"]>) =>
  [...(passes === undefined ? [] : [`${passes.toLocaleString("en")} passes`]), ...(most === undefined ? [] : [`${most} s`])].join(" or ");

/** How far a search that spends many passes has come, what was expected, and what the paper's setting would take. */
export function EffortPanel({ effort, isUnderWay }: { readonly effort: EffortFact; readonly isUnderWay: boolean }) {
  const { method, unit, done, planned, expected, limits, endedBy, paper } = effort;
  return (
    <div class="effort">
      <p>
        <strong class="number">{done}</strong> of <span class="number">{planned}</span> {unit}
        <span class="quiet">
          {" "}
          · {method}, {spent(effort)}
          {expected !== undefined && `, expected ${spent(expected)}`}
          {limits !== undefined && `, at most ${describeLimits(limits)}`}
          {endedBy !== undefined && `. Ended by the budget of ${endedBy}`}
        </span>
      </p>
      {isUnderWay && <progress max={Math.max(planned, 1)} value={done} aria-label={unit} />}
      {paper !== undefined && (
        <p class="quiet">
          The paper's setting ({paper.setting}) would take up to {spent(paper)}.
        </p>
      )}
    </div>
  );
}
