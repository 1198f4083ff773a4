import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError, UnsupportedError } from "../../../errors.ts";
import { acceptsText, grammarOf, idsOf, trieOf } from "./testing.ts";

/**
 * An independent recognizer: grammars as trees, matched by trying every way (sets of end positions). Rules may be recursive
 * through the text; a call at the same place that is still being answered gives nothing, which is right without left recursion.
 */
type Node =
  | { kind: "text"; text: string }
  | { kind: "rule"; name: string }
  | { kind: "all" | "any"; parts: Node[] }
  | { kind: "repeat"; body: Node; min: number; max: number };

function ends(node: Node, rules: Record<string, Node>, text: string, at: number): Set<number> {
  switch (node.kind) {
    case "text":
      return new Set(text.startsWith(node.text, at) ? [at + node.text.length] : []);
    case "rule":
      return ends(rules[node.name]!, rules, text, at);
    case "any":
      return new Set(node.parts.flatMap((part) => [...ends(part, rules, text, at)]));
    case "all": {
      let from = new Set([at]);
      for (const part of node.parts) from = new Set([...from].flatMap((end) => [...ends(part, rules, text, end)]));
      return from;
    }
    case "repeat": {
      const found = new Set(node.min === 0 ? [at] : []);
      let from = new Set([at]);
      for (let turn = 1; turn <= Math.min(node.max, node.min + text.length) && from.size > 0; turn++) {
        from = new Set([...from].flatMap((end) => [...ends(node.body, rules, text, end)]));
        if (turn >= node.min) for (const end of from) found.add(end);
      }
      return found;
    }
  }
}

function write(node: Node): string {
  switch (node.kind) {
    case "text":
      return JSON.stringify(node.text);
    case "rule":
      return node.name;
    case "any":
      return `(${node.parts.map(write).join(" | ")})`;
    case "all":
      return `(${node.parts.map(write).join(" ")})`;
    case "repeat":
      return `(${write(node.body)}){${node.min},${node.max === Number.POSITIVE_INFINITY ? "" : node.max}}`;
  }
}

/** Expressions over a and b. Rule references come after a letter only, so that nothing is left-recursive. */
const node: fc.Arbitrary<Node> = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Node>(
      { kind: "text", text: "a" },
      { kind: "text", text: "b" },
      { kind: "text", text: "" },
      { kind: "text", text: "ab" },
    ),
    fc.constantFrom("root", "x", "y").chain((name) =>
      fc.constantFrom("a", "b").map<Node>((text) => ({
        kind: "all",
        parts: [
          { kind: "text", text },
          { kind: "rule", name },
        ],
      })),
    ),
    fc.array(tie("node"), { maxLength: 3 }).map<Node>((parts) => ({ kind: "all", parts })),
    fc.array(tie("node"), { minLength: 1, maxLength: 3 }).map<Node>((parts) => ({ kind: "any", parts })),
    fc
      .tuple(
        tie("node"),
        fc.constantFrom<[number, number]>([0, 1], [0, Number.POSITIVE_INFINITY], [1, Number.POSITIVE_INFINITY], [2, 2], [1, 3]),
      )
      .map<Node>(([body, [min, max]]) => ({ kind: "repeat", body, min, max })),
  ),
})).node;

const texts = [""];
for (const text of texts) if (text.length < 6) texts.push(`${text}a`, `${text}b`);

