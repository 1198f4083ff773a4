import { useEffect, useId, useState } from "preact/hooks";
import type { ParameterDescription } from "../api/wire.ts";
import { fromField, toField } from "./parameter-text.ts";

const placeholders: Partial<Record<ParameterDescription["type"], string>> = {
  "token values": "13:-2;42:5",
  examples: '[{ "input": "2 + 2", "output": "4" }]',
};

interface Props {
  readonly name: string;
  readonly parameter: ParameterDescription;
  /** Undefined: the default. */
  readonly value: unknown;
  readonly onChange: (value: unknown) => void;
}

/** One parameter with what it means, its range and its default. A text that isn't in the range is shown as such and not taken over. */
export function ParameterField({ name, parameter, value, onChange }: Props) {
  const { type, doc, range, min, max } = parameter;
  const id = useId();
  const [text, setText] = useState(toField(parameter, value ?? parameter.default));
  const read = fromField(parameter, text);
  useEffect(() => {
    if (value === undefined) setText((now) => (fromField(parameter, now).isValid ? toField(parameter, parameter.default) : now));
  }, [value, parameter]);
  const isMissing = parameter.default === undefined && parameter.isOptional !== true && value === undefined;
  const isNamed = type === "choice" || type === "model" || type === "adapter";
  const set = (next: string) => {
    setText(next);
    if (next === "" && (parameter.isOptional === true || isNamed)) return onChange(undefined);
    const { isValid, value: parsed } = fromField(parameter, next);
    if (isValid) onChange(toField(parameter, parsed) === toField(parameter, parameter.default) ? undefined : parsed);
  };
  const isWrong = !read.isValid && text !== "";
  const described = `${id}-doc`;
  if (type === "function") {
    return (
      <p class="quiet parameter-doc">
        <code>{name}</code> {doc} · only a program can give it
      </p>
    );
  }
  if (type === "boolean") {
    return (
      <label class="field field-check">
        <input
          type="checkbox"
          checked={text === "true"}
          onChange={({ currentTarget }) => set(String(currentTarget.checked))}
          aria-describedby={described}
        />
        <span>
          <code>{name}</code>{" "}
          <span class="quiet" id={described}>
            {doc}
          </span>
        </span>
      </label>
    );
  }
  const isNumber = type === "number" || type === "integer";
  const hasSlider = isNumber && min !== undefined && max !== undefined && max - min <= 128;
  const attributes = {
    id,
    "aria-describedby": described,
    "aria-invalid": isWrong || undefined,
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) => set(currentTarget.value),
  };
  return (
    <div class="field parameter">
      <label for={id}>
        <code>{name}</code>
      </label>
      {isNamed ? (
        <select id={id} aria-describedby={described} value={text} onChange={({ currentTarget }) => set(currentTarget.value)}>
          {parameter.default === undefined && <option value="">not set</option>}
          {parameter.choices?.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
      ) : isNumber ? (
        <span class="with-slider">
          {hasSlider && (
            <input
              type="range"
              aria-label={`${name}, slider`}
              min={min}
              max={max}
              step={type === "integer" ? 1 : (max - min) / 100}
              value={read.isValid ? Number(text) : min}
              onInput={({ currentTarget }) => set(String(Number(currentTarget.valueAsNumber.toPrecision(6))))}
            />
          )}
          <input type="text" inputMode="decimal" size={6} value={text} {...attributes} />
        </span>
      ) : (
        <textarea
          rows={type === "examples" ? 4 : type === "text" ? 2 : 1}
          value={text}
          spellcheck={false}
          placeholder={placeholders[type]}
          {...attributes}
        />
      )}
      <p class="quiet parameter-doc" id={described}>
        {doc} · <span data-wrong={isWrong || isMissing ? "" : undefined}>{range}</span>
        {parameter.default !== undefined && parameter.default !== "" && ` · default ${toField(parameter, parameter.default)}`}
        {isMissing && " · must be given"}
      </p>
    </div>
  );
}
