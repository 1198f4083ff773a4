import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { type MethodSpec, parseMethod } from "../method.ts";
import { registry } from "../registry.ts";
import { outsideRun, toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { grammarsOf } from "./grammar/index.ts";
import type { Guide } from "./guide.ts";

const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
const tokenizer = toyTokenizer([...bytes, '{"', '": ', ", ", '"}', "true", "null", "12", "name", "é"]);
const schema = {
  type: "object",
  properties: { name: { type: "string", maxLength: 40 }, tags: { type: "array", items: { type: ["integer", "null"] }, maxItems: 4 } },
  required: ["name", "tags"],
  additionalProperties: false,
};
const validate = new Ajv2020().compile(schema);
/** A law that looks random: a hash of the last tokens and the token. */
const noise = (seed: number) => (tokens: readonly TokenId[]) =>
  Float32Array.from({ length: tokenizer.vocabSize }, (_, id) => {
    let hash = seed;
    for (const value of [...tokens.slice(-3), id]) hash = Math.imul(hash ^ value, 0x9e3779b1) ^ (hash >>> 13);
    return (hash >>> 0) / 2 ** 30;
  });

const guide = (spec: MethodSpec): Guide => {
  const { method, values } = parseMethod(registry.guide, spec, "guide");
  return method.create(values);
};
const run = (maxTokens: number) => ({
  tokenizer,
  stop: { endTokens: tokenizer.endTokens, stopTokens: new Set<TokenId>(), stopTexts: [], maxTokens },
  ...outsideRun,
  guides: [],
});
/** Which tokens the state leaves. */
function allowed(state: Awaited<ReturnType<Guide["start"]>>): number[] {
  const ids = Int32Array.from({ length: tokenizer.vocabSize + 5 }, (_, id) => id); // rows may be longer than the vocabulary
  const logits = Float64Array.from(ids, () => 1);
  state.apply({ ids, logits, size: ids.length, indexOf: (token: TokenId) => token } as unknown as Parameters<typeof state.apply>[0]);
  return [...ids].filter((id) => logits[id] === 1);
}

describe("an answer under the grammar guide", () => {
  test("fifty runs at once with one schema compile it in one thread", async () => {
    let threads = 0;
    const count = () => {
      threads += 1;
    };
    process.on("worker", count);
    try {
      const own = toyTokenizer([...bytes, "true", "12"]);
      const model = toyModel(own, { logits: (tokens) => noise(4)(tokens).subarray(0, own.vocabSize) });
      const options = {
        maxTokens: 30,
        guide: { name: "grammar", schema: JSON.stringify({ type: "array", items: { type: "boolean" }, maxItems: 2 }) },
      };
      const answers = await Promise.all(Array.from({ length: 50 }, () => generateText(model, [1] as TokenId[], options)));
      for (const { text } of answers) expect(JSON.parse(text)).toBeInstanceOf(Array);
      expect(threads).toBe(1);
    } finally {
      process.off("worker", count);
    }
  });

  test("that takes long to compile ends at the run's deadline, or when the run is left", async () => {
    const own = toyTokenizer(bytes);
    const model = toyModel(own, { logits: (tokens) => noise(5)(tokens).subarray(0, own.vocabSize) });
    const options = { guide: { name: "grammar", regex: "(?:a|b)*a(?:a|b){14}c" }, maxTokens: 5 };
    const late = await generateText(model, [1] as TokenId[], { ...options, deadlineMs: 20 });
    expect([late.finishReason, late.text]).toEqual(["deadline", ""]);
    const controller = new AbortController();
    const left = generateText(model, [1] as TokenId[], { ...options, signal: controller.signal });
    setImmediate(() => controller.abort(new Error("left")));
    await expect(left).rejects.toThrow("left");
    expect(grammarsOf(own).size).toBe(0);
  });

  test("parses, validates and ends with stop, greedy and sampled", async () => {
    for (const [seed, options] of [
      [1, {}],
      [2, { temperature: 1, seed: 5 }],
      [3, { temperature: 3, seed: 6, topK: 5 }],
    ] as const) {
      const model = toyModel(tokenizer, { logits: noise(seed) });
      const result = await generateText(model, [1, 2] as TokenId[], {
        ...options,
        maxTokens: 60,
        guide: { name: "grammar", schema: JSON.stringify(schema) },
      });
      const value: unknown = JSON.parse(result.text);
      expect([result.text, validate(value)]).toEqual([result.text, true]);
      expect(result.finishReason).toBe("stop");
    }
  });

  test("is at each step the most probable token of those that lead to a text of the grammar", async () => {
    const logits = noise(7);
    const answer = await generateText(toyModel(tokenizer, { logits }), [9] as TokenId[], {
      maxTokens: 40,
      guide: { name: "grammar", regex: "(?:[abc]{2},?){2,4}!" },
    });
    // What begins a text of the language, in the words of another matcher.
    const isPrefix = (text: string) => {
      const rest = text.replace(/^(?:[abc]{2},?){0,4}/, "");
      const count = text.match(/[abc]{2}/g)?.length ?? 0;
      return rest === "" || (rest === "!" && count >= 2) || (/^[abc]$/.test(rest) && count < 4);
    };
    let text = "";
    const tokens = [9] as TokenId[];
    for (const token of answer.tokens.slice(0, -1)) {
      const row = logits(tokens);
      const best = [...row.keys()]
        .filter((id) => id < 256 && isPrefix(text + String.fromCharCode(id)))
        .reduce((a, b) => (row[b]! > row[a]! ? b : a));
      expect(token).toBe(best);
      text += String.fromCharCode(token);
      tokens.push(token);
    }
    expect(answer.tokens.at(-1)).toBe(tokenizer.end);
    expect(text).toMatch(/^(?:[abc]{2},?){2,4}!$/);
  });

  test("is the same with a draft, which may propose what the grammar forbids", async () => {
    const logits = (tokens: readonly TokenId[]) => {
      const row = noise(tokens.length % 3)(tokens.slice(-1)); // repeats itself, so that n-grams are found
      for (const id of [0x31, 0x2c, 0x78]) row[id]! += 3;
      return row;
    };
    const prompt = [...Buffer.from("[1,1,x,1,1,x")] as TokenId[];
    const options = { maxTokens: 40, guide: { name: "grammar", regex: "\\[(?:1,){8,12}1\\]" } };
    const plain = await generateText(toyModel(tokenizer, { logits }), prompt, options);
    const drafted = await generateText(toyModel(tokenizer, { logits }), prompt, { ...options, draft: "ngram" });
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(plain.text).toMatch(/^\[(?:1,){8,12}1\]$/);
    expect(drafted.facts.drafts!.drafted).toBeGreaterThan(0);
  });

  test("that maxTokens cuts ends with length; finish=false does not look ahead", async () => {
    const logits = (tokens: readonly TokenId[]) =>
      Float32Array.from({ length: tokenizer.vocabSize }, (_, id) => (id === 0x61 ? 9 : -tokens.length));
    const answer = (options: object, maxTokens: number) =>
      generateText(toyModel(tokenizer, { logits }), [1] as TokenId[], {
        maxTokens,
        guide: { name: "grammar", regex: "a{0,9}bcd", ...options },
      });
    const inTime = await answer({}, 7);
    expect([inTime.text, inTime.finishReason]).toEqual(["aaabcd", "stop"]);
    const cut = await answer({ finish: false }, 7);
    expect([cut.text, cut.finishReason]).toEqual(["aaaaaaa", "length"]);
    const impossible = await answer({}, 3);
    expect(impossible.finishReason).toBe("length");
  });
});

test("the state after any rewinds and forks is that of a fresh run over the same tokens", async () => {
  const shared = guide({ name: "grammar", gbnf: 'root ::= "(" root ")" | "x" root? | "yz"' });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom("advance", "rewind", "fork"), fc.nat(50)), { maxLength: 30 }), async (steps) => {
      let state = await shared.start([], run(64));
      let tokens: TokenId[] = [];
      for (const [kind, value] of steps) {
        if (kind === "advance") {
          const ids = allowed(state).filter((id) => id !== tokenizer.end);
          if (ids.length === 0) continue;
          const token = ids[value % ids.length] as TokenId;
          state.advance(token);
          tokens.push(token);
        } else if (kind === "rewind") {
          tokens = tokens.slice(0, value);
          state.rewind(tokens.length);
        } else {
          const left = state;
          state = state.fork();
          const ids = allowed(left);
          left.advance(ids[value % ids.length] as TokenId); // must not show in the fork
        }
      }
      const fresh = await shared.start([], run(64));
      for (const token of tokens) fresh.advance(token);
      expect(allowed(state)).toEqual(allowed(fresh));
      expect(allowed(state).every((id) => id < tokenizer.vocabSize)).toBe(true);
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 1000 : 50 },
  );
});

