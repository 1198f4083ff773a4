import fc from "fast-check";
import { expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { AdaptiveState, puct, TrigramMatrix } from "./adaptive.ts";

const settings = { nodes: 8, depth: 3, iterations: 150 };
const limits = { maxNodes: 62, maxDepth: 62 };
const ids = (...tokens: number[]) => tokens as TokenId[];

test("the matrix adds 0.04 for each trigram of the last 16 tokens at each step, and stops at 3", () => {
  const matrix = new TrigramMatrix();
  const tokens = ids(1, 2, 3, 1, 2, 4);
  for (let end = 1; end <= tokens.length; end++) matrix.update(tokens.slice(0, end));
  // 1 2 3 was in the windows of four steps, 1 2 4 in that of one
  expect(matrix.successors(...(ids(1, 2) as [TokenId, TokenId]))).toEqual([
    { token: 3, probability: expect.closeTo(4 / 5, 12) },
    { token: 4, probability: expect.closeTo(1 / 5, 12) },
  ]);
  const full = new TrigramMatrix();
  for (let step = 0; step < 100; step++) full.update(ids(7, 8, 9)); // would be 4
  full.update(ids(7, 8, 5));
  expect(full.successors(...(ids(7, 8) as [TokenId, TokenId]))[0]!.probability).toBeCloseTo(3 / 3.04, 12);
  expect(full.successors(...(ids(8, 7) as [TokenId, TokenId]))).toEqual([]);
});

test("a pair keeps its 12 heaviest successors", () => {
  const matrix = new TrigramMatrix();
  for (let token = 10; token < 30; token++) for (let times = 0; times < 40 - token; times++) matrix.update(ids(1, 2, token));
  expect(matrix.successors(...(ids(1, 2) as [TokenId, TokenId])).length).toBe(12);
});

test("the rule of choice gives the numbers worked by hand", () => {
  // N = 9, n = 4, Q = 6, p = 0.5: 1.5 + (32 + ln 2.25) · 0.5 · 3 / 5
  expect(puct({ visits: 4, total: 6, prior: 0.5 }, 9)).toBeCloseTo(1.5 + (32 + Math.log(18 / 8)) * 0.3, 12);
  expect(puct({ visits: 1, total: 1.2, prior: 0.1 }, 4)).toBeCloseTo(1.2 + (32 + Math.log(13 / 8)) * 0.1, 12);
  expect(puct({ visits: 0, total: 0, prior: 0.1 }, 4)).toBe(Number.POSITIVE_INFINITY);
});

test("a draft is a tree of known trigrams, the likelier before the less likely", () => {
  // after 1 2: 3 (often) or 4; after 2 3: 5
  const text = ids(1, 2, 3, 5, 1, 2, 3, 5, 1, 2, 3, 5, 1, 2, 4, 6, 1, 2);
  const { tokens, parents } = new AdaptiveState(settings, 0, text).propose(limits);
  expect(tokens.slice(0, 2)).toEqual([3, 5]);
  expect(parents.slice(0, 2)).toEqual([-1, 0]);
  expect(tokens).toContain(4);
  expect(parents[tokens.indexOf(4 as TokenId)]).toBe(-1);
  expect(tokens.length).toBeLessThanOrEqual(8);
});

test("drafts keep their limits, stay trees of trigrams seen, and are the same after a fork and a rewind", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3), { minLength: 3, maxLength: 40 }),
      fc.array(fc.nat(3), { maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 4 }),
      (kept, dropped, maxNodes, maxDepth) => {
        const prompt = ids(0, 1, 2);
        const state = new AdaptiveState({ ...settings, iterations: 40 }, 3, prompt);
        for (const token of kept) state.advance(token as TokenId);
        const draft = state.propose({ maxNodes, maxDepth });
        const text = [...prompt, ...kept];
        const seen = new Set(text.slice(2).map((token, index) => `${text[index]},${text[index + 1]},${token}`));
        expect(draft.tokens.length).toBeLessThanOrEqual(Math.min(maxNodes, 8));
        for (const [node, parent] of draft.parents.entries()) {
          const path: number[] = [];
          for (let at = node; at !== -1; at = draft.parents[at]!) path.unshift(draft.tokens[at]!);
          expect(path.length).toBeLessThanOrEqual(Math.min(maxDepth, 3));
          expect(parent).toBeLessThan(node);
          expect(seen).toContain([...text, ...path].slice(-3).join());
        }
        const fork = state.fork();
        for (const token of dropped) fork.advance(token as TokenId);
        fork.rewind(kept.length);
        expect(fork.propose({ maxNodes, maxDepth })).toEqual(draft);
        expect(state.propose({ maxNodes, maxDepth })).toEqual(draft);
      },
    ),
    { numRuns: 60 },
  );
});

test("its answer is the plain one; more is accepted as the text repeats, little of it on text without repeats", async () => {
  const tokenizer = toyTokenizer(Array.from({ length: 200 }, (_, id) => String.fromCharCode(0x4e00 + id)));
  const peak = (next: (tokens: readonly TokenId[]) => number) =>
    toyModel(tokenizer, {
      logits: (tokens) => Array.from({ length: tokenizer.vocabSize }, (_, id) => (id === next(tokens) ? 5 : (id * 7) % 3)),
    });
  const looping = peak((tokens) => (tokens.at(-1)! * 5 + tokens.at(-2)! + 1) % 13);
  const wandering = peak((tokens) => (tokens.length * tokens.length * 17 + tokens.at(-1)!) % 200);
  for (const [model, least, most] of [
    [looping, 2, 4],
    [wandering, 1, 1.3],
  ] as const) {
    const options = { maxTokens: 120, ignoreEndTokens: true };
    const plain = await generateText(model, ids(1, 2, 3), options);
    const drafted = await generateText(model, ids(1, 2, 3), { ...options, draft: "adaptive" });
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.facts.tokensPerPass).toBeGreaterThanOrEqual(least);
    expect(drafted.facts.tokensPerPass).toBeLessThanOrEqual(most);
  }
});
