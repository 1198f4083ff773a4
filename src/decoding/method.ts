import type { ForwardRequest, Want } from "../engine/index.ts";
import { OptionError } from "../errors.ts";
import { isModelSource, type ModelSource } from "./model.ts";

/** The questions that one call of `generate` answers, and that of `train`; each is an axis with methods as its values. */
export type Axis = "layout" | "adapter" | "skip" | "draft" | "guide" | "sample" | "search" | "explain" | "objective";

/** Fields of a forward request that a method uses: a sequence that refuses one of them can't run the method. */
export type Need = keyof ForwardRequest | `want.${keyof Want}` | "fork" | "rewind" | "keep";

/** One parameter of a method, as the parser checks it and the lists of methods print it. */
export interface Parameter<T = unknown> {
  readonly type: "number" | "integer" | "boolean" | "text" | "token values" | "examples" | "choice" | "function" | "model" | "adapter";
  readonly doc: string;
  /** Absent: the parameter must be given, unless it is optional. */
  readonly default?: T;
  readonly isOptional?: true;
  /** Names of a choice; of a model or an adapter those that can be named, where a program says which (a server). */
  readonly choices?: readonly string[];
  /** Whether a choice may also be a function of the caller's. */
  readonly takesFunction?: true;
  /** Limits of a number, or of each value of a map. */
  readonly min?: number;
  readonly max?: number;
  /** Whether the limit itself is outside the range. */
  readonly isMinOpen?: boolean;
}

type Rules<T> = Omit<Parameter<T>, "type">;
export const number = (rules: Rules<number>): Parameter<number> => ({ type: "number", ...rules });
export const integer = (rules: Rules<number>): Parameter<number> => ({ type: "integer", ...rules });
export const boolean = (rules: Rules<boolean>): Parameter<boolean> => ({ type: "boolean", ...rules });
export const text = (rules: Rules<string>): Parameter<string> => ({ type: "text", ...rules });
/** A map from token id to number. In the compact form `13:-2;42:5`. */
export const tokenValues = (rules: Rules<TokenValues>): Parameter<TokenValues> => ({ type: "token values", ...rules });
/** One of several names or, with `takesFunction`, a function, which only a program can give. */
export const choice = <Name>(rules: Rules<Name> & { readonly choices: readonly string[] }): Parameter<Name> => ({
  type: "choice",
  ...rules,
});
/** A function, which only a program can give. */
export const callable = <Callable>(
  rules: Omit<Rules<Callable | undefined>, "default" | "isOptional">,
): Parameter<Callable | undefined> => ({
  type: "function",
  isOptional: true,
  ...rules,
});
/** Another model, by name, by path or as an object that `load()` gave. */
export const model = (rules: Rules<ModelSource>): Parameter<ModelSource> => ({ type: "model", ...rules });
/** An adapter that was loaded with a model, by name. */
export const adapter = (rules: Rules<string>): Parameter<string> => ({ type: "adapter", ...rules });
export type TokenValues = Readonly<Record<string, number>>;
/** A list of solved examples; it has no compact form. */
export const examples = (rules: Rules<readonly Example[]>): Parameter<readonly Example[]> => ({ type: "examples", ...rules });
export interface Example {
  readonly input: string;
  readonly output: string;
}
/** A parameter that may be left out. */
export const optional = <T>(parameter: Parameter<T>): Parameter<T | undefined> => ({ ...parameter, isOptional: true });

export type ParameterTable = Readonly<Record<string, Parameter>>;
export type ParameterValues<Table extends ParameterTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Parameter<infer T> ? T : never;
};

/** Where a method comes from. */
export interface Source {
  readonly title: string;
  readonly arxiv?: string;
}
/** What every engine has. */
export const standard: Source = { title: "standard" };
/** What is this program's own. */
export const ours: Source = { title: "ours" };

/** One value of an axis. `Made` is what the axis's methods give: a sampler, a guide, a search. */
export interface Method<Made> {
  readonly axis: Axis;
  readonly name: string;
  /** One line. */
  readonly summary: string;
  readonly parameters: ParameterTable;
  /** Where it comes from: a paper, {@link standard} or {@link ours}. The registry's tests ask every method for it. */
  readonly source?: Source;
  readonly needs: readonly Need[];
  /** Whether it does what is done without any method of its axis, so that nothing need refuse it. */
  readonly isNeutral?: true;
  /** Whether it draws several answers, so that without any sampling option tokens are drawn, not greedy; greedy is refused. */
  readonly draws?: true;
  /** Values of parameters with which it shows what it does: lists print them, tests run them. A model is whatever serves. Default: none. */
  readonly example?: Readonly<Record<string, unknown>>;
  /** Values with which it changes nothing: the tests hold it to that beside every other method. */
  readonly neutral?: Readonly<Record<string, unknown>>;
  /** A guide that only rules tokens out: it goes before the others, so that these weigh what is possible. */
  readonly masks?: true;
  /** Axes of which no method but the neutral ones can be used beside this one, each with the reason. Default: none. */
  readonly refuses?: Partial<Readonly<Record<Axis, string>>>;
  /** @param values checked values, defaults filled in */
  create(values: Readonly<Record<string, unknown>>): Made;
}

