import { OptionError } from "../errors.ts";
import type { ForecastingMethod, ParameterSpec, ParameterValue, ParameterValues } from "./types.ts";

/**
 * Checks a model's options by its own table: every name is known, every value of its kind and in its range.
 *
 * @throws OptionError that names the option and what the model takes
 */
export function checkParameters(forecaster: Pick<ForecastingMethod, "name" | "parameters">, given: ParameterValues): void {
  for (const [name, value] of Object.entries(given)) {
    const spec = Object.hasOwn(forecaster.parameters, name) ? forecaster.parameters[name] : undefined;
    if (spec === undefined) {
      const known = Object.keys(forecaster.parameters).join(", ") || "none";
      throw new OptionError(name, `is not a parameter of the model ${forecaster.name} (it has: ${known})`);
    }
    const expected = mismatch(spec, value);
    if (expected !== undefined)
      throw new OptionError(name, `the model ${forecaster.name} expects ${expected}, got ${JSON.stringify(value)}`);
  }
}

/** What `spec` expects, when `value` isn't it. */
function mismatch(spec: ParameterSpec, value: ParameterValue): string | undefined {
  if (spec.kind === "boolean") return typeof value === "boolean" ? undefined : "true or false";
  if (spec.kind === "text") return typeof value === "string" && value !== "" ? undefined : "a text";
  if (spec.kind === "choice") return typeof value === "string" && spec.values.includes(value) ? undefined : spec.values.join(" | ");
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = spec;
  const isNumber = typeof value === "number" && (spec.kind === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value));
  if (isNumber && value >= min && value <= max) return undefined;
  const noun = spec.kind === "integer" ? "an integer" : "a number";
  if (Number.isFinite(min) && Number.isFinite(max)) return `${noun} from ${min} to ${max}`;
  if (Number.isFinite(min)) return `${noun} >= ${min}`;
  return Number.isFinite(max) ? `${noun} <= ${max}` : noun;
}
