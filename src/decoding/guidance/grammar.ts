import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { boolean, integer, ours, text } from "../method.ts";
import {
  defaultJsonOptions,
  defaultLimits,
  type GrammarSource,
  type GrammarState,
  grammarsOf,
  type JsonOptions,
  type JsonValue,
  leastJsonOptions,
} from "./grammar/index.ts";
import { defineGuide, type GuideState } from "./guide.ts";

/** Where a schema sets no bound of its own. */
const bound = (name: Exclude<keyof JsonOptions, "openObjects">, doc: string, max: number = defaultLimits.maxRepeat) =>
  integer({ min: name in leastJsonOptions ? 1 : 0, max, default: defaultJsonOptions[name], doc: `JSON: ${doc}` });

const jsonParameters = {
  maxStringLength: bound("maxStringLength", "characters of a string without maxLength, pattern or format"),
  maxItems: bound("maxItems", "items of an array without maxItems"),
  maxAdditionalProperties: bound("maxAdditionalProperties", "members that the schema does not list, and characters of their names"),
  maxDigits: bound("maxDigits", "digits before a number's point, and after it", 1000),
  maxWhitespace: bound("maxWhitespace", "characters of white space where it may stand; 0 for compact JSON"),
  openObjects: boolean({
    default: defaultJsonOptions.openObjects,
    doc: "JSON: other members also where properties are listed and additionalProperties is absent",
  }),
};

/** Allows only tokens with which the answer can still become a text of a grammar; every other one gets -Infinity. */
export const grammar = defineGuide({
  name: "grammar",
  summary: "allows only answers of a JSON Schema, a regular expression or a GBNF grammar",
  source: ours,
  parameters: {
    schema: text({ default: "", doc: "a JSON Schema, as JSON text" }),
    regex: text({ default: "", doc: "a regular expression that the whole answer matches" }),
    gbnf: text({ default: "", doc: "a grammar in llama.cpp's notation" }),
    ...jsonParameters,
    finish: boolean({ default: true, doc: "when maxTokens only just suffices, allow only what still ends in time" }),
  },
  masks: true,
  example: { regex: "[a-z ]{2,40}" },
  needs: ["want.top", "want.fullLogits"],
  create({ finish, schema, regex, gbnf, ...options }) {
    const source = oneSource({ schema, regex, gbnf }, changed(options));
    return {
      name: "grammar",
      weight: 1,
      async start(_prompt, { tokenizer, stop, within }) {
        if (stop.endTokens.size === 0) {
          throw new OptionError("ignoreEndTokens", "contradicts the grammar guide: an answer that is complete could not end");
        }
        const compiled = await within((signal) => grammarsOf(tokenizer).get(source, signal));
        if (compiled === undefined) return nothingDecided;
        return new Guided([compiled.start], finish ? stop.maxTokens : Number.POSITIVE_INFINITY);
      },
    };
  },
});

/** What differs from the defaults: a source is known by its text, and one with the defaults is the one without options. */
function changed(options: JsonOptions): Partial<JsonOptions> {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => value !== defaultJsonOptions[name as keyof JsonOptions]));
}

function oneSource(
  { schema, regex, gbnf }: { readonly schema: string; readonly regex: string; readonly gbnf: string },
  options: Partial<JsonOptions>,
): GrammarSource {
  const given = Object.entries({ schema, regex, gbnf }).filter(([, value]) => value !== "");
  if (given.length !== 1) {
    const names = given.length === 0 ? "none is given" : `${given.map(([name]) => name).join(" and ")} are given`;
    throw new OptionError("guide", `grammar: needs one of schema, regex, gbnf; ${names}`);
  }
  const [option] = Object.keys(options);
  const beside = option === undefined ? {} : { options };
  if (regex !== "" && option !== undefined) throw new OptionError("guide", `grammar: ${option} is about JSON, and regex is given`);
  if (regex !== "") return { kind: "regex", pattern: regex };
  if (gbnf !== "") return { kind: "gbnf", text: gbnf, ...beside };
  try {
    return { kind: "json-schema", schema: JSON.parse(schema) as JsonValue, ...beside };
  } catch (error) {
    throw new OptionError("guide", `grammar: schema is no JSON: ${(error as SyntaxError).message}`);
  }
}

/** For a run whose deadline has passed before the grammar was there: it decides on no row. */
const nothingDecided: GuideState = {
  touches: () => [],
  apply: () => undefined,
  advance: () => undefined,
  rewind: () => undefined,
  fork: () => nothingDecided,
};

/** The states after 0, 1, 2 … tokens of the answer: values, so rewinding and forking is keeping. */
class Guided implements GuideState {
  readonly #states: GrammarState[];
  readonly #maxTokens: number;
  /** Of the last state, once asked for. */
  #mask: Uint32Array | undefined;

  constructor(states: GrammarState[], maxTokens: number) {
    this.#states = states;
    this.#maxTokens = maxTokens;
  }

  touches(): "lowers" {
    return "lowers";
  }

  apply({ ids, logits, size }: Parameters<GuideState["apply"]>[0]): void {
    this.#mask ??= this.#states.at(-1)!.mask(this.#maxTokens - this.#states.length + 1);
    for (let place = 0; place < size; place++) {
      const id = ids[place]!;
      // A row of logits may be longer than the vocabulary: what lies beyond is in no mask.
      if (((this.#mask[id >> 5] ?? 0) & (1 << (id & 31))) === 0) logits[place] = Number.NEGATIVE_INFINITY;
    }
  }

  advance(token: TokenId): void {
    const next = this.#states.at(-1)!.advance(token);
    if (next === undefined) throw new Error(`internal: token ${token} was taken against the grammar`);
    this.#states.push(next);
    this.#mask = undefined;
  }

  rewind(length: number): void {
    this.#states.length = length + 1;
    this.#mask = undefined;
  }

  fork(): Guided {
    return new Guided([...this.#states], this.#maxTokens);
  }
}