/** A method as its file writes it, `create` typed by the table of parameters; the axis's `define…` function completes it. */
export type Definition<Made, Table extends ParameterTable> = Omit<Method<Made>, "axis" | "parameters" | "create"> & {
  readonly parameters: Table;
  create(values: ParameterValues<Table>): Made;
};

/** Completes a definition. Sound because {@link parseMethod} checks every value against the table before `create` sees it. */
export function defineMethod<Made, Table extends ParameterTable>(axis: Axis, definition: Definition<Made, Table>): Method<Made> {
  return { axis, ...definition } as unknown as Method<Made>;
}

/** How a caller names a method: `"top-k,k=40"`, or `{ name: "top-k", k: 40 }`. */
export type MethodSpec = string | { readonly name: string; readonly [parameter: string]: unknown };

/** A method with its parameters, checked. */
export interface ParsedMethod<Made> {
  readonly method: Method<Made>;
  readonly values: Readonly<Record<string, unknown>>;
}

/**
 * Reads a method by its name and parameters, in the compact form or as an object. In the compact form a value in quotes is a JSON string.
 *
 * @param option  how the caller wrote the option, for messages
 * @param beside  parameters that have no compact form
 * @throws OptionError naming the method or parameter, its range and the value
 */
export function parseMethod<Made>(
  methods: readonly Method<Made>[],
  spec: MethodSpec,
  option: string,
  beside: Readonly<Record<string, unknown>> = {},
): ParsedMethod<Made> {
  const { name, given } = typeof spec === "string" ? parseCompact(spec, option) : splitObject(spec, option);
  for (const [key, value] of Object.entries(beside)) {
    if (given.has(key)) throw new OptionError(option, `${name}: ${key} is given twice`);
    given.set(key, value);
  }
  const method = methods.find((candidate) => candidate.name === name);
  if (method === undefined) {
    const known = methods.length === 0 ? "there is none on this axis yet" : `there are ${methods.map((m) => m.name).join(", ")}`;
    throw new OptionError(option, `no method ${JSON.stringify(name)}; ${known}`);
  }
  for (const key of given.keys()) {
    if (!Object.hasOwn(method.parameters, key)) {
      const known = Object.keys(method.parameters);
      const list = known.length === 0 ? "it has none" : `it has ${known.join(", ")}`;
      throw new OptionError(option, `${name} has no parameter ${JSON.stringify(key)}; ${list}`);
    }
  }
  const values: Record<string, unknown> = {};
  for (const [key, parameter] of Object.entries(method.parameters)) {
    const value = given.get(key);
    if (value !== undefined) {
      const typed = typeof spec === "string" && !Object.hasOwn(beside, key) ? fromText(parameter, value as string) : value;
      values[key] = checkParameter(parameter, typed, option, `${name}: ${key} `);
    } else if (parameter.default !== undefined) values[key] = parameter.default;
    else if (parameter.isOptional !== true) throw new OptionError(option, `${name} needs ${key} (${describeRange(parameter)})`);
  }
  return { method, values };
}

/** The models that a method's parameters name. */
export function modelsOf({ method, values }: ParsedMethod<unknown>): readonly ModelSource[] {
  const names = Object.keys(method.parameters).filter((key) => method.parameters[key]!.type === "model");
  return names.map((key) => values[key] as ModelSource | undefined).filter((source) => source !== undefined);
}

/** Checks one value. @throws OptionError `option: <prefix>must be …, got …` */
export function checkParameter(parameter: Parameter, value: unknown, option: string, prefix = ""): unknown {
  if (!isParameter(parameter, value)) throw new OptionError(option, `${prefix}must be ${describeRange(parameter)}, got ${show(value)}`);
  return value;
}

/** Whether a value has the parameter's type and lies in its range. */
export function isParameter(parameter: Parameter, value: unknown): boolean {
  switch (parameter.type) {
    case "number":
      return isInRange(parameter, value);
    case "integer":
      return Number.isInteger(value) && isInRange(parameter, value);
    case "boolean":
      return typeof value === "boolean";
    case "text":
    case "adapter":
      return typeof value === "string";
    case "choice":
      return parameter.choices!.includes(value as string) || (parameter.takesFunction === true && typeof value === "function");
    case "function":
      return typeof value === "function";
    case "model":
      return isModelSource(value);
    case "token values":
      return (
        typeof value === "object" &&
        value !== null &&
        Object.entries(value).every(([id, entry]) => /^(0|[1-9]\d*)$/.test(id) && isInRange(parameter, entry))
      );
    case "examples":
      return Array.isArray(value) && value.every(isExample);
    default:
      return parameter.type satisfies never;
  }
}

