import { Ajv2020 } from "ajv/dist/2020.js";
import ajvFormats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError, UnsupportedError } from "../../../errors.ts";
import { defaultJsonOptions, type JsonOptions } from "./schema.ts";
import { corpus } from "./schema-corpus.ts";
import type { JsonValue } from "./schema-nodes.ts";
import type { GrammarState, TokenGrammar } from "./state.ts";
import { acceptsText, byteTrie, grammarOf, idsOf } from "./testing.ts";

const ajv = new Ajv2020({ strict: false, allErrors: false });
ajvFormats.default(ajv);
const trie = byteTrie(['{"', '":', ", ", '",', '"}', "]}", "true", "null", "123", "ab", "é", "\\n", "  ", "\n "]);
const grammarFor = (schema: JsonValue, options: Partial<JsonOptions> = {}): TokenGrammar =>
  grammarOf({ kind: "json-schema", schema, options }, trie);
const isSoak = process.env.CHAINRULE_SOAK !== undefined;

/** Walks the masks at random to the end of a text: prefers tokens that lead on for some time, then whatever ends soonest. */
function randomText(grammar: TokenGrammar, next: () => number, length: number): string {
  const bytes: number[] = [];
  let state: GrammarState = grammar.start;
  for (let left = Math.max(length, state.shortestCompletion() + 1); ; left--) {
    const allowed = idsOf(state.mask(left));
    const token = allowed[next() % allowed.length]!;
    state = state.advance(token)!;
    if (state.isEnded) return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    bytes.push(...trie.piece(token));
  }
}

const random = fc.infiniteStream(fc.nat()).map((stream) => () => stream.next().value);
const supported = corpus.filter(({ refused }) => refused === undefined);

describe.each(supported)("$feature", ({ schema, valid, invalid }) => {
  const grammar = grammarFor(schema);
  const validate = ajv.compile(schema as object);

  test("the validator agrees with the examples, and so does the grammar", () => {
    for (const value of valid) {
      expect([value, validate(value)]).toEqual([value, true]);
      expect([value, acceptsText(grammar, JSON.stringify(value))]).toEqual([value, true]);
    }
    for (const value of invalid) {
      expect([value, validate(value)]).toEqual([value, false]);
      expect([value, acceptsText(grammar, JSON.stringify(value))]).toEqual([value, false]);
    }
  });

  test("every text from the masks parses and is valid", () => {
    fc.assert(
      fc.property(random, fc.integer({ min: 5, max: 120 }), (next, length) => {
        const text = randomText(grammar, next, length);
        const value: unknown = JSON.parse(text);
        expect([text, validate(value), validate.errors]).toEqual([text, true, null]);
      }),
      { numRuns: isSoak ? 500 : 12 },
    );
  });
});

test.each(corpus.filter(({ refused }) => refused !== undefined))("$feature is refused by name", ({ schema, refused }) => {
  expect(() => grammarFor(schema)).toThrow(UnsupportedError);
  expect(() => grammarFor(schema)).toThrow(refused);
});

/** Schemas with a value that satisfies each, both from one recipe; members in the schema's order. */
interface Sample {
  readonly schema: JsonValue;
  readonly value: JsonValue;
}
const scalar: fc.Arbitrary<Sample> = fc.oneof(
  fc.tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(50), fc.nat(50)).map(([value, below, above]) => ({
    schema: { type: "integer", minimum: value - below, maximum: value + above },
    value,
  })),
  fc
    .tuple(
      fc.integer({ min: -9_999_999, max: 9_999_999 }),
      fc.integer({ min: 0, max: 6 }),
      fc.nat(3),
      fc.nat(3),
      fc.boolean(),
      fc.boolean(),
    )
    .map(([digits, shift, below, above, isMinExclusive, isMaxExclusive]) => {
      const value = Number(`${digits}e-${shift}`);
      const [low, high] = [value - below, value + above].map((end) => Number(end.toFixed(shift))) as [number, number];
      return {
        schema: {
          type: "number",
          ...(isMinExclusive && low < value ? { exclusiveMinimum: low } : { minimum: low }),
          ...(isMaxExclusive && high > value ? { exclusiveMaximum: high } : { maximum: high }),
        },
        value,
      };
    }),
  fc.tuple(fc.string({ unit: "grapheme", maxLength: 12 }), fc.nat(3), fc.nat(3)).map(([value, below, above]) => {
    const length = Array.from(value).length;
    return { schema: { type: "string", minLength: Math.max(0, length - below), maxLength: length + above }, value };
  }),
  fc.stringMatching(/^[a-f"\\é]{1,6}x?$/).map((value) => ({ schema: { type: "string", pattern: '^[a-f"\\\\é]{1,6}x?$' }, value })),
  fc.jsonValue({ maxDepth: 1 }).map((value) => ({ schema: { const: value as JsonValue }, value: value as JsonValue })),
  fc.constantFrom<Sample>({ schema: { type: ["boolean", "null"] }, value: true }, { schema: { type: "null" }, value: null }),
  fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }).map((date) => ({
    schema: { type: "string", format: "date-time" },
    value: date.toISOString(),
  })),
);
const sample: fc.Arbitrary<Sample> = fc.letrec<{ sample: Sample }>((tie) => ({
  sample: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    scalar,
    fc.array(tie("sample"), { maxLength: 3 }).map((items) => ({
      schema: { type: "array", prefixItems: items.map(({ schema }) => schema).concat([true]), items: false, minItems: items.length },
      value: items.map(({ value }) => value),
    })),
    fc.tuple(tie("sample"), fc.integer({ min: 0, max: 4 })).map(([{ schema, value }, length]) => ({
      schema: { type: "array", items: schema, minItems: Math.min(length, 2), maxItems: Math.max(length, 1) },
      value: Array.from({ length }, () => value),
    })),
    fc
      .uniqueArray(
        fc.tuple(
          fc.string({ maxLength: 4 }).filter((key) => !/^\d+$/.test(key) && key !== "__proto__"),
          tie("sample"),
          fc.constantFrom("required", "present", "absent"),
        ),
        { selector: ([key]) => key, maxLength: 4 },
      )
      .map((members) => ({
        schema: {
          type: "object",
          properties: Object.fromEntries(members.map(([key, { schema }]) => [key, schema])),
          required: members.filter(([, , role]) => role === "required").map(([key]) => key),
          additionalProperties: false,
        },
        value: Object.fromEntries(members.filter(([, , role]) => role !== "absent").map(([key, { value }]) => [key, value])),
      })),
    fc.tuple(tie("sample"), tie("sample")).map(([a, b]) => ({ schema: { anyOf: [a.schema, b.schema] }, value: b.value })),
    fc.tuple(tie("sample")).map(([{ schema, value }]) => ({ schema: { allOf: [schema, {}], title: "both" }, value })),
  ),
})).sample;

