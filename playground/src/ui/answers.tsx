import type { Runner } from "../run/runner.ts";
import { Answer } from "./answer.tsx";

interface Props {
  readonly runner: Runner;
  readonly label: string;
  readonly marked?: number | undefined;
  readonly onTake?: ((index: number, id: number) => void) | undefined;
  readonly onRetry?: (() => void) | undefined;
}

/** A run's answers: one as it is, several side by side, of which one is looked at closer. */
export function Answers({ runner, label, ...rest }: Props) {
  const runs = runner.runs.value;
  if (runs.length === 1) return <Answer run={runs[0]!} label={label} {...rest} />;
  return (
    <ol class="answers" aria-label="Answers side by side">
      {runs.map((run) => {
        const isSelected = run.choice === runner.selected.value;
        return (
          <li key={run.choice} class="answer-card" data-selected={isSelected ? "" : undefined}>
            <button
              type="button"
              class="chip"
              aria-pressed={isSelected}
              title="Show this answer's facts below"
              onClick={() => {
                runner.selected.value = run.choice;
              }}
            >
              Answer {run.choice + 1}
            </button>
            <Answer
              run={run}
              label={`Answer ${run.choice + 1} of ${runs.length}, token by token`}
              {...(isSelected ? rest : { onRetry: rest.onRetry })}
            />
          </li>
        );
      })}
    </ol>
  );
}