/** JSON text that the guide lets through whole, byte by byte. */
async function accepts(spec: MethodSpec, text: string): Promise<boolean> {
  const state = await guide(spec).start([], run(10_000));
  const isAllowed = (token: number) => {
    const logits = Float64Array.of(1);
    state.apply({ ids: Int32Array.of(token), logits, size: 1 } as unknown as Parameters<typeof state.apply>[0]);
    return logits[0] === 1;
  };
  for (const byte of Buffer.from(text)) {
    if (!isAllowed(byte)) return false;
    state.advance(byte as TokenId);
  }
  return isAllowed(tokenizer.end!);
}

describe("bounds of JSON that the schema leaves open", () => {
  const value = (text: string) => JSON.stringify(text);
  test.each<[string, object, unknown, [inside: string, outside: string], usual: [inside: string, outside: string]]>([
    [
      "maxStringLength",
      { maxStringLength: 3 },
      { type: "string" },
      [value("abc"), value("abcd")],
      [value("a".repeat(4096)), value("a".repeat(4097))],
    ],
    [
      "maxItems",
      { maxItems: 2 },
      { type: "array", items: { type: "null" } },
      ["[null,null]", "[null,null,null]"],
      [`[${Array(256).fill("null")}]`, `[${Array(257).fill("null")}]`],
    ],
    [
      "maxAdditionalProperties",
      { maxAdditionalProperties: 1 },
      { type: "object", additionalProperties: { type: "null" } },
      ['{"a":null}', '{"a":null,"b":null}'],
      [`{"${"a".repeat(64)}":null}`, `{"${"a".repeat(65)}":null}`],
    ],
    ["maxDigits", { maxDigits: 2 }, { type: "number" }, ["-12.34", "123"], [`${"9".repeat(15)}`, `${"9".repeat(16)}`]],
    [
      "maxWhitespace",
      { maxWhitespace: 0 },
      { type: "array", items: { type: "null" } },
      ["[null]", "[ null]"],
      [`[${" ".repeat(20)}null]`, `[${" ".repeat(21)}null]`],
    ],
    [
      "openObjects",
      { openObjects: true },
      { type: "object", properties: { a: { type: "null" } } },
      ['{"a":null,"b":1}', '{"a":1}'],
      ['{"a":null}', '{"a":null,"b":1}'],
    ],
  ])("%s, as a schema, in GBNF and by default", async (_name, given, schema, [inside, outside], [usual, unusual]) => {
    const text = JSON.stringify(schema);
    for (const source of [{ schema: text }, { gbnf: `root ::= %json ${text}` }]) {
      const spec = { name: "grammar", ...source };
      expect([await accepts({ ...spec, ...given }, inside), await accepts({ ...spec, ...given }, outside)]).toEqual([true, false]);
    }
    const spec = { name: "grammar", schema: text };
    expect([await accepts(spec, usual), await accepts(spec, unusual)]).toEqual([true, false]);
  });

  test("in the compact form, and the largest that are allowed", async () => {
    expect(await accepts('grammar,schema={"type":"number"},maxDigits=1', "1.5")).toBe(true);
    expect(await accepts('grammar,schema={"type":"number"},maxDigits=1', "12")).toBe(false);
    const most = { maxStringLength: 1e6, maxItems: 1e6, maxAdditionalProperties: 1e6, maxDigits: 1000, maxWhitespace: 1e6 };
    expect(await accepts({ name: "grammar", schema: "true", ...most }, `[${"7".repeat(1000)}, "x"]`)).toBe(true);
  });
});