test("the value that a random schema was built around is accepted; texts from its masks are valid", () => {
  fc.assert(
    fc.property(sample, random, ({ schema, value }, next) => {
      const validate = ajv.compile(schema as object);
      expect(validate(value)).toBe(true);
      const grammar = grammarFor(schema);
      const text = JSON.stringify(value);
      expect([text, acceptsText(grammar, text)]).toEqual([text, true]);
      for (let i = 0; i < 2; i++) {
        const written = randomText(grammar, next, 60);
        expect([written, validate(JSON.parse(written))]).toEqual([written, true]);
      }
    }),
    { numRuns: isSoak ? 3000 : 120 },
  );
});

test("integer ranges accept exactly the integers inside", () => {
  const end = fc.integer({ min: -1200, max: 1200 });
  fc.assert(
    fc.property(end, end, (a, b) => {
      const [minimum, maximum] = [Math.min(a, b), Math.max(a, b)];
      const grammar = grammarFor({ type: "integer", minimum, maximum });
      for (let value = -1300; value <= 1300; value += 1) {
        const near = Math.min(Math.abs(value - minimum), Math.abs(value - maximum)) < 3 || value % 37 === 0;
        if (near) expect([value, acceptsText(grammar, String(value))]).toEqual([value, minimum <= value && value <= maximum]);
      }
    }),
    { numRuns: 40 },
  );
});

test("decimal ranges accept exactly the decimals inside", () => {
  const end = fc
    .tuple(fc.integer({ min: -250, max: 250 }), fc.integer({ min: 0, max: 2 }))
    .map(([digits, shift]) => Number(`${digits}e-${shift}`));
  fc.assert(
    fc.property(end, end, fc.boolean(), fc.boolean(), (a, b, isMinExclusive, isMaxExclusive) => {
      const [min, max] = [Math.min(a, b), Math.max(a, b)];
      fc.pre(min < max);
      const grammar = grammarFor({
        type: "number",
        [isMinExclusive ? "exclusiveMinimum" : "minimum"]: min,
        [isMaxExclusive ? "exclusiveMaximum" : "maximum"]: max,
      });
      for (let step = -2600; step <= 2600; step += 7) {
        for (const text of [`${step}e-3`, `${Math.round(1000 * min) + (step % 5)}e-3`, `${Math.round(1000 * max) + (step % 5)}e-3`]) {
          const value = Number(text);
          const inside = (isMinExclusive ? value > min : value >= min) && (isMaxExclusive ? value < max : value <= max);
          const written = String(Object.is(value, -0) ? 0 : value);
          if (acceptsText(grammar, written) !== inside) expect([written, min, max]).toEqual(inside ? "accepted" : "refused");
        }
      }
    }),
    { numRuns: 25 },
  );
});

