import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError } from "../../../errors.ts";
import { after, byteTrie, grammarOf, idsOf, trieOf } from "./testing.ts";
import { TokenTrie } from "./trie.ts";

const json = `root ::= value
value ::= "[" (value ("," value)*)? "]" | "{" (pair ("," pair)*)? "}" | string | "true" | "null"
pair ::= string ":" value
string ::= "\\"" [a-z]{0,200} "\\""`;
const brackets = 'root ::= "(" root ")" | "x"';

describe("the trie", () => {
  test("reaches every token by its bytes, and skips from each node past its subtree", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 4, max: 3 }), { maxLength: 40 }), (pieces) => {
        const trie = trieOf(pieces);
        const spelled = new Map<string, number[]>();
        for (const [token, piece] of pieces.entries()) {
          if (piece.length > 0) spelled.set(piece.join(), [...(spelled.get(piece.join()) ?? []), token]);
        }
        const path: number[] = [];
        const found = new Map<string, number[]>();
        for (let node = 0; node < trie.numNodes; node++) {
          path.length = trie.depth[node]! - 1;
          path.push(trie.byte[node]!);
          const tokens = [...trie.tokens.slice(trie.tokenOffset[node]!, trie.tokenOffset[node + 1]!)];
          if (tokens.length > 0) found.set(path.join(), tokens);
          let end = node + 1;
          while (end < trie.numNodes && trie.depth[end]! > trie.depth[node]!) end++;
          expect(trie.skip[node]).toBe(end);
        }
        expect(found).toEqual(spelled);
      }),
    );
  });

  test("refuses end tokens outside the vocabulary", () => {
    expect(() => new TokenTrie({ size: 2, piece: () => Uint8Array.of(1), endTokens: [2] })).toThrow(RangeError);
  });
});

describe("a state", () => {
  test("is a value: what was advanced from it does not change it", () => {
    const grammar = grammarOf({ kind: "gbnf", text: json });
    const token = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(fc.array(token, { maxLength: 30 }), fc.infiniteStream(fc.nat()), (_, choices) => {
        let state = grammar.start;
        const kept: { readonly state: typeof state; readonly mask: Uint32Array }[] = [];
        for (let i = 0; i < 30 && !state.isEnded; i++) {
          kept.push({ state, mask: state.mask().slice() });
          const allowed = idsOf(state.mask());
          state = state.advance(allowed[choices.next().value % allowed.length]!)!;
        }
        for (const { state: old, mask } of kept) expect(old.mask()).toEqual(mask);
      }),
      { numRuns: 30 },
    );
  });

  test("allows an end token where the text is complete, and nothing after it", () => {
    const { start } = grammarOf({ kind: "regex", pattern: "ab?" }, trieOf(["a", "b"]));
    expect(start.allows(2)).toBe(false);
    const a = start.advance(0)!;
    expect([a.isComplete, a.isFinal, idsOf(a.mask())]).toEqual([true, false, [1, 2]]);
    const ab = a.advance(1)!;
    expect([ab.isComplete, ab.isFinal, idsOf(ab.mask())]).toEqual([true, true, [2]]);
    const ended = ab.advance(2)!;
    expect([ended.isEnded, ended.isFinal, idsOf(ended.mask()), ended.advance(2), ended.advance(0)]).toEqual([
      true,
      true,
      [],
      undefined,
      undefined,
    ]);
  });

  test("refuses tokens outside the vocabulary, tokens without bytes, and no tokens left", () => {
    const { start } = grammarOf({ kind: "regex", pattern: "a" }, trieOf(["a", ""]));
    expect(() => start.advance(3)).toThrow(RangeError);
    expect(() => start.allows(-1)).toThrow(RangeError);
    expect(() => start.mask(0)).toThrow(RangeError);
    expect(start.allows(1)).toBe(false);
  });

  test("masks are the same after a long run that forgets what it remembered", () => {
    const grammar = grammarOf({ kind: "gbnf", text: json });
    const kept = after(grammar, '[{"a":["');
    const mask = kept!.mask().slice();
    let state = grammar.start;
    for (let i = 0; i < 5200; i++) for (const character of '{"k":') state = state.advance(character.charCodeAt(0))!;
    expect(idsOf(state.mask())).toEqual(Array.from('"[nt{', (character) => character.charCodeAt(0)));
    expect(kept!.mask()).toEqual(mask);
    expect(after(grammar, '[{"a":["')!.mask()).toEqual(mask);
  });

  test("one mask serves all counts that are far from their bounds, and is right near them", () => {
    const grammar = grammarOf({ kind: "regex", pattern: "(?:[a-z]{2}){100,200}" }, byteTrie(["ab", "abab", "ababab"]));
    const at = (length: number) => after(grammar, "ab".repeat(length))!.mask();
    expect(at(20)).toBe(at(50));
    expect(at(150)).toBe(at(151));
    expect(idsOf(at(199)).filter((id) => id >= 256)).toEqual([256, 259]);
    expect(idsOf(at(198)).filter((id) => id >= 256)).toEqual([256, 257, 259]);
    expect(idsOf(at(200))).toEqual([259]);
    expect(idsOf(at(99)).includes(259)).toBe(false);
    expect(idsOf(at(100)).includes(259)).toBe(true);
  });

  test("a text that only tokens of several bytes could write is not offered; a grammar of such texts alone is refused", () => {
    const { start } = grammarOf({ kind: "regex", pattern: "a|bc" }, trieOf(["a", "bc", "b"]));
    expect(idsOf(start.mask())).toEqual([0]); // after "b" alone there would be no way on
    expect(() => grammarOf({ kind: "regex", pattern: "bc" }, trieOf(["a", "bc"]))).toThrow(OptionError);
  });
});