describe("a GBNF grammar", () => {
  test("accepts what a naive matcher accepts, recursion included", () => {
    fc.assert(
      fc.property(fc.record({ root: node, x: node, y: node }), (bodies) => {
        // A terminating alternative in each rule: a rule that can't end is refused, which other tests show.
        const rules = Object.fromEntries(
          Object.entries(bodies).map(([name, body]) => [name, { kind: "any", parts: [body, { kind: "text", text: "b" }] } satisfies Node]),
        ) as Record<string, Node>;
        const source = Object.entries(rules)
          .map(([name, body]) => `${name} ::= ${write(body)}`)
          .join("\n");
        const grammar = grammarOf({ kind: "gbnf", text: source });
        for (const text of texts) {
          const reference = ends(rules.root!, rules, text, 0).has(text.length);
          if (acceptsText(grammar, text) !== reference) expect([source, text]).toEqual(reference ? "accepted" : "refused");
        }
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 5000 : 150 },
    );
  });

  test.each([
    [
      "balanced brackets",
      'root ::= "(" root ")" | "x" | root-list\nroot-list ::= "[" (root ("," root)*)? "]"',
      ["((x))", "[x,[],(x)]"],
      ["((x)", "[x,]"],
    ],
    ["palindromes (ambiguous until the end)", 'root ::= "a" root "a" | "b" root "b" | ""', ["", "abba", "aabbaa"], ["aba", "ab"]],
    ["two rules that begin alike", 'root ::= x "1" | y "2"\nx ::= "a" x | "b"\ny ::= "a" y | "b"', ["aab1", "aab2"], ["aab3"]],
    ["nullable rules", 'root ::= n n "c" n\nn ::= "a"? m*\nm ::= "b" | n2\nn2 ::= ""', ["c", "abac", "bbcab"], ["", "aaac"]],
    ["counted recursion", 'root ::= ("(" root ")"){2,200} | "."', ["(.)(.)", `${"(.)".repeat(200)}`], ["(.)", "(.)".repeat(201)]],
    ["escapes, classes, comments", 'root ::= "\\x41\\u00e9\\U0001F600\\n" [^\\]a-c] . # done\n', ["Aé😀\nd\n", "Aé😀\n[é"], ["Aé😀\n]x"]],
    ["lines inside groups and after bars", "root ::= (\n  a\n  | [b]\n) |\n  [c]{ 2 }\na ::= [a]+\n\n", ["aa", "b", "cc"], ["ab", "c"]],
    ["a literal is repeated as a whole", 'root ::= "ab"{2}', ["abab"], ["abb"]],
  ])("%s", (_, text, yes, no) => {
    const grammar = grammarOf({ kind: "gbnf", text });
    for (const sample of yes) expect([sample, acceptsText(grammar, sample)]).toEqual([sample, true]);
    for (const sample of no) expect([sample, acceptsText(grammar, sample)]).toEqual([sample, false]);
  });

  test.each([
    ["", /no rule named root/],
    ['a ::= "x"', /no rule named root/],
    ["root ::= a", /refers to a, which is not defined/],
    ['root ::= root "a" | "b"', /left recursion: root → root/],
    ['root ::= n x\nn ::= "a"?\nx ::= root "b" | "c"', /left recursion: (root → x → root|x → root → x)/],
    ['root ::= "a" root', /describes no text/],
    ['root ::= "a', /ends inside/],
    ['root ::= "a\n"', /line does/],
    ['root = "a"', /::= was expected/],
    ['root ::= "a"\nroot ::= "b"', /defined twice/],
    ['root ::= ("a"', /\) was expected/],
    ['root ::= "a")', /not allowed/],
    ["root ::= [z-a]", /wrong order/],
    ['root ::= "\\q"', /unknown escape/],
    ['root ::= "a"{3,2}', /wrong order/],
  ])("%j is refused", (text, message) => {
    expect(() => grammarOf({ kind: "gbnf", text })).toThrow(OptionError);
    expect(() => grammarOf({ kind: "gbnf", text })).toThrow(message);
  });

  test("token references are refused by name", () => {
    expect(() => grammarOf({ kind: "gbnf", text: "root ::= <[1000]>" })).toThrow(UnsupportedError);
  });
});

test("the shared part of many readings is kept once: an ambiguous grammar stays cheap", () => {
  const grammar = grammarOf({
    kind: "gbnf",
    text: 'root ::= "a" root "a" | "a" other "b" | "a"\nother ::= "a" root "b" | "a" other "a" | "a"',
  });
  let state = grammar.start;
  for (let i = 0; i < 301; i++) state = state.advance(0x61)!; // 2^301 stacks, were each kept by itself
  expect(state.isComplete).toBe(true);
});

test("recursion to the right needs no stack", () => {
  const { start } = grammarOf({ kind: "gbnf", text: 'root ::= "a" root | "b"' }, trieOf(["a", "b"]));
  let state = start;
  for (let i = 0; i < 1000; i++) state = state.advance(0)!;
  expect(state.shortestCompletion()).toBe(1);
  expect(idsOf(state.mask())).toEqual([0, 1]);
});