describe("is refused by name", () => {
  test.each<[MethodSpec, RegExp]>([
    ["grammar", /needs one of schema, regex, gbnf; none is given/],
    [{ name: "grammar", regex: "a", gbnf: 'root ::= "a"' }, /regex and gbnf are given/],
    [{ name: "grammar", schema: "{" }, /schema is no JSON/],
    [{ name: "grammar", schema: "{}", maxDigits: 0 }, /^guide: grammar: maxDigits must be an integer in \[1, 1000\], got 0$/],
    [{ name: "grammar", schema: "{}", maxItems: 1e6 + 1 }, /maxItems must be an integer in \[0, 1000000\], got 1000001$/],
    [{ name: "grammar", regex: "a", maxItems: 3 }, /maxItems is about JSON, and regex is given/],
    [{ name: "grammar", schema: "{}", finish: 1 }, /finish must be true or false/],
  ])("%j", (spec, message) => {
    expect(() => guide(spec)).toThrow(OptionError);
    expect(() => guide(spec)).toThrow(message);
  });

  test("a bad grammar, when the run starts", async () => {
    await expect(guide({ name: "grammar", regex: "(" }).start([], run(5))).rejects.toThrow(/^regex: bad regular expression/);
    const noJson = guide({ name: "grammar", gbnf: 'root ::= "a"', openObjects: true }).start([], run(5));
    await expect(noJson).rejects.toThrow("gbnf: openObjects is about JSON, and there is no %json");
  });

  test("ignoreEndTokens", async () => {
    const model = toyModel(tokenizer, { logits: noise(1) });
    const answer = generateText(model, [1] as TokenId[], { ignoreEndTokens: true, guide: { name: "grammar", regex: "a" } });
    await expect(answer).rejects.toThrow(/^ignoreEndTokens: contradicts/);
  });
});

test("a stop text beside it is named in the facts: it may cut the grammar's text", async () => {
  const model = toyModel(tokenizer, { logits: noise(3) });
  const choicesOf = async (stop: object) => {
    const { facts } = await generateText(model, "a", { maxTokens: 4, guide: "grammar,regex=[a-z]{2}", ...stop });
    return facts.choices.filter(({ what }) => what === "stop").map(({ chosen }) => chosen);
  };
  expect(await choicesOf({})).toEqual([]);
  for (const stop of [{ stop: "q" }, { stop: ["q", "x"] }, { stopTokens: [5] }])
    expect(await choicesOf(stop)).toEqual(["may cut what grammar rules"]);
});
