import { useId } from "preact/hooks";
import type { MethodDescription } from "../api/wire.ts";
import { registry } from "../app-state.ts";
import { type Conflict, conflicts, hasOwnSamplers, listAxes, type MethodChoice, type Settings } from "../run/settings.ts";
import { ParameterField } from "./parameter-field.tsx";

/** What each axis of `generate()` asks; an axis that isn't here shows its name. */
const questions: Readonly<Record<string, string>> = {
  layout: "how is the context laid out?",
  adapter: "which weights are changed?",
  skip: "which blocks run?",
  draft: "who guesses ahead?",
  guide: "what reshapes the distribution?",
  sample: "how does it become a token?",
  search: "how do branches live and die?",
  explain: "what does it owe to the prompt?",
};

interface Props {
  readonly settings: Settings;
  readonly onChange: (settings: Settings) => void;
  readonly label: string;
}

/** Every setting of a run: the common ones, and each axis with the methods that this server has. */
export function Picker({ settings, onChange, label }: Props) {
  const set = (more: Partial<Settings>) => onChange({ ...settings, ...more });
  const state = registry.value;
  const refused = state.kind === "ready" ? conflicts(settings, state.registry) : [];
  return (
    <form class="picker" aria-label={label} onSubmit={(event) => event.preventDefault()}>
      <Common settings={settings} set={set} />
      {state.kind === "loading" && <p class="quiet loading">Asking the server for its methods…</p>}
      {state.kind === "failed" && <p class="error-text">The methods could not be read: {state.message}</p>}
      {state.kind === "ready" &&
        Object.entries(state.registry).map(([axis, methods]) => (
          <Axis
            key={axis}
            axis={axis}
            methods={methods}
            conflicts={refused.filter(({ axes }) => axes[0] === axis)}
            choices={settings.axes[axis] ?? []}
            onChange={(choices) => set({ axes: { ...settings.axes, [axis]: choices } })}
          />
        ))}
    </form>
  );
}

function Common({ settings, set }: { readonly settings: Settings; readonly set: (more: Partial<Settings>) => void }) {
  const isOwn = hasOwnSamplers(settings);
  const number = (value: string) => (value === "" ? undefined : Number(value));
  return (
    <fieldset class="common">
      <legend class="sr-only">Length and sampling</legend>
      <NumberField
        label="Tokens at most"
        value={settings.maxTokens}
        min={0}
        max={100_000}
        step={1}
        onChange={(maxTokens) => set({ maxTokens: maxTokens ?? 96 })}
      />
      <NumberField
        label="Temperature"
        hint={isOwn ? "set by your samplers" : settings.temperature === 0 ? "greedy" : undefined}
        value={settings.temperature}
        min={0}
        max={2}
        step={0.1}
        isDisabled={isOwn}
        onChange={(temperature) => set({ temperature: temperature ?? 0 })}
      />
      <NumberField
        label="Top-p"
        value={settings.topP}
        min={0.01}
        max={1}
        step={0.01}
        isDisabled={isOwn || settings.temperature === 0}
        onChange={(topP) => set({ topP: topP ?? 1 })}
      />
      <NumberField
        label="Answers"
        hint={settings.answers > 1 && !isOwn && settings.temperature === 0 ? "all alike at 0" : undefined}
        value={settings.answers}
        min={1}
        max={16}
        step={1}
        onChange={(answers) => set({ answers: answers ?? 1 })}
      />
      <label class="field">
        <span>Seed</span>
        <input
          type="text"
          inputMode="numeric"
          pattern="\d*"
          placeholder="drawn"
          value={settings.seed ?? ""}
          onInput={({ currentTarget: { value, validity } }) => validity.valid && set({ seed: number(value) })}
        />
      </label>
      <label class="field">
        <span>Stop at</span>
        <input
          type="text"
          placeholder="texts, separated by |"
          value={settings.stop.join("|")}
          onInput={({ currentTarget: { value } }) => set({ stop: value.split("|").filter((text) => text !== "") })}
        />
      </label>
    </fieldset>
  );
}

