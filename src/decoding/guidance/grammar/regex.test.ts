import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError, UnsupportedError } from "../../../errors.ts";
import { acceptsText, byteTrie, grammarOf, idsOf, trieOf } from "./testing.ts";

const accepts = (pattern: string, text: string) => acceptsText(grammarOf({ kind: "regex", pattern }), text);

/** All texts over the letters up to a length. */
function textsUpTo(letters: readonly string[], length: number): string[] {
  let layer = [""];
  const all = [""];
  for (let i = 0; i < length; i++) {
    layer = layer.flatMap((text) => letters.map((letter) => text + letter));
    all.push(...layer);
  }
  return all;
}

/** Patterns over a, b, c without anything that JavaScript reads otherwise. */
const pattern: fc.Arbitrary<string> = fc.letrec<{ node: string; leaf: string; sequence: string; choice: string; repeat: string }>(
  (tie) => ({
    leaf: fc.constantFrom("a", "b", "c", "[ab]", "[^a]", ".", "", "ab", "é"),
    sequence: fc.array(tie("node"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("")),
    choice: fc.array(tie("node"), { minLength: 1, maxLength: 3 }).map((parts) => `(?:${parts.join("|")})`),
    repeat: fc
      .tuple(tie("node"), fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"))
      .map(([body, quantifier]) => `(?:${body})${quantifier}`),
    // Not deep: nested stars make the reference backtrack without end, not us.
    node: fc.oneof({ maxDepth: 2, withCrossShrink: true }, tie("leaf"), tie("sequence"), tie("choice"), tie("repeat")),
  }),
).node;

describe("a regular expression", () => {
  const letters = textsUpTo(["a", "b", "c"], 5); // what the vocabularies below can write
  const texts = letters.concat(textsUpTo(["a", "é"], 4));
  test("accepts what JavaScript's matcher accepts", () => {
    fc.assert(
      fc.property(pattern, (source) => {
        const grammar = grammarOf({ kind: "regex", pattern: `(?:${source})|a` });
        const reference = new RegExp(`^(?:${source}|a)$`, "u");
        for (const text of texts) expect([text, acceptsText(grammar, text)]).toEqual([text, reference.test(text)]);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 3000 : 60 },
    );
  });

  test("allows the token strings that spell prefixes of its texts, and no others", () => {
    const pieces = ["a", "b", "c", "ab", "ba", "aab", "cc", "bc", "aab"];
    const trie = trieOf(pieces);
    fc.assert(
      fc.property(pattern, (source) => {
        const { start } = grammarOf({ kind: "regex", pattern: `(?:${source})|a` }, trie);
        const reference = new RegExp(`^(?:${source}|a)$`, "u");
        const strings: { state: typeof start; text: string }[] = [{ state: start, text: "" }];
        for (const { state, text } of strings) {
          expect([text, state.isComplete]).toEqual([text, reference.test(text)]);
          const allowed = idsOf(state.mask());
          expect(allowed.includes(pieces.length)).toBe(state.isComplete);
          for (const [token, piece] of pieces.entries()) {
            const next = state.advance(token);
            expect(next !== undefined).toBe(allowed.includes(token));
            if (next && (text + piece).length <= 4) strings.push({ state: next, text: text + piece });
            // What is forbidden begins no text.
            if (!next) expect(letters.some((longer) => longer.startsWith(text + piece) && reference.test(longer))).toBe(false);
          }
        }
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 2000 : 40 },
    );
  });

  test.each([
    ["\\d+", "123", "12a"],
    ["\\w\\W", "a-", "--"],
    ["[\\s\\d]x", "\u00a0x", "ax"],
    ["\\u{1F600}|\\uD83D\\uDE01", "😁", "😂"],
    ["[à-ü€-₿😀-😄]{2}", "é😃", "é😅"],
    ["\\p{Lu}\\P{Lu}", "Éé", "éÉ"],
    ["\\p{Script=Greek}+", "αβγ", "abc"],
    ["[^]", "\n", ""],
    ["[\\]\\-a]+", "]-a", "b"],
    ["(?<year>[0-9]{4})-\\x41\\cJ", "2024-A\n", "2024-B\n"],
    ["^ab$|c", "ab", "abc"],
    ["a{500,1000}b", `${"a".repeat(777)}b`, `${"a".repeat(499)}b`],
    ["a{500,1000}b", `${"a".repeat(1000)}b`, `${"a".repeat(1001)}b`],
    ["(?:a|bc){500,}", "bc".repeat(501), "bc".repeat(499)],
    [".{0,300}x.{0,300}", `${"x".repeat(301)}${"y".repeat(300)}`, `${"x".repeat(300)}${"y".repeat(302)}`],
  ])("%s accepts and refuses what JavaScript does", (source, yes, no) => {
    const reference = new RegExp(`^(?:${source})$`, "u");
    expect([reference.test(yes), reference.test(no)]).toEqual([true, false]);
    expect([accepts(source, yes), accepts(source, no)]).toEqual([true, false]);
  });

  test("nothing backtracks: patterns on which JavaScript's matcher never ends", () => {
    const grammar = grammarOf({ kind: "regex", pattern: "(?:a?b?){300}|(?:x+x+)+y" });
    expect(acceptsText(grammar, "ab".repeat(300))).toBe(true);
    expect(acceptsText(grammar, "ab".repeat(301))).toBe(false);
    expect(acceptsText(grammar, "x".repeat(500))).toBe(false);
    expect(acceptsText(grammar, `${"x".repeat(500)}y`)).toBe(true);
  });

  test.each([
    ["every \\p{L}", "\\p{L}", /^\p{L}$/u],
    [".", ".", /^.$/u],
    ["[^\\s\\w]", "[^\\s\\w]", /^[^\s\w]$/u],
  ])("%s: all code points agree with JavaScript", (_, source, reference) => {
    const grammar = grammarOf({ kind: "regex", pattern: source });
    const wrong: number[] = [];
    for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 37) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const text = String.fromCodePoint(code);
      if (acceptsText(grammar, text) !== reference.test(text)) wrong.push(code);
    }
    expect(wrong).toEqual([]);
  });

  test.each(["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "(a)\\1", "(?<n>a)\\k<n>", "\\bword", "(?i:a)", "a^b", "(a$)b"])(
    "%s is refused by name",
    (source) => {
      expect(() => accepts(source, "")).toThrow(UnsupportedError);
    },
  );

  test.each(["(", "a)", "[a", "a{2,1}", "*a", "a**", "\\", "\\q", "[b-a]", "[\\d-z]", "a{", "\\u{110000}", "\\uD800", "\\p{Nope}", "\\x4"])(
    "%s is a syntax error",
    (source) => {
      expect(() => accepts(source, "")).toThrow(OptionError);
    },
  );
});

test("a token may hold part of a character", () => {
  const [first, second] = new TextEncoder().encode("é") as unknown as [number, number];
  const trie = trieOf([Uint8Array.of(first), Uint8Array.of(second), Uint8Array.of(0x61, first), "a", Uint8Array.of(second, second)]);
  const { start } = grammarOf({ kind: "regex", pattern: "aéa?" }, trie);
  expect(idsOf(start.mask())).toEqual([2, 3]);
  const half = start.advance(2)!;
  expect(idsOf(half.mask())).toEqual([1]);
  expect(idsOf(half.advance(1)!.mask())).toEqual([3, 5]);
});

test("every character of several bytes can be written byte by byte", () => {
  const grammar = grammarOf({ kind: "regex", pattern: "[ -\\u{10FFFF}]" }, byteTrie());
  const wrong = [];
  for (let code = 0x20; code <= 0x10ffff; code += 41) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    if (!acceptsText(grammar, String.fromCodePoint(code))) wrong.push(code);
  }
  expect(wrong).toEqual([]);
  const state = grammar.start.advance(0xed)!; // U+D800 would be ED A0 80
  expect(state.allows(0x9f)).toBe(true);
  expect(state.allows(0xa0)).toBe(false);
  expect(grammar.start.allows(0xc0)).toBe(false);
  expect(grammar.start.allows(0xf5)).toBe(false);
});
