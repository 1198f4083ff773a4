import { useLayoutEffect, useRef } from "preact/hooks";
import type { TokenFact } from "../api/wire.ts";
import { vocabulary } from "../app-state.ts";
import { bits, percent, probabilityStep, visible } from "./probability.ts";

interface Props {
  readonly fact: TokenFact;
  readonly index: number;
  readonly text: string;
  /** Pinned: the alternatives can be taken. */
  readonly isPinned: boolean;
  readonly onTake?: ((id: number) => void) | undefined;
  readonly onClose: () => void;
}

/** What is known of a token: its probability, what else was probable, who proposed it. */
export function TokenCard({ fact, index, text, isPinned, onTake, onClose }: Props) {
  const card = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (isPinned) card.current?.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
  }, [isPinned]);
  const top = fact.top ?? [];
  const rows = top.some(({ id }) => id === fact.id) || fact.logprob === undefined ? top : [...top, { id: fact.id, logprob: fact.logprob }];
  return (
    // biome-ignore lint/a11y: a hint while one points or moves along, a dialog once it is pinned; Escape closes either
    <div
      class="card"
      ref={card}
      role={isPinned ? "dialog" : "tooltip"}
      aria-label={`Token ${index + 1}`}
      onKeyDown={(event) => {
        if (event.key === "Escape") {
          event.stopPropagation();
          onClose();
        }
      }}
    >
      <div class="card-head">
        <code class="card-text">{visible(text) || "·"}</code>
        {fact.logprob !== undefined && (
          <span class="number">
            {percent(fact.logprob)} <span class="quiet">{bits(fact.logprob).toFixed(1)} bits</span>
          </span>
        )}
      </div>
      {rows.length > 0 && (
        <ol class="alternatives" aria-label="Most probable tokens">
          {rows.map(({ id, logprob }) => {
            const word = id === fact.id ? text : vocabulary.text(id);
            const isChosen = id === fact.id;
            const body = (
              <>
                <Bar share={Math.exp(logprob)} step={probabilityStep(logprob)} />
                <code>{word === undefined ? `#${id}` : visible(word)}</code>
                {isChosen && <span class="quiet chosen">taken</span>}
                <span class="number">{percent(logprob)}</span>
              </>
            );
            return (
              <li key={id} data-chosen={isChosen ? "" : undefined}>
                {isPinned && onTake !== undefined && !isChosen ? (
                  <button type="button" class="alternative" onClick={() => onTake(id)} title="Go on from here with this token">
                    {body}
                  </button>
                ) : (
                  <div class="alternative">{body}</div>
                )}
              </li>
            );
          })}
        </ol>
      )}
      <p class="card-foot quiet">
        {origin(fact)} Token {index + 1}, id {fact.id}.
        {onTake !== undefined && rows.length > 1 && (isPinned ? " Take another to go on from here." : " Click to take another.")}
      </p>
      {isPinned && (
        <button type="button" class="link card-close" onClick={onClose}>
          Close
        </button>
      )}
    </div>
  );
}

function origin({ source, drafted }: TokenFact): string {
  if (source === "draft") return `Drafted${drafted === undefined ? "" : ` by ${drafted.by}`}, accepted.`;
  if (source === "forced") return "Forced: nothing else was allowed.";
  if (drafted?.accepted === false) return `Not what ${drafted.by} drafted.`;
  return "";
}

/** A share as a bar behind a row. */
function Bar({ share, step }: { readonly share: number; readonly step: number | undefined }) {
  return (
    <span class="share" aria-hidden="true">
      <span class="share-fill" data-step={step} style={{ width: `${Math.max(share * 100, 0.5)}%` }} />
    </span>
  );
}
