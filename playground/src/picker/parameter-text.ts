import type { ParameterDescription } from "../api/wire.ts";

/** A parameter's value as its field shows it. */
export function toField({ type }: ParameterDescription, value: unknown): string {
  if (value === undefined) return "";
  if (type === "examples") return JSON.stringify(value, null, 1);
  if (type !== "token values") return String(value);
  return Object.entries(value as Record<string, number>)
    .map(([id, entry]) => `${id}:${entry}`)
    .join(";");
}

/**
 * What a field's text says. Checks type and limits, so that most slips show while one types; whether a limit itself is allowed is the
 * server's to say, which has the last word on everything.
 */
export function fromField(parameter: ParameterDescription, text: string): { readonly isValid: boolean; readonly value?: unknown } {
  const isInRange = (value: number) =>
    Number.isFinite(value) && value >= (parameter.min ?? Number.NEGATIVE_INFINITY) && value <= (parameter.max ?? Number.POSITIVE_INFINITY);
  switch (parameter.type) {
    case "number":
    case "integer": {
      const value = text.trim() === "" ? Number.NaN : Number(text);
      return isInRange(value) && (parameter.type === "number" || Number.isInteger(value)) ? { isValid: true, value } : { isValid: false };
    }
    case "boolean":
      return { isValid: true, value: text === "true" };
    case "text":
      return { isValid: true, value: text };
    case "examples": {
      const value = parseJson(text);
      const isExample = (one: unknown) => {
        const { input, output } = (one ?? {}) as { input?: unknown; output?: unknown };
        return typeof input === "string" && typeof output === "string";
      };
      return Array.isArray(value) && value.length > 0 && value.every(isExample) ? { isValid: true, value } : { isValid: false };
    }
    case "choice":
    case "model":
    case "adapter":
      return parameter.choices?.includes(text) === true ? { isValid: true, value: text } : { isValid: false };
    case "function":
      return { isValid: false }; // only a program can give one
    case "token values": {
      const pairs = text
        .split(";")
        .map((pair) => pair.trim())
        .filter((pair) => pair !== "")
        .map((pair) => /^(\d+)\s*:\s*([-+]?[\d.]+)$/.exec(pair));
      if (pairs.length === 0 || pairs.some((pair) => pair === null || !isInRange(Number(pair[2])))) return { isValid: false };
      return { isValid: true, value: Object.fromEntries(pairs.map((pair) => [pair![1], Number(pair![2])])) };
    }
    default:
      return parameter.type satisfies never;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // still being typed
  }
}
