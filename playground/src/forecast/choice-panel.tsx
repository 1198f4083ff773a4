import { Section } from "../facts/report.tsx";
import { ScrollRegion } from "../ui/scroll-region.tsx";
import { readable } from "./fan.ts";
import type { ForecastAnswer, ModelScore } from "./wire.ts";

interface Props {
  readonly answer: ForecastAnswer;
  /** Forecasts again with one model. */
  readonly onPick: (model: string) => void;
}

const percent = (part: number | null) => (part === null ? "–" : `${(100 * part).toFixed(1)} %`);

/** Which model was chosen and why: every one that was tried, on the past of the table itself. */
export function ChoicePanel({ answer: { chosen, coverage, notes }, onPick }: Props) {
  const worst = Math.max(...chosen.table.map(({ mase }) => mase ?? 0));
  return (
    <Section title="How the model was chosen" note={chosen.model}>
      <p class="measure">
        <strong>{chosen.model}</strong>: {chosen.because}.
      </p>
      {chosen.table.length > 0 && (
        <ScrollRegion label="Models that were tried">
          <table class="models">
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">MASE</th>
                <th scope="col">sMAPE</th>
                <th scope="col">MAE</th>
                <th scope="col">Skill</th>
                <th scope="col">Windows</th>
                <th scope="col">
                  <span class="sr-only">Forecast with it</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {chosen.table.map((row) => (
                <ModelRow key={row.model} row={row} isChosen={row.model === chosen.model} worst={worst} onPick={onPick} />
              ))}
            </tbody>
          </table>
        </ScrollRegion>
      )}
      <p class="quiet measure">
        Each model forecast from earlier points of the series, where what came is known. MASE below 1 is better than repeating the last
        season inside the sample; skill is the part of seasonal naive’s error that is saved.
      </p>
      {(coverage.length > 0 || notes.length > 0) && (
        <ul class="notes">
          {coverage.map(({ level, pooled, values, worstStep }) => (
            <li key={level}>
              The {level} % intervals covered {percent(pooled)} of {values.toLocaleString("en")} later values (worst step {worstStep.step}:{" "}
              {percent(worstStep.coverage)}).
            </li>
          ))}
          {notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </Section>
  );
}

interface RowProps {
  readonly row: ModelScore;
  readonly isChosen: boolean;
  readonly worst: number;
  readonly onPick: (model: string) => void;
}

function ModelRow({ row: { model, mase, smape, mae, skill, windows }, isChosen, worst, onPick }: RowProps) {
  const isSingle = !/[(+]/.test(model); // an average has no name of its own to ask for
  return (
    <tr data-chosen={isChosen ? "" : undefined}>
      <th scope="row">
        {model}
        {isChosen && <span class="quiet"> chosen</span>}
      </th>
      <td class="number">
        <span class="model-bar" aria-hidden="true">
          <span style={{ width: `${(100 * (mase ?? 0)) / (worst || 1)}%` }} />
        </span>
        <span class="model-mase">{readable(mase)}</span>
      </td>
      <td class="number">{readable(smape)}</td>
      <td class="number">{readable(mae)}</td>
      <td class="number">{percent(skill)}</td>
      <td class="number">{windows}</td>
      <td>
        {!isChosen && isSingle && (
          <button type="button" class="link" onClick={() => onPick(model)}>
            use it<span class="sr-only">: forecast with {model}</span>
          </button>
        )}
      </td>
    </tr>
  );
}
