import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chunksOf, emptyRun, runOf } from "../../test/recorded.ts";
import { applyChunks, bitsPerToken, factsOf, firstDifference, shownTexts } from "./run.ts";

const names = ["drawn", "drafted", "emoji", "beam", "contrastive", "layers", "explained", "chat"];

describe.each(names)("the recorded run %s", (name) => {
  const run = runOf(name);

  test("streamed tokens are the tokens of the facts, and the text is that of the events", () => {
    expect(run.status).toBe("done");
    expect(run.tokens.map(({ fact }) => fact)).toEqual(run.facts!.tokens);
    expect(run.text).toBe(
      chunksOf(name)
        .map(({ choices }) => choices[0]?.text ?? choices[0]?.delta?.content ?? "")
        .join(""),
    );
    expect(run.text.length).toBeGreaterThan(0);
  });

  test("is the same however its chunks arrive", () => {
    const chunks = chunksOf(name);
    fc.assert(
      fc.property(fc.array(fc.nat(chunks.length), { maxLength: 8 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), chunks.length];
        const pieces = at.slice(1).map((end, index) => chunks.slice(at[index], end));
        expect(pieces.reduce(applyChunks, emptyRun())).toEqual(run);
      }),
      { numRuns: 20 },
    );
  });
});

test("a run waits until its first token, streams until it ends", () => {
  const chunks = chunksOf("drafted");
  expect(emptyRun().status).toBe("waiting");
  expect(applyChunks(emptyRun(), chunks.slice(0, 3)).status).toBe("streaming");
  expect(factsOf(applyChunks(emptyRun(), chunks.slice(0, 3))).tokens).toHaveLength(3);
});

test("branches that grow are those that end, with their tokens", () => {
  const chunks = chunksOf("beam");
  const last = chunks.findIndex(({ chainrule }) => chainrule?.branch?.end === "stopped" || chainrule?.branch?.end === "won");
  const before = applyChunks(emptyRun(), chunks.slice(0, last));
  const ended = new Map(runOf("beam").branches.map((branch) => [branch.id, branch]));
  expect(before.growing.length).toBeGreaterThan(0);
  for (const { id, tokens, from, parent } of before.growing)
    expect(ended.get(id)).toMatchObject({ tokens, from, ...(parent === undefined ? {} : { parent }) });
  expect(runOf("beam").growing).toEqual([]);
});

test("a character that several tokens make stands at the one that completes it", () => {
  const { tokens, text } = runOf("emoji");
  const shown = shownTexts(tokens, () => "\uFFFD");
  expect(shown.join("")).toBe(text);
  expect(shown).toContain("");
  expect(shownTexts(tokens, (id) => `<${id}>`)).toEqual(tokens.map(({ fact }) => `<${fact.id}>`));
});

test("bits per token are -log2 p on average, and unknown where one is", () => {
  const of = (...logprobs: (number | undefined)[]) =>
    logprobs.map((logprob) => ({ id: 1, source: "model" as const, ...(logprob === undefined ? {} : { logprob }) }));
  expect(bitsPerToken(of(Math.log(0.5), Math.log(0.125)))).toBeCloseTo(2, 12);
  expect(bitsPerToken(of(Math.log(0.5), undefined))).toBeUndefined();
  expect(bitsPerToken([])).toBeUndefined();
});

test("two answers differ at the first other token; one that is the other's beginning doesn't", () => {
  const of = (...ids: number[]) => ids.map((id) => ({ fact: { id, source: "model" as const }, text: "" }));
  expect(firstDifference(of(1, 2, 3), of(1, 4, 3))).toBe(1);
  expect(firstDifference(of(1, 2), of(1, 2, 3))).toBeUndefined();
  expect(firstDifference(of(1, 2, 3), of(1, 2))).toBeUndefined();
});