function isExample(value: unknown): value is Example {
  const { input, output } = (value ?? {}) as Partial<Example>;
  return typeof input === "string" && typeof output === "string";
}

/** "a number in (0, 1]", "an integer >= 1", "true or false". */
export function describeRange(parameter: Parameter): string {
  const { type, min, max, isMinOpen, choices } = parameter;
  const range =
    min !== undefined && max !== undefined
      ? ` in ${isMinOpen ? "(" : "["}${min}, ${max}]`
      : min !== undefined
        ? ` ${isMinOpen ? ">" : ">="} ${min}`
        : "";
  const aFunction = "a function, from a program";
  const named = (what: string) => (choices === undefined ? what : choices.length === 0 ? "none is loaded" : `one of ${choices.join(", ")}`);
  return {
    choice: `one of ${choices?.join(", ")}${parameter.takesFunction === true ? ` or ${aFunction}` : ""}`,
    function: aFunction,
    number: `a number${range}`,
    integer: `an integer${range}`,
    boolean: "true or false",
    text: "text",
    model: named("a model's name or path"),
    adapter: named("a loaded adapter's name"),
    "token values": `a map from token ids to numbers${range}`,
    examples: "a list of { input, output }, both texts",
  }[type];
}

function isInRange({ min = -Number.MAX_VALUE, max = Number.MAX_VALUE, isMinOpen }: Parameter, value: unknown): boolean {
  return typeof value === "number" && value <= max && (isMinOpen ? value > min : value >= min);
}

/** A value as a message quotes it. */
export function show(value: unknown): string {
  return typeof value === "string" || (typeof value === "object" && value !== null) ? JSON.stringify(value) : String(value);
}

function parseCompact(spec: string, option: string): { name: string; given: Map<string, unknown> } {
  const [name, ...parts] = compactParts(spec);
  const given = new Map<string, unknown>();
  for (const part of parts) {
    const equals = part.indexOf("=");
    if (equals <= 0) throw new OptionError(option, `${JSON.stringify(part)} is not key=value, in ${JSON.stringify(spec)}`);
    const key = part.slice(0, equals);
    if (given.has(key)) throw new OptionError(option, `${key} is given twice, in ${JSON.stringify(spec)}`);
    given.set(key, unquoted(key, part.slice(equals + 1), option));
  }
  return { name: name!, given };
}

/** The parts of a compact form: a name, then values by key. A comma ends a part, but not within a value in quotes. */
export function compactParts(spec: string): string[] {
  const parts: string[] = [];
  let from = 0;
  do {
    const rest = spec.slice(from);
    const [part] = /^[^,="]*="(?:[^"\\]|\\.)*"\s*(?=,|$)/.exec(rest) ?? /^[^,]*/.exec(rest)!;
    parts.push(part!.trim());
    from += part!.length + 1;
  } while (from <= spec.length);
  return parts;
}

/** A value in quotes is a JSON string, which may hold commas; every other one is what stands there. */
function unquoted(key: string, value: string, option: string): string {
  if (!/^"(?:[^"\\]|\\.)*"$/.test(value)) return value;
  try {
    return JSON.parse(value) as string;
  } catch (error) {
    throw new OptionError(option, `${key}=${value} is no JSON string: ${(error as SyntaxError).message}`);
  }
}

function splitObject(spec: unknown, option: string): { name: string; given: Map<string, unknown> } {
  if (typeof spec !== "object" || spec === null || typeof (spec as { name?: unknown }).name !== "string") {
    throw new OptionError(option, `must be "name,key=value,…" or { name, … }, got ${show(spec)}`);
  }
  const { name, ...parameters } = spec as { name: string };
  return { name, given: new Map(Object.entries(parameters)) };
}

/** The value a compact form spells; what can't be read stays text and fails the check. */
function fromText(parameter: Parameter, written: string): unknown {
  switch (parameter.type) {
    case "number":
    case "integer":
      return readNumber(written);
    case "boolean":
      return written === "true" ? true : written === "false" ? false : written;
    case "text":
    case "choice":
    case "function":
    case "examples":
    case "model":
    case "adapter":
      return written;
    case "token values":
      return Object.fromEntries(
        written.split(";").map((pair) => {
          const colon = pair.lastIndexOf(":");
          return [pair.slice(0, Math.max(colon, 0)), readNumber(pair.slice(colon + 1))];
        }),
      );
    default:
      return parameter.type satisfies never;
  }
}

function readNumber(written: string): unknown {
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(written) ? Number(written) : written;
}
