import type { JsonValue } from "./schema-nodes.ts";

/**
 * Schemas by feature, written for this project. `valid` values are written with members in the schema's order; they must be
 * accepted where `isSupported`, and a validator must agree with both lists.
 */
export interface CorpusEntry {
  readonly feature: string;
  readonly schema: JsonValue;
  readonly valid: readonly JsonValue[];
  readonly invalid: readonly JsonValue[];
  /** Words of the refusal, for what is not supported. */
  readonly refused?: string;
}

const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name"],
  additionalProperties: false,
} as const;

export const corpus: readonly CorpusEntry[] = [
  { feature: "type: null", schema: { type: "null" }, valid: [null], invalid: [0, "", false] },
  { feature: "type: boolean", schema: { type: "boolean" }, valid: [true, false], invalid: [0, "true"] },
  { feature: "type: integer", schema: { type: "integer" }, valid: [0, -1, 123456789012345], invalid: [1.5, "1"] },
  { feature: "type: number", schema: { type: "number" }, valid: [0, -1.5, 1e21, 2.5e-7, 0.1], invalid: ["1", null] },
  { feature: "type: string", schema: { type: "string" }, valid: ["", 'é😀"\\\n\u0001', "\u2028"], invalid: [1, null] },
  { feature: "type: array", schema: { type: "array" }, valid: [[], [1, [null], {}, "x"]], invalid: [{}] },
  { feature: "type: object", schema: { type: "object" }, valid: [{}, { a: 1, "": [{ b: null }] }], invalid: [[]] },
  { feature: "type list", schema: { type: ["string", "null", "integer"] }, valid: ["x", null, 3], invalid: [1.5, true, []] },
  { feature: "any value (true)", schema: true, valid: [null, 1, "x", [[]], { a: { b: [1] } }], invalid: [] },
  { feature: "any value ({})", schema: { title: "anything" }, valid: [false, [1, "a"]], invalid: [] },
  { feature: "enum", schema: { enum: ["red", 3, null, { a: [1] }] }, valid: ["red", 3, null, { a: [1] }], invalid: ["blue", 4] },
  { feature: "enum with type", schema: { type: "string", enum: ["a", "b", 3] }, valid: ["a", "b"], invalid: [3, "c"] },
  { feature: "const", schema: { const: "Grüße\n" }, valid: ["Grüße\n"], invalid: ["Grüße"] },
  {
    feature: "minLength, maxLength",
    schema: { type: "string", minLength: 2, maxLength: 3 },
    valid: ["ab", "é😀", "abc"],
    invalid: ["a", "abcd", "😀"],
  },
  {
    feature: "long maxLength",
    schema: { type: "string", minLength: 300, maxLength: 5000 },
    valid: ["x".repeat(300), "é".repeat(5000)],
    invalid: ["x".repeat(299)],
  },
  { feature: "pattern", schema: { type: "string", pattern: "^[a-z]{2,4}-\\d+$" }, valid: ["ab-1", "abcd-123"], invalid: ["a-1", "ab-"] },
  {
    feature: "pattern, not anchored",
    schema: { type: "string", pattern: "cat|^dog" },
    valid: ["a cat\n", "dogs"],
    invalid: ["hotdog", ""],
  },
  {
    feature: "pattern with escapes in JSON",
    schema: { type: "string", pattern: '^["\\\\/\\n\\x01]{1,2}$' },
    valid: ['"\\', "\n", "/\u0001"],
    invalid: ["a", ""],
  },
  {
    feature: "pattern with maxLength",
    schema: { type: "string", pattern: "^\\p{L}+( \\p{L}+)*$", maxLength: 9 },
    valid: ["Zoë Ünal", "x"],
    invalid: ["Zoë Ünal Li", " x"],
  },
  {
    feature: "pattern with look-ahead",
    schema: { type: "string", pattern: "^(?=.*\\d).+$" },
    valid: ["a1"],
    invalid: ["a"],
    refused: "look-ahead",
  },
  {
    feature: "format: date",
    schema: { type: "string", format: "date" },
    valid: ["2024-02-29", "1999-12-31"],
    invalid: ["2023-02-29", "2024-13-01", "2024-04-31"],
  },
  {
    feature: "format: time",
    schema: { type: "string", format: "time" },
    valid: ["23:59:59Z", "00:00:00.5+05:30"],
    invalid: ["24:00:00Z", "12:00"],
  },
  {
    feature: "format: date-time",
    schema: { type: "string", format: "date-time" },
    valid: ["2000-02-29T12:30:00Z", "2024-01-01T00:00:00-08:00"],
    invalid: ["1900-02-29T12:30:00Z", "2024-01-01"],
  },
  { feature: "format: duration", schema: { type: "string", format: "duration" }, valid: ["P1Y2M3D", "PT5M", "P3W"], invalid: ["P", "1D"] },
  {
    feature: "format: uuid",
    schema: { type: "string", format: "uuid" },
    valid: ["123e4567-e89b-12d3-a456-426614174000"],
    invalid: ["123e4567"],
  },
  {
    feature: "format: email",
    schema: { type: "string", format: "email" },
    valid: ["ada.l+x@example.org"],
    invalid: ["ada", "@example.org"],
  },
  {
    feature: "format: hostname",
    schema: { type: "string", format: "hostname" },
    valid: ["example.org", "a-b"],
    invalid: ["-a.org", "a..b"],
  },
  { feature: "format: ipv4", schema: { type: "string", format: "ipv4" }, valid: ["192.168.0.255"], invalid: ["256.1.1.1", "1.2.3"] },
  {
    feature: "format: ipv6",
    schema: { type: "string", format: "ipv6" },
    valid: ["::1", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8", "1::"],
    invalid: ["1:2", ":::", "g::"],
  },
  {
    feature: "format: uri",
    schema: { type: "string", format: "uri" },
    valid: ["https://example.org:8080/a/b?x=1#y"],
    invalid: ["example", "http//x"],
  },
  { feature: "unknown format", schema: { type: "string", format: "iri" }, valid: [], invalid: [], refused: "format" },
  {
    feature: "integer minimum, maximum",
    schema: { type: "integer", minimum: -12, maximum: 305 },
    valid: [-12, 0, 99, 305],
    invalid: [-13, 306, 1.5],
  },
  {
    feature: "integer exclusive bounds",
    schema: { type: "integer", exclusiveMinimum: 0, exclusiveMaximum: 1000 },
    valid: [1, 999],
    invalid: [0, 1000],
  },
  { feature: "integer, one bound", schema: { type: "integer", minimum: 18 }, valid: [18, 19, 999999999999999], invalid: [17, -18] },
  { feature: "integer multipleOf", schema: { type: "integer", multipleOf: 7, minimum: 10 }, valid: [14, 7007], invalid: [7, 15] },
  {
    feature: "number minimum, maximum",
    schema: { type: "number", minimum: -1.25, maximum: 0.5 },
    valid: [-1.25, -1, 0, 0.5, 0.049],
    invalid: [-1.26, 0.51, 2],
  },
  {
    feature: "number exclusive bounds",
    schema: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
    valid: [0.5, 0.001, 0.999],
    invalid: [0, 1],
  },
  { feature: "number multipleOf integer", schema: { type: "number", multipleOf: 5 }, valid: [-10, 0, 25], invalid: [2.5, 6] },
  {
    feature: "number multipleOf fraction",
    schema: { type: "number", multipleOf: 0.01 },
    valid: [0.25],
    invalid: [0.001],
    refused: "multipleOf",
  },
  {
    feature: "properties, required, additionalProperties: false",
    schema: person,
    valid: [{ name: "Ada" }, { name: "", age: 36 }],
    invalid: [{}, { name: 1 }, { name: "x", more: 1 }, { name: "x", age: 151 }],
  },
  {
    feature: "optional properties only",
    schema: { type: "object", properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } }, additionalProperties: false },
    valid: [{}, { a: 1 }, { b: 2 }, { a: 1, c: 3 }, { a: 1, b: 2, c: 3 }],
    invalid: [{ d: 1 }, { a: 2 }],
  },
  {
    feature: "keys that need escapes",
    schema: {
      type: "object",
      properties: { 'a"b\\': { type: "null" }, "é\n": { type: "null" } },
      required: ['a"b\\', "é\n"],
      additionalProperties: false,
    },
    valid: [{ 'a"b\\': null, "é\n": null }],
    invalid: [{}],
  },
  {
    feature: "required without properties",
    schema: { type: "object", required: ["id"], additionalProperties: { type: "integer" } },
    valid: [{ id: 1 }, { id: 1, ie: 2 }],
    invalid: [{}, { id: "x" }],
  },
  {
    feature: "additionalProperties schema",
    schema: { type: "object", properties: { kind: { const: "k" } }, required: ["kind"], additionalProperties: { type: "integer" } },
    valid: [{ kind: "k" }, { kind: "k", kin: 1, kindx: 2 }],
    invalid: [{ kind: "k", x: "y" }],
  },
  {
    feature: "map (additionalProperties alone)",
    schema: { type: "object", additionalProperties: { type: "array", items: { type: "boolean" } } },
    valid: [{}, { x: [true], "": [] }],
    invalid: [{ x: true }],
  },
  {
    feature: "patternProperties",
    schema: { type: "object", patternProperties: { "^n_": { type: "integer" }, _s$: { type: "string" } }, additionalProperties: false },
    valid: [{ n_a: 1, b_s: "x" }],
    invalid: [{ c: 1 }, { n_a: "1" }, { n_s: 1 }],
  },
  {
    feature: "patternProperties beside properties",
    schema: {
      type: "object",
      properties: { x_1: { maximum: 5 } },
      patternProperties: { "^x_": { type: "integer" } },
      additionalProperties: false,
    },
    valid: [{ x_1: 5, x_2: 9 }],
    invalid: [{ x_1: 6 }, { x_1: 1.5 }],
  },
  {
    feature: "propertyNames",
    schema: { type: "object", propertyNames: { maxLength: 3 } },
    valid: [{ abc: 1 }],
    invalid: [{ abcd: 1 }],
    refused: "propertyNames",
  },
  {
    feature: "minProperties, maxProperties",
    schema: {
      type: "object",
      properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } },
      minProperties: 1,
      maxProperties: 2,
      additionalProperties: false,
    },
    valid: [{ a: 1 }, { b: 2, c: 3 }, { a: 1, c: 3 }],
    invalid: [{}, { a: 1, b: 2, c: 3 }],
  },
  {
    feature: "minProperties of a map",
    schema: { type: "object", minProperties: 1, maxProperties: 3, additionalProperties: { type: "null" } },
    valid: [{ x: null }, { a: null, b: null, c: null }],
    invalid: [{}, { a: null, b: null, c: null, d: null }],
  },
  {
    feature: "dependentRequired",
    schema: { type: "object", dependentRequired: { a: ["b"] } },
    valid: [{}],
    invalid: [{ a: 1 }],
    refused: "dependentRequired",
  },
  {
    feature: "unevaluatedProperties",
    schema: { type: "object", unevaluatedProperties: false },
    valid: [{}],
    invalid: [{ a: 1 }],
    refused: "unevaluatedProperties",
  },
  { feature: "items", schema: { type: "array", items: { type: "integer" } }, valid: [[], [1], [1, 2, 3]], invalid: [["x"], [1, null]] },
  {
    feature: "minItems, maxItems",
    schema: { type: "array", items: { enum: ["a", "b"] }, minItems: 1, maxItems: 3 },
    valid: [["a"], ["a", "b", "a"]],
    invalid: [[], ["a", "a", "a", "a"], ["c"]],
  },
  {
    feature: "many items",
    schema: { type: "array", items: { const: 0 }, minItems: 200, maxItems: 1000 },
    valid: [Array.from({ length: 200 }, () => 0)],
    invalid: [[0]],
  },
  {
    feature: "prefixItems",
    schema: { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false, minItems: 1 },
    valid: [["x"], ["x", 1]],
    invalid: [[], [1], ["x", 1, 2]],
  },
  {
    feature: "prefixItems and items",
    schema: { type: "array", prefixItems: [{ const: "h" }], items: { type: "null" }, maxItems: 3 },
    valid: [[], ["h"], ["h", null, null]],
    invalid: [["x"], ["h", 1], ["h", null, null, null]],
  },
  {
    feature: "uniqueItems",
    schema: { type: "array", items: { type: "integer" }, uniqueItems: true },
    valid: [[1, 2]],
    invalid: [[1, 1]],
    refused: "uniqueItems",
  },
  { feature: "contains", schema: { type: "array", contains: { const: 1 } }, valid: [[1]], invalid: [[2]], refused: "contains" },
  {
    feature: "$ref to $defs",
    schema: { $defs: { p: person }, type: "array", items: { $ref: "#/$defs/p" } },
    valid: [[{ name: "x" }], []],
    invalid: [[{}]],
  },
  {
    feature: "$ref beside keywords",
    schema: { $defs: { n: { type: "number" } }, $ref: "#/$defs/n", minimum: 0, maximum: 1 },
    valid: [0, 0.5, 1],
    invalid: [2, "x"],
  },
  {
    feature: "recursive $ref (tree)",
    schema: {
      type: "object",
      properties: { v: { type: "integer" }, kids: { type: "array", items: { $ref: "#" } } },
      required: ["v"],
      additionalProperties: false,
    },
    valid: [
      { v: 1 },
      {
        v: 1,
        kids: [
          { v: 2, kids: [] },
          { v: 3, kids: [{ v: 4 }] },
        ],
      },
    ],
    invalid: [{ v: 1, kids: [{}] }],
  },
  {
    feature: "mutual recursion",
    schema: {
      $defs: {
        a: { type: "object", properties: { b: { $ref: "#/$defs/b" } }, additionalProperties: false },
        b: { type: ["array", "null"], items: { $ref: "#/$defs/a" } },
      },
      $ref: "#/$defs/a",
    },
    valid: [{}, { b: null }, { b: [{}, { b: [] }] }],
    invalid: [{ b: {} }],
  },
  { feature: "$ref to another document", schema: { $ref: "https://example.org/x.json" }, valid: [], invalid: [], refused: "$ref" },
  { feature: "anyOf", schema: { anyOf: [{ type: "integer" }, { type: "string", maxLength: 2 }] }, valid: [1, "ab"], invalid: ["abc", 1.5] },
  {
    feature: "anyOf beside properties",
    schema: {
      type: "object",
      properties: { a: { const: 1 }, b: { const: 2 } },
      additionalProperties: false,
      anyOf: [{ required: ["a"] }, { required: ["b"] }],
    },
    valid: [{ a: 1 }, { b: 2 }, { a: 1, b: 2 }],
    invalid: [{}],
  },
  {
    feature: "oneOf by type",
    schema: { oneOf: [{ type: "null" }, { type: "array", items: { type: "integer" } }] },
    valid: [null, [1]],
    invalid: ["x", ["x"]],
  },
  {
    feature: "oneOf by a constant property",
    schema: {
      oneOf: [
        { type: "object", properties: { k: { const: "c" }, r: { type: "number" } }, required: ["k", "r"], additionalProperties: false },
        { type: "object", properties: { k: { const: "s" }, w: { type: "integer" } }, required: ["k", "w"], additionalProperties: false },
      ],
    },
    valid: [
      { k: "c", r: 0.5 },
      { k: "s", w: 3 },
    ],
    invalid: [{ k: "c", w: 3 }, { k: "x" }],
  },
  {
    feature: "oneOf that may overlap",
    schema: {
      oneOf: [
        { type: "number", maximum: 5 },
        { type: "integer", minimum: 3 },
      ],
    },
    valid: [1, 9],
    invalid: [4],
    refused: "oneOf",
  },
  {
    feature: "allOf",
    schema: {
      allOf: [
        { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
        { properties: { a: { maximum: 9 }, b: { type: "string" } }, required: ["b"] },
      ],
    },
    valid: [{ a: 9, b: "" }],
    invalid: [{ a: 10, b: "" }, { a: 1 }, { b: "" }],
  },
  {
    feature: "allOf of patterns",
    schema: { type: "string", allOf: [{ pattern: "^a" }, { pattern: "z$" }], maxLength: 5 },
    valid: ["az", "abcz"],
    invalid: ["a", "z", "abcdez"],
  },
  { feature: "not", schema: { not: { type: "string" } }, valid: [1], invalid: ["x"], refused: "not" },
  // biome-ignore lint/suspicious/noThenProperty: the keyword is called so
  { feature: "if, then, else", schema: { if: { type: "string" }, then: { minLength: 1 } }, valid: [1], invalid: [""], refused: "if" },
  {
    feature: "annotations",
    schema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      title: "t",
      description: "d",
      default: 1,
      examples: [2],
      deprecated: false,
      type: "integer",
    },
    valid: [3],
    invalid: ["x"],
  },
  {
    feature: "function call (tool arguments)",
    schema: {
      type: "object",
      properties: {
        name: { const: "get_weather" },
        arguments: {
          type: "object",
          properties: {
            city: { type: "string", minLength: 1 },
            unit: { enum: ["celsius", "fahrenheit"] },
            days: { type: "integer", minimum: 1, maximum: 14 },
          },
          required: ["city", "unit"],
          additionalProperties: false,
        },
      },
      required: ["name", "arguments"],
      additionalProperties: false,
    },
    valid: [{ name: "get_weather", arguments: { city: "Köln", unit: "celsius", days: 3 } }],
    invalid: [{ name: "get_weather", arguments: { city: "", unit: "celsius" } }],
  },
  {
    feature: "extraction (nested arrays of objects)",
    schema: {
      type: "object",
      properties: {
        title: { type: "string" },
        authors: {
          type: "array",
          minItems: 1,
          items: {
            type: "object",
            properties: {
              name: { type: "string" },
              orcid: { anyOf: [{ type: "string", pattern: "^\\d{4}-\\d{4}-\\d{4}-\\d{3}[\\dX]$" }, { type: "null" }] },
            },
            required: ["name", "orcid"],
            additionalProperties: false,
          },
        },
        published: { type: "string", format: "date" },
        tags: { type: "array", items: { type: "string", maxLength: 20 }, maxItems: 5 },
      },
      required: ["title", "authors"],
      additionalProperties: false,
    },
    valid: [{ title: "On Computable Numbers", authors: [{ name: "A. M. Turing", orcid: null }], published: "1936-11-12", tags: ["logic"] }],
    invalid: [{ title: "x", authors: [] }],
  },
];
