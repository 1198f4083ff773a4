import { FormatError } from "../../errors.ts";
import type { Json, JsonObject } from "../types.ts";

/**
 * What a model keeps, described as data: from one schema come the TypeScript type, the JSON and the check of JSON that somebody
 * hands back. A `?` field may be undefined; `numbers` is a Float64Array.
 */
export type Schema = Readonly<Record<string, "number" | "integer" | "number?" | "numbers" | "text">>;

export type Fields<S extends Schema> = {
  readonly [K in keyof S]: S[K] extends "number" | "integer"
    ? number
    : S[K] extends "number?"
      ? number | undefined
      : S[K] extends "numbers"
        ? Float64Array
        : string;
};

export function toJson<S extends Schema>(schema: S, fields: Fields<S>): JsonObject {
  return Object.fromEntries(
    Object.keys(schema).map((name) => {
      const value: number | string | Float64Array | undefined = fields[name];
      return [name, value instanceof Float64Array ? Array.from(value) : (value ?? null)];
    }),
  );
}

/**
 * The inverse of `toJson`.
 *
 * @throws FormatError that names the field that is missing or of another kind
 */
export function fromJson<S extends Schema>(model: string, schema: S, json: Json | undefined): Fields<S> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new FormatError(`saved ${model}`, "has no such object");
  const given = json as JsonObject;
  const fields: Record<string, unknown> = {};
  for (const [name, kind] of Object.entries(schema)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    const parsed = parse(kind, value);
    if (parsed === invalid)
      throw new FormatError(`saved ${model}`, `field ${name} is not a ${kind}: ${JSON.stringify(value)?.slice(0, 40)}`);
    fields[name] = parsed;
  }
  return fields as Fields<S>;
}

const invalid = Symbol("invalid");

function parse(kind: Schema[string], value: Json | undefined): unknown {
  if (kind === "text") return typeof value === "string" ? value : invalid;
  if (kind === "numbers") return Array.isArray(value) && value.every((item) => Number.isFinite(item)) ? Float64Array.from(value) : invalid;
  if (kind === "number?" && value === null) return undefined;
  if (kind === "integer") return Number.isSafeInteger(value) ? value : invalid;
  return Number.isFinite(value) ? value : invalid;
}