describe("with few tokens left", () => {
  /** Fewest tokens to a complete text, or limit + 1, by breadth-first search over the masks. */
  function fewestTokens(start: ReturnType<typeof grammarOf>["start"], limit: number): number {
    let layer = [start];
    for (let depth = 0; depth <= limit; depth++) {
      if (layer.some((state) => state.isComplete)) return depth;
      layer = layer.flatMap((state) => idsOf(state.mask()).flatMap((token) => state.advance(token) ?? []));
    }
    return limit + 1;
  }

  test("the count is that of a real completion: never below the fewest tokens, and reached by following the masks", () => {
    const trie = byteTrie(["((", "))", "x)", "(x)", "]]", '"]', '":', ":[", "tr", "ue", "null"]);
    for (const [text, prefixes] of [
      [brackets, ["", "(", "((((", "((x)"]],
      [json, ["", "[", '[["ab', '{"a":[tr', "[nu", '[{"a":{"b', "[true,"]],
    ] as const) {
      const grammar = grammarOf({ kind: "gbnf", text }, trie);
      for (const prefix of prefixes) {
        const state = after(grammar, prefix)!;
        const needed = state.shortestCompletion();
        expect(needed).toBeGreaterThanOrEqual(fewestTokens(state, 2));
        for (const choose of [(ids: number[]) => ids[0]!, (ids: number[]) => ids.at(-1)!]) {
          let at = state;
          for (let left = needed + 1; !at.isEnded; left--) at = at.advance(choose(idsOf(at.mask(left))))!;
        }
      }
    }
  });

  test("whatever is sampled from the masks ends in time, and everything that could end in time is allowed", () => {
    const grammar = grammarOf({ kind: "gbnf", text: json }, byteTrie(["]]", '"]', '":', ":[", "true", "[[", '["', "[{"]));
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 25 }), fc.infiniteStream(fc.nat()), (budget, choices) => {
        let state = grammar.start;
        for (let left = budget; !state.isEnded; left--) {
          expect(left).toBeGreaterThan(0);
          const plain = idsOf(state.mask());
          const tight = idsOf(state.mask(left));
          const inTime = plain.filter((token) => {
            const next = state.advance(token)!;
            return next.isEnded || next.shortestCompletion() + 2 <= left;
          });
          expect(tight).toEqual(inTime);
          state = state.advance(tight[choices.next().value % tight.length]!)!;
        }
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 2000 : 100 },
    );
  });

  test("nothing changes where the end is out of reach anyway", () => {
    const state = after(grammarOf({ kind: "gbnf", text: brackets }), "((((")!;
    expect(state.mask(5)).toEqual(state.mask());
    expect(idsOf(state.mask(6))).toEqual([0x78]);
  });
});

