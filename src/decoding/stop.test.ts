import fc from "fast-check";
import { expect, test } from "vitest";
import type { TokenId } from "../token.ts";
import { AnswerText, type StopRules, StopTextMatcher } from "./stop.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const few = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength });
const stopTexts = fc.array(
  few(5).filter((text) => text !== ""),
  { minLength: 1, maxLength: 4 },
);

/** By brute force: the stop text that is complete first, the longest where several are. */
function firstStop(text: string, stops: readonly string[]): { shown: string; found: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const found = [...stops].sort((a, b) => b.length - a.length).find((stop) => text.slice(0, end).endsWith(stop));
    if (found !== undefined) return { shown: text.slice(0, end - found.length), found };
  }
  return { shown: text, found: undefined };
}

test("the first stop text is found wherever the text is cut, and nothing of it comes out", () => {
  fc.assert(
    fc.property(fc.array(few(4), { maxLength: 8 }), stopTexts, (chunks, stops) => {
      const expected = firstStop(chunks.join(""), stops);
      let matcher = new StopTextMatcher(stops);
      let shown = "";
      let found: string | undefined;
      for (const chunk of chunks) {
        matcher = matcher.fork();
        const step = matcher.push(chunk);
        shown += step.text;
        found = step.found;
        if (found !== undefined) break;
      }
      if (found === undefined) shown += matcher.flush();
      expect({ shown, found }).toEqual(expected);
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 200_000 : 3_000 },
  );
});

test("only text that may become a stop text is held back", () => {
  fc.assert(
    fc.property(few(12), stopTexts, (text, stops) => {
      const { text: shown, found } = new StopTextMatcher(stops).push(text);
      if (found !== undefined) return;
      const held = text.slice(shown.length);
      const longest = Math.max(
        0,
        ...stops.flatMap((stop) => [...stop].map((_, end) => (text.endsWith(stop.slice(0, end + 1)) ? end + 1 : 0))),
      );
      expect(held.length).toBe(longest);
    }),
    { numRuns: 1_000 },
  );
});

const tokenizer = toyTokenizer(["a", "b", "END", "EN", "D", new Uint8Array([0xe2, 0x82]), new Uint8Array([0xac]), "€x"]);
const rules = (changes: Partial<StopRules> = {}): StopRules => ({
  endTokens: tokenizer.endTokens,
  stopTokens: new Set(),
  stopTexts: [],
  maxTokens: 100,
  ...changes,
});
function run(tokens: readonly number[], stop: StopRules) {
  const answer = AnswerText.start(tokenizer, stop);
  const steps = tokens.map((token) => answer.push(token as TokenId));
  return { texts: steps.map(({ text }) => text), ending: steps.at(-1)!.ending };
}

test("an end token ends the answer and gives no text of its own", () => {
  expect(run([0, tokenizer.end], rules())).toEqual({
    texts: ["a", ""],
    ending: { reason: "stop", by: { kind: "end-token", token: tokenizer.end } },
  });
});

test("a stop token ends the answer, and what was held back comes out", () => {
  expect(run([3, 1], rules({ stopTokens: new Set([1 as TokenId]), stopTexts: ["END"] }))).toEqual({
    texts: ["", "EN"],
    ending: { reason: "stop", by: { kind: "stop-token", token: 1 } },
  });
});

test("a stop text counts across tokens and inside one, and before the limit", () => {
  const ending = { reason: "stop", by: { kind: "stop-text", text: "END" } };
  expect(run([0, 3, 4], rules({ stopTexts: ["END"], maxTokens: 3 }))).toEqual({ texts: ["a", "", ""], ending });
  expect(run([0, 2], rules({ stopTexts: ["END"] }))).toEqual({ texts: ["a", ""], ending });
  expect(run([5, 6], rules({ stopTexts: ["€"] })).ending).toEqual({ reason: "stop", by: { kind: "stop-text", text: "€" } });
  expect(run([7], rules({ stopTexts: ["x"] })).texts).toEqual(["€"]);
});

test("at the limit everything held back comes out, an unfinished character as U+FFFD", () => {
  expect(run([3, 5], rules({ stopTexts: ["END"], maxTokens: 2 }))).toEqual({ texts: ["", "EN\ufffd"], ending: { reason: "length" } });
});

test("a fork goes on alone", () => {
  const answer = AnswerText.start(tokenizer, rules({ stopTexts: ["END"] }));
  answer.push(3 as TokenId);
  const fork = answer.fork();
  expect(answer.push(4 as TokenId).ending?.reason).toBe("stop");
  expect(fork.push(0 as TokenId)).toEqual({ text: "ENa" });
  expect(fork.push(4 as TokenId)).toEqual({ text: "D" });
});
