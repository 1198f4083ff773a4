import { useState } from "preact/hooks";
import { Legend } from "../facts/legend.tsx";
import { TokenStrip } from "../facts/token-strip.tsx";
import { isUnderWay, type Run } from "../run/run.ts";

interface Props {
  readonly run: Run;
  readonly label: string;
  readonly marked?: number | undefined;
  readonly onTake?: ((index: number, id: number) => void) | undefined;
  readonly onRetry?: (() => void) | undefined;
}

/** An answer as tokens or as text, and how it ended. */
export function Answer({ run, label, marked, onTake, onRetry }: Props) {
  const [isText, setText] = useState(false);
  const underWay = isUnderWay(run);
  const hasDrafts = run.tokens.some(({ fact }) => fact.drafted !== undefined || fact.source === "draft");
  return (
    <div class="answer" data-status={run.status}>
      {run.status === "waiting" && run.tokens.length === 0 ? (
        <p class="quiet loading" role="status">
          Reading the prompt…
        </p>
      ) : isText ? (
        <p class="prose">{run.text}</p>
      ) : (
        run.tokens.length > 0 && <TokenStrip tokens={run.tokens} label={label} isUnderWay={underWay} marked={marked} onTake={onTake} />
      )}
      <p class="sr-only" role="status">
        {run.status === "done" ? `Answer complete: ${run.text}` : run.status === "stopped" ? "Cancelled" : ""}
      </p>
      {run.status === "failed" && (
        <div class="notice" role="alert">
          <p>
            {run.error?.param !== undefined && <code>{run.error.param}</code>} {run.error?.message}
          </p>
          {onRetry !== undefined && (
            <button type="button" class="link" onClick={onRetry}>
              Try again
            </button>
          )}
        </div>
      )}
      {run.tokens.length > 0 && (
        <div class="answer-foot">
          {!isText && <Legend hasDrafts={hasDrafts} />}
          <span class="row">
            <span class="quiet">{ending(run)}</span>
            <button type="button" class="link" aria-pressed={isText} onClick={() => setText(!isText)}>
              {isText ? "Show tokens" : "Show as text"}
            </button>
          </span>
        </div>
      )}
      {run.status === "stopped" && run.tokens.length === 0 && <p class="quiet">Cancelled before the first token.</p>}
      {run.status === "done" && run.tokens.length === 0 && <p class="quiet">The answer is empty.</p>}
    </div>
  );
}

function ending({ status, finishReason, tokens }: Run): string {
  if (status === "stopped") return `Cancelled after ${tokens.length} tokens`;
  if (status !== "done") return "";
  if (finishReason === "length") return "Ended at the limit of tokens";
  if (finishReason === "deadline") return "Ended at the deadline";
  return "Ended by itself";
}
