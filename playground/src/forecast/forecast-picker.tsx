import { useState } from "preact/hooks";
import { type ForecastSettings, parseLevels } from "./settings.ts";
import { models, reading } from "./state.ts";

interface Props {
  readonly settings: ForecastSettings;
  readonly onChange: (settings: ForecastSettings) => void;
}

/** How far, by which model, with which columns. What is left alone the server decides. */
export function ForecastPicker({ settings, onChange }: Props) {
  const { horizon, model, levels, time, targets, id, seasonalPeriod } = settings;
  const read = reading.value;
  const understood = read.kind === "ready" ? read.answer.understood : undefined;
  const columns = read.kind === "ready" ? read.answer.columns : [];
  const [levelText, setLevelText] = useState(levels.join(", "));
  const set = (more: Partial<ForecastSettings>) => onChange({ ...settings, ...more });
  const [automatic, onRequest] = [false, true].map((slow) => models.value.filter(({ isOnRequest }) => isOnRequest === slow));
  const chosen = models.value.find(({ name }) => name === model);
  return (
    <form class="picker" aria-label="Forecast settings" onSubmit={(event) => event.preventDefault()}>
      <fieldset class="common">
        <legend class="sr-only">How far and how sure</legend>
        <label class="field">
          <span>Horizon, steps</span>
          <input
            type="number"
            value={horizon}
            min={1}
            max={10_000}
            step={1}
            onInput={({ currentTarget: { value, valueAsNumber, validity } }) =>
              value !== "" && validity.valid && set({ horizon: valueAsNumber })
            }
          />
        </label>
        <label class="field">
          <span>Intervals, percent</span>
          <input
            type="text"
            value={levelText}
            aria-invalid={parseLevels(levelText) === undefined || undefined}
            onInput={({ currentTarget: { value } }) => {
              setLevelText(value);
              const parsed = parseLevels(value);
              if (parsed !== undefined) set({ levels: parsed });
            }}
          />
        </label>
        <label class="field field-wide">
          <span>Model</span>
          <select value={model} onChange={({ currentTarget }) => set({ model: currentTarget.value })}>
            <option value="auto">auto: the best on the past</option>
            <optgroup label="Tried by auto">
              {automatic!.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </optgroup>
            <optgroup label="Trained, takes minutes">
              {onRequest!.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </optgroup>
          </select>
        </label>
        {chosen !== undefined && (
          <div class="field-wide method">
            <p>{chosen.summary}.</p>
            <p class="source">
              <span class="quiet">Source: </span>
              <a href={chosen.source.url} target="_blank" rel="noreferrer">
                {chosen.source.title}
              </a>
            </p>
          </div>
        )}
      </fieldset>
      {columns.length > 0 && (
        <fieldset class="axis columns">
          <legend class="axis-name">Columns</legend>
          <Column
            label="Time"
            value={time}
            guessed={understood?.time?.columns.join(", ")}
            columns={columns}
            onChange={(name) => set({ time: name })}
          />
          <Column
            label="Target"
            value={targets.length > 1 ? "" : (targets[0] ?? "")}
            guessed={
              understood === undefined
                ? undefined
                : understood.targets.length > 3
                  ? `${understood.targets.length} columns`
                  : understood.targets.join(", ")
            }
            columns={columns}
            onChange={(name) => set({ targets: name === "" ? [] : [name] })}
          />
          <Column
            label="Series named by"
            value={id}
            guessed={understood?.ids.join(", ")}
            columns={columns}
            onChange={(name) => set({ id: name })}
          />
          <label class="field">
            <span>Season, steps</span>
            <input
              type="text"
              inputMode="numeric"
              pattern="[1-9]\d*"
              placeholder={understood === undefined ? "" : `${understood.seasonalPeriod.steps}, by the frequency`}
              value={seasonalPeriod ?? ""}
              onInput={({ currentTarget: { value, validity } }) =>
                validity.valid && set({ seasonalPeriod: value === "" ? undefined : Number(value) })
              }
            />
          </label>
        </fieldset>
      )}
    </form>
  );
}

interface ColumnProps {
  readonly label: string;
  readonly value: string;
  /** What the server takes it for where nothing is chosen. */
  readonly guessed: string | undefined;
  readonly columns: readonly string[];
  readonly onChange: (name: string) => void;
}

function Column({ label, value, guessed, columns, onChange }: ColumnProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        <option value="">
          {value !== "" || guessed === undefined ? "let the server see" : guessed === "" ? "none, as seen" : `${guessed}, as seen`}
        </option>
        {columns.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