interface NumberProps {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly isDisabled?: boolean;
  readonly onChange: (value: number | undefined) => void;
}

function NumberField({ label, hint, value, min, max, step, isDisabled = false, onChange }: NumberProps) {
  return (
    <label class="field">
      <span>
        {label} {hint !== undefined && <span class="quiet">{hint}</span>}
      </span>
      <input
        type="number"
        {...{ value, min, max, step }}
        disabled={isDisabled}
        onInput={({ currentTarget }) =>
          currentTarget.validity.valid && onChange(currentTarget.value === "" ? undefined : currentTarget.valueAsNumber)
        }
      />
    </label>
  );
}

interface AxisProps {
  readonly axis: string;
  readonly methods: readonly MethodDescription[];
  readonly choices: readonly MethodChoice[];
  /** What of the other settings this axis' methods refuse. */
  readonly conflicts: readonly Conflict[];
  readonly onChange: (choices: readonly MethodChoice[]) => void;
}

function Axis({ axis, methods, choices, conflicts: refused, onChange }: AxisProps) {
  const id = useId();
  if (methods.length === 0) return null;
  const isList = listAxes.has(axis);
  const pick = (name: string) => {
    const picked = name === "" ? [] : [{ name, values: {} }];
    onChange(isList ? [...choices, ...picked] : picked);
  };
  const replace = (index: number, choice: MethodChoice) => onChange(choices.map((old, at) => (at === index ? choice : old)));
  return (
    <fieldset class="axis">
      <legend class="sr-only">{axis}</legend>
      <div class="axis-head">
        <label for={id}>
          <span class="axis-name">{axis}</span> <span class="quiet">{questions[axis]}</span>
        </label>
        <select id={id} value={isList ? "" : (choices[0]?.name ?? "")} onChange={({ currentTarget }) => pick(currentTarget.value)}>
          <option value="">{isList ? (choices.length === 0 ? "none" : "add another…") : "not set"}</option>
          {methods.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </div>
      <div aria-live="polite">
        {refused.map(({ text }) => (
          <p key={text} class="notice">
            {text}
          </p>
        ))}
      </div>
      {choices.map((choice, index) => {
        const method = methods.find(({ name }) => name === choice.name);
        if (method === undefined) return null;
        return (
          <Method
            key={index}
            method={method}
            choice={choice}
            onChange={(next) => replace(index, next)}
            onRemove={isList ? () => onChange(choices.filter((_, at) => at !== index)) : undefined}
          />
        );
      })}
    </fieldset>
  );
}

interface MethodProps {
  readonly method: MethodDescription;
  readonly choice: MethodChoice;
  readonly onChange: (choice: MethodChoice) => void;
  readonly onRemove: (() => void) | undefined;
}

function Method({ method, choice, onChange, onRemove }: MethodProps) {
  const set = (key: string, value: unknown) => {
    const { [key]: _, ...others } = choice.values;
    onChange({ ...choice, values: value === undefined ? others : { ...others, [key]: value } });
  };
  return (
    <div class="method">
      <p>
        {onRemove !== undefined && <strong>{method.name}: </strong>}
        {method.summary}.
        {onRemove !== undefined && (
          <>
            {" "}
            <button type="button" class="link" onClick={onRemove} aria-label={`Remove ${method.name}`}>
              remove
            </button>
          </>
        )}
      </p>
      {Object.entries(method.parameters).map(([key, parameter]) => (
        <ParameterField key={key} name={key} parameter={parameter} value={choice.values[key]} onChange={(value) => set(key, value)} />
      ))}
      {method.source !== undefined && <Source {...method.source} />}
    </div>
  );
}

function Source({ title, arxiv }: NonNullable<MethodDescription["source"]>) {
  return (
    <p class="source">
      <span class="quiet">Source: </span>
      {arxiv === undefined ? (
        title
      ) : (
        <a href={`https://arxiv.org/abs/${arxiv}`} target="_blank" rel="noreferrer">
          {title}, arXiv {arxiv}
        </a>
      )}
    </p>
  );
}
