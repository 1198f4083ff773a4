import type { EffortFact } from "../api/wire.ts";

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const spent = ({ passes, ms }: { readonly passes: number; readonly ms?: number }) =>
  `${passes.toLocaleString("en")} passes${ms === undefined ? "" : `, ${seconds(ms)}`}`;

/** How far a search that spends many passes has come, what was expected, and what the paper's setting would take. */
export function EffortPanel({ effort, isUnderWay }: { readonly effort: EffortFact; readonly isUnderWay: boolean }) {
  const { unit, done, planned, expected, endedBy, paper } = effort;
  return (
    <div class="effort">
      <p>
        <strong class="number">{done}</strong> of <span class="number">{planned}</span> {unit}
        <span class="quiet">
          {" "}
          · {spent(effort)}
          {expected !== undefined && `, expected ${spent(expected)}`}
          {endedBy !== undefined && `. Ended by the budget of ${endedBy}`}
        </span>
      </p>
      {isUnderWay && <progress max={Math.max(planned, 1)} value={done} aria-label={unit} />}
      {paper !== undefined && (
        <p class="quiet">
          The paper's setting ({paper.setting}) would take {spent(paper)}.
        </p>
      )}
    </div>
  );
}
