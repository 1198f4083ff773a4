import { OptionError, UnsupportedError } from "../../../errors.ts";
import type { Budget } from "./limits.ts";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = { readonly [key: string]: JsonValue };

/** A schema inside the document, with the JSON pointer that finds it. */
export interface SchemaNode {
  readonly schema: JsonObject | boolean;
  readonly pointer: string;
  /** Its anyOf and oneOf are settled: one alternative of each stands beside it. */
  readonly isSettled: boolean;
}

/** Keywords that restrict values by their parts or size. */
export const assertions: ReadonlySet<string> = new Set([
  ...["properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"],
  ...["prefixItems", "items", "minItems", "maxItems", "uniqueItems"],
  ...["minLength", "maxLength", "pattern", "format"],
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
]);
/** Keywords that by JSON Schema's own definition do not change what is valid. */
const annotations = [
  ...["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated"],
  ...["readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"],
];
const known = new Set([...assertions, ...annotations, "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"]);

/** The JSON document that holds the schema; finds and checks the schemas in it. */
export class SchemaDocument {
  readonly #root: JsonValue;

  /** @throws OptionError if it is nested too deeply or is no schema */
  constructor(root: JsonValue, budget: Budget) {
    checkDepth(root, budget);
    this.#root = root;
  }

  get root(): SchemaNode {
    return this.#node(this.#root, "#");
  }

  /** The schema under `keyword` of a node, or under a key of it. */
  child(node: SchemaNode, ...path: readonly (string | number)[]): SchemaNode {
    let value: JsonValue = node.schema;
    let pointer = node.pointer;
    for (const key of path) {
      value = (value as { readonly [key: string | number]: JsonValue })[key]!;
      pointer = `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
    }
    return this.#node(value, pointer);
  }

  /** What a `$ref` of this node stands for. @throws OptionError, UnsupportedError */
  resolve(node: SchemaNode, reference: string): SchemaNode {
    const where = `${node.pointer}/$ref`;
    if (reference !== "#" && !reference.startsWith("#/")) {
      throw new UnsupportedError(
        `${where}: only references into the same schema ("#", "#/…") are supported, not ${JSON.stringify(reference)}`,
      );
    }
    let value: JsonValue = this.#root;
    let path: string[];
    try {
      path = reference.split("/").slice(1).map(decodeURIComponent);
    } catch (error) {
      if (!(error instanceof URIError)) throw error;
      throw new OptionError(where, `${JSON.stringify(reference)} is no JSON pointer`);
    }
    let pointer = "#";
    for (const part of path) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) {
        throw new OptionError(where, `${JSON.stringify(reference)} is not there`);
      }
      value = (value as JsonObject)[key]!;
      pointer = `${pointer}/${part}`;
    }
    return this.#node(value, pointer);
  }

  #node(value: JsonValue, pointer: string): SchemaNode {
    if (typeof value === "boolean") return { schema: value, pointer, isSettled: false };
    if (!isObject(value)) throw new OptionError(pointer, `a schema is an object or a boolean, not ${JSON.stringify(value)}`);
    for (const keyword of Object.keys(value)) {
      if (!known.has(keyword)) throw new UnsupportedError(`${pointer}/${keyword}: the keyword ${JSON.stringify(keyword)} is not supported`);
    }
    if (value.$id !== undefined && pointer !== "#") throw new UnsupportedError(`${pointer}/$id: a schema within a schema is not supported`);
    return { schema: value, pointer, isSettled: false };
  }
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A keyword's value, checked; undefined if it is absent. The last argument says what it must be. */
export function keyword<T extends JsonValue>(
  { schema, pointer }: SchemaNode,
  name: string,
  isValid: (value: JsonValue) => value is T,
  expected: string,
): T | undefined {
  if (typeof schema === "boolean" || !Object.hasOwn(schema, name)) return undefined;
  const value = schema[name]!;
  if (!isValid(value)) throw new OptionError(`${pointer}/${name}`, `must be ${expected}, not ${JSON.stringify(value)}`);
  return value;
}

export function count(node: SchemaNode, name: string): number | undefined {
  return keyword(node, name, (value): value is number => Number.isInteger(value) && (value as number) >= 0, "an integer from 0 on");
}

export function numeric(node: SchemaNode, name: string): number | undefined {
  return keyword(node, name, (value): value is number => typeof value === "number" && Number.isFinite(value), "a number");
}

export function text(node: SchemaNode, name: string): string | undefined {
  return keyword(node, name, (value): value is string => typeof value === "string", "a string");
}

export function object(node: SchemaNode, name: string): JsonObject | undefined {
  return keyword(node, name, (value): value is JsonObject => isObject(value), "an object");
}

export function list(node: SchemaNode, name: string): readonly JsonValue[] | undefined {
  return keyword(node, name, (value): value is readonly JsonValue[] => Array.isArray(value), "an array");
}

export function nonEmptyList(node: SchemaNode, name: string): readonly JsonValue[] | undefined {
  const values = list(node, name);
  if (values?.length === 0) throw new OptionError(`${node.pointer}/${name}`, "must not be empty");
  return values;
}

export function strings(node: SchemaNode, name: string): readonly string[] | undefined {
  return keyword(
    node,
    name,
    (value): value is string[] => Array.isArray(value) && value.every((entry) => typeof entry === "string"),
    "an array of strings",
  );
}

/** One text per value, whatever the order of its keys: equal values have equal texts. */
export function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key]!)}`).join()}}`;
}

function checkDepth(root: JsonValue, budget: Budget): void {
  let layer: JsonValue[] = [root];
  for (let depth = 0; layer.length > 0; depth++) {
    budget.depth(depth / 2); // a schema within a schema is two levels of JSON: the keyword's and its own
    budget.work(layer.length);
    layer = layer.flatMap((value) => (typeof value === "object" && value !== null ? Object.values(value as JsonObject) : []));
  }
}