describe("where the grammar leaves no choice", () => {
  test("the forced tokens are those that stand alone in their masks", () => {
    const { start } = grammarOf({ kind: "regex", pattern: "abc[de]" }, trieOf(["a", "b", "c", "d", "e"]));
    expect(start.forcedTokens()).toEqual([0, 1, 2]);
    expect(start.forcedTokens(2)).toEqual([0, 1]);
    expect(new TextDecoder().decode(start.forcedBytes())).toBe("abc");
    const other = grammarOf({ kind: "regex", pattern: "abc[de]" }, trieOf(["a", "b", "c", "d", "e", "ab"])).start;
    expect(other.forcedTokens()).toEqual([]); // "a" or "ab": two ways to write what is forced
    expect(new TextDecoder().decode(other.forcedBytes())).toBe("abc");
  });

  test("nothing is forced where the text may end", () => {
    const { start } = grammarOf({ kind: "regex", pattern: "a?" }, trieOf(["a"]));
    expect(start.forcedTokens()).toEqual([]);
    expect(start.forcedBytes().length).toBe(0);
    expect(start.advance(0)!.forcedTokens()).toEqual([]);
  });
});

describe("whole subtrees", () => {
  /** Words whose subtrees are large enough to be taken whole, and some that leave every loop. */
  const words = (() => {
    const plain = Array.from({ length: 5 }, (_, length) =>
      Array.from({ length: 2 ** (length + 1) }, (_, bits) => Array.from({ length: length + 1 }, (_, i) => "ab"[(bits >> i) & 1]).join("")),
    ).flat();
    const long = Array.from({ length: 12 }, (_, i) => "a".repeat(i + 6));
    return [
      ...plain,
      ...long,
      ...plain.slice(0, 14).flatMap((word) => [`${word}"`, `${word},b`, `[${word}]`, `${word}][`]),
      '"',
      ",",
      "[",
      "]",
    ];
  })();

  test.each([
    'root ::= "\\"" [ab]* "\\""',
    'root ::= "\\"" [ab]{0,40} "\\""',
    "root ::= [ab]{3,9}",
    'root ::= ([ab] | "," [ab]){2,25} "]"',
    'root ::= ("[" [ab]{0,7} "]"){0,6}',
    'root ::= ("[" ([ab]{1,3} ",")* [ab]{0,30} "]"){2,3}',
    'root ::= ("[" [ab]{0,60} "]" | ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,"){0,3}', // both are counted; the outer is soon at its end
    'root ::= (("[" [ab]{0,60} "]"){0,60} | ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,"){1,3}',
    'root ::= ([ab]{1,60} ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,"?){0,3}',
    'root ::= item | "\\"" item "\\""\nitem ::= [ab] item | [ab] | "[" root "]"',
  ])("masks are what the tokens do one by one, also where a subtree is taken whole: %s", (text) => {
    const grammar = grammarOf({ kind: "gbnf", text }, trieOf(words));
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 30 }), (choices) => {
        let state = grammar.start;
        for (const choice of choices) {
          const after = words.map((_, token) => state.advance(token));
          const allowed = idsOf(state.mask()).filter((token) => token < words.length);
          expect(allowed).toEqual([...words.keys()].filter((token) => after[token] !== undefined));
          const needed = state.shortestCompletion() + 1;
          for (const left of [needed, needed + 1, needed + 3]) {
            const inTime = allowed.filter((token) => after[token]!.shortestCompletion() <= left - 2);
            expect(idsOf(state.mask(left)).filter((token) => token < words.length)).toEqual(inTime);
          }
          if (allowed.length === 0) break;
          state = after[allowed[choice % allowed.length]!]!;
        }
      }),
      { numRuns: 25 },
    );
  });
});