describe("options", () => {
  test("bounds where the schema has none", () => {
    const options = { maxStringLength: 3, maxItems: 2, maxAdditionalProperties: 1, maxDigits: 2, maxWhitespace: 0 };
    const accepts = (schema: JsonValue, text: string) => acceptsText(grammarFor(schema, options), text);
    expect([accepts({ type: "string" }, '"abc"'), accepts({ type: "string" }, '"abcd"')]).toEqual([true, false]);
    expect([accepts({ type: "string", minLength: 5 }, '"abcde"'), accepts({ type: "string", minLength: 5 }, '"abcdef"')]).toEqual([
      true,
      false,
    ]);
    expect([accepts({ type: "array" }, "[1,1]"), accepts({ type: "array" }, "[1,1,1]")]).toEqual([true, false]);
    expect([accepts({ type: "object" }, '{"a":1}'), accepts({ type: "object" }, '{"a":1,"b":1}')]).toEqual([true, false]);
    expect([accepts({ type: "integer" }, "-99"), accepts({ type: "integer" }, "100")]).toEqual([true, false]);
    expect([accepts({ type: "number" }, "1.25"), accepts({ type: "number" }, "1.255")]).toEqual([true, false]);
    expect([accepts({ type: "array" }, "[1]"), accepts({ type: "array" }, "[1 ]")]).toEqual([true, false]);
  });

  test("white space stands where a writer puts it", () => {
    const grammar = grammarFor({ type: "object", properties: { a: { type: "array" } } }, { maxWhitespace: 4 });
    expect(acceptsText(grammar, JSON.stringify({ a: [1, 2] }, undefined, 1))).toBe(true);
    expect(acceptsText(grammar, '{     "a":[]}')).toBe(false);
    expect(acceptsText(grammar, ' {"a":[]}')).toBe(false);
    expect(acceptsText(grammar, '{"a" :[]}')).toBe(false);
  });

  test("openObjects lets in what JSON Schema lets in", () => {
    const schema = { type: "object", properties: { a: { const: 1 } } };
    expect(acceptsText(grammarFor(schema), '{"a":1,"b":2}')).toBe(false);
    expect(acceptsText(grammarFor(schema, { openObjects: true }), '{"a":1,"b":2}')).toBe(true);
    expect(acceptsText(grammarFor(schema, { openObjects: true }), '{"a":1,"a":2}')).toBe(false);
    expect(acceptsText(grammarFor(schema, { openObjects: true }), '{"\\u0061":2}')).toBe(false);
    expect(defaultJsonOptions.openObjects).toBe(false);
  });
});

describe("a malformed or hostile schema ends in a typed error", () => {
  const deep = (levels: number): JsonValue => (levels === 0 ? { type: "null" } : { type: "array", items: deep(levels - 1) });
  /** d0 = two of d1, d1 = two of d2 …: 2^30 parts when copied. */
  const doubling = {
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => [
        `d${i}`,
        i === 29
          ? { type: "string" }
          : { type: "object", properties: { x: { $ref: `#/$defs/d${i + 1}` }, y: { $ref: `#/$defs/d${i + 1}` } } },
      ]),
    ),
  };
  test.each<[string, JsonValue, RegExp]>([
    ["a number in place of a schema", 3, /a schema is an object or a boolean/],
    ["an unknown keyword", { typ: "string" }, /#\/typ: the keyword "typ" is not supported/],
    ["an unknown type", { type: "float" }, /#\/type: must be one of/],
    ["a bad count", { type: "string", minLength: -1 }, /#\/minLength: must be an integer/],
    ["a bad list", { type: "object", required: [1] }, /#\/required: must be an array of strings/],
    ["a dangling reference", { $ref: "#/$defs/x" }, /is not there/],
    ["a reference to itself", { $ref: "#" }, /refers to itself without end/],
    ["an alternative that leads back", { anyOf: [{ $ref: "#" }, { type: "null" }] }, /refers to itself without end/],
    ["an endless object", { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, /no text at all/],
    ["nothing allowed", { allOf: [{ type: "string" }, { type: "null" }] }, /no text at all/],
    ["false", false, /no text at all/],
    ["bounds in the wrong order", { type: "integer", minimum: 2, maximum: 1 }, /no text at all/],
    ["a pattern that nothing short enough matches", { type: "string", pattern: "^a{9}$", maxLength: 3 }, /no text at all/],
    ["deep nesting", deep(500), /maxSourceDepth/],
    ["a huge repetition", { type: "array", items: { type: "null" }, maxItems: 2 ** 40 }, /maxRepeat/],
    ["a huge pattern repetition", { type: "string", pattern: "^(?:(?:a{1000}){1000}){1000}$" }, /maxWork|maxStates/],
    ["exponential determinization", { type: "string", pattern: "(?:a|b)*a(?:a|b){40}$" }, /maxWork|maxStates/],
    [
      "exponential alternatives",
      { allOf: Array.from({ length: 30 }, (_, i) => ({ anyOf: [{ minLength: i }, { maxLength: i }] })) },
      /maxWork|maxStates/,
    ],
    ["an unbounded product of lengths", { type: "string", pattern: "^(?:ab|c)*$", minLength: 900_000 }, /maxWork|maxStates/],
  ])("%s", (_, schema, message) => {
    let error: unknown;
    try {
      grammarOf({ kind: "json-schema", schema }, trie, { maxWork: 2_000_000 }); // a tenth of the default
    } catch (thrown) {
      error = thrown;
    }
    expect(error instanceof OptionError || error instanceof UnsupportedError).toBe(true);
    expect((error as Error).message).toMatch(message);
  });

  test("parts that are used twice at every level are compiled once", () => {
    expect(acceptsText(grammarFor(doubling), '{"x":{"y":{}}}')).toBe(true);
  });
});
