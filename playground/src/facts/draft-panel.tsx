import type { DraftFacts } from "../api/wire.ts";

/** How many guesses were right, in all and by their place in the draft. */
export function DraftPanel({ drafts: { drafted, accepted, byPosition, offBecause } }: { readonly drafts: DraftFacts }) {
  const most = Math.max(1, ...byPosition);
  return (
    <>
      <p>
        <strong class="number">{accepted}</strong> of <span class="number">{drafted}</span> guesses accepted
        {drafted > 0 && <span class="quiet"> ({Math.round((100 * accepted) / drafted)} %)</span>}
        {offBecause !== undefined && <span class="quiet">. Off: {offBecause}</span>}
      </p>
      {byPosition.length > 0 && (
        <ol class="bars" aria-label="Accepted guesses by their place in the draft">
          {byPosition.map((count, position) => (
            <li key={position}>
              <span class="quiet">place {position + 1}</span>
              <span class="bar-track" aria-hidden="true">
                <span class="bar-fill" style={{ width: `${(100 * count) / most}%` }} />
              </span>
              <span class="number">{count}</span>
            </li>
          ))}
        </ol>
      )}
    </>
  );
}
