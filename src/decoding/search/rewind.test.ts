import { describe, expect, test } from "vitest";
import { generate, generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { toyModel } from "../testing/toy-model.ts";
import { ToySequence } from "../testing/toy-sequence.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { type Judged, startJudge } from "./judge.ts";
import { backUp, mostVisited, normalizePriors, type SegmentNode, select, wantsAnother } from "./rewind-tree.ts";
import { eventsOf, everyAnswer, grownPaths, hash, hiddenOf, idsOf, logitsOf, pathsOf } from "./testing.ts";

const rules = { explore: 2, alike: 0.95, share: 0.2 };

function node(parent: SegmentNode | undefined, prior: number, length = 1): SegmentNode {
  const segment = Array.from({ length }, (_, token) => ({ token: token as never, logit: 0, logprob: 0 }));
  const fresh = { visits: 0, ownVisits: 0, value: 0, embedding: undefined };
  const made: SegmentNode = { id: 0, parent, children: [], segment, start: 0, prior, key: `${prior}`, ...fresh };
  parent?.children.push(made);
  return made;
}

describe("the tree", () => {
  test("counts, means and shares are those computed by hand", () => {
    const root = node(undefined, 1);
    const [a, b, c] = [node(root, 0.5), node(root, 0.3), node(root, 0.2)];
    const deep = node(a, 1);
    const along = (x: number, y: number) => () => Float64Array.of(x, y);
    backUp(root, [b], -0.5, along(0, 1), rules);
    expect(b).toMatchObject({ visits: 1, ownVisits: 1, value: -0.5 });
    backUp(root, [a, deep], 1, along(1, 0), rules); // at right angles to b: nothing is shared
    expect([a.value, deep.value, b.visits, c.visits]).toEqual([1, 1, 1, 0]);
    backUp(root, [a], 0, along(1, 0), rules);
    expect(a).toMatchObject({ visits: 2, ownVisits: 2, value: 0.5 });
    backUp(root, [c], 0.5, along(4, 1), rules); // cos(c, a) = 4/√17 = 0.970, cos(c, b) = 0.243
    const likeness = 4 / Math.sqrt(17);
    expect(a.visits).toBeCloseTo(2 + 0.2 * likeness, 12);
    expect(a.value).toBeCloseTo((0.5 * 2 + 0.2 * likeness * 0.5) / (2 + 0.2 * likeness), 12);
    expect(a.ownVisits).toBe(2);
    expect([b.visits, b.value]).toEqual([1, -0.5]);
    expect(root).toMatchObject({ visits: 4, ownVisits: 4 });
    expect(root.value).toBeCloseTo((-0.5 + 1 + 0 + 0.5) / 4, 12);
    expect(mostVisited(root)).toBe(a);
    // a: (0.5 + 1)/2 + 2 · 0.5 · 2/3.19; b: 0.25 + 2 · 0.3 · 2/2; c: 0.75 + 2 · 0.2 · 2/2
    expect(select(root, rules)).toBe(a);
    expect(select(root, { ...rules, explore: 0 })).toBe([a, c].sort((x, y) => y.value - x.value)[0]);
  });

  test("with equal values the likeliest child is tried first, then the rarest", () => {
    const root = node(undefined, 1);
    const [a, b] = [node(root, 0.4), node(root, 0.6)];
    root.visits = 1;
    expect(select(root, rules)).toBe(b);
    b.visits = 1; // value 0 is half of the range: 0.5 + 2 · 0.6/2 against 0 + 2 · 0.4
    expect(select(root, rules)).toBe(b);
    b.visits = 3;
    expect(select(root, rules)).toBe(b.visits === 3 && 0.5 + 1.2 / 4 > 0.8 ? b : a);
  });

  test("a quarter of the root's priors is even", () => {
    const root = node(undefined, 1);
    const children = [node(root, 3), node(root, 1)];
    normalizePriors(children, true);
    expect(children.map(({ prior }) => prior)).toEqual([0.75 * 0.75 + 0.125, 0.75 * 0.25 + 0.125]);
    normalizePriors(children, false);
    expect(children[0]!.prior + children[1]!.prior).toBeCloseTo(1, 12);
  });

  test("another child is drawn where all are alike and none is any good", () => {
    const root = node(undefined, 1);
    const children = [node(root, 0.5, 4), node(root, 0.5, 4)];
    expect(wantsAnother(root, 20)).toBe(false);
    for (const child of children) Object.assign(child, { embedding: Float64Array.of(1, 0), value: -1 });
    expect(wantsAnother(root, 20)).toBe(true);
    expect(wantsAnother(root, 2)).toBe(false);
    children[1]!.embedding = Float64Array.of(0, 1); // variances 0.5 and 0.5, norm 0.71 > 0.12
    expect(wantsAnother(root, 20)).toBe(false);
    children[1]!.embedding = Float64Array.of(1, 0);
    children[1]!.value = 0;
    expect(wantsAnother(root, 20)).toBe(false);
  });
});

const tokenizer = toyTokenizer([" Yes", " No", ...' ?"()\n.:,ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz']);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abca");
const model = (seed: number) => toyModel(tokenizer, { logits: logitsOf(seed, vocabSize), hidden: hiddenOf(seed), contextLength: 4096 });
const oracle = ({ tokens }: Judged) => hash(tokens, 55);

test("the verdict changes its sign when the options change places", async () => {
  for (let seed = 0; seed < 30; seed++) {
    const sequence = new ToySequence({ vocabSize, logits: logitsOf(seed, vocabSize) });
    await sequence.forward({ input: prompt });
    const host = { tokenizer, isChat: false, numPromptTokens: 4, maxTokens: 20, contextLength: 1024 };
    const judgeOf = (good: string, bad: string) =>
      startJudge({ judge: "options", good, bad }, { ...host, consult: (target, request) => target.forward(request) });
    const answer = { text: "bee", tokens: tokenizer.encode("bee"), isComplete: false };
    const score = await (await judgeOf("right", "wrong")).judge(sequence, answer);
    const swapped = await (await judgeOf("wrong", "right")).judge(sequence, answer);
    expect(2 * score! - 1).toBeCloseTo(-(2 * swapped! - 1), 12);
  }
});

describe.each([{ iterations: 0 }, { passes: 0 }, { seconds: 0 }])("with %o it is the plain answer", (given) => {
  test.each<GenerateOptions>([
    { seed: 5, logprobs: 2, promptLogprobs: 1 },
    { seed: 6, temperature: 1.4, topP: 0.9, repetitionPenalty: 1.3, stop: "ab" },
    { seed: 7, temperature: 0.8, draft: "ngram,nodes=3" },
    { seed: 8, guide: { name: "grammar", regex: "[a-d]{3,9}" } },
  ])("%o", async (options) => {
    const plain = await generateText(model(1), prompt, { maxTokens: 20, ...options });
    const result = await generateText(model(1), prompt, { maxTokens: 20, ...options, search: { name: "rewind", ...given } });
    expect(result).toMatchObject({ text: plain.text, tokens: plain.tokens, finishReason: plain.finishReason });
    expect([result.logprobs, result.promptLogprobs, result.facts.passes]).toEqual([
      plain.logprobs,
      plain.promptLogprobs,
      plain.facts.passes,
    ]);
    expect([result.facts.guides, result.facts.drafts, result.facts.branches]).toEqual([plain.facts.guides, plain.facts.drafts, undefined]);
  });
});

test("with a judge that knows the best answer and enough iterations it settles on that answer, if it was ever drawn", async () => {
  const small = toyTokenizer([..."a"]); // a, <bos>, <end>
  const answers = everyAnswer(small.vocabSize, small.end, 3);
  let numDrawn = 0;
  for (let seed = 0; seed < answers.length; seed++) {
    const wanted = answers[seed]!;
    const judge = ({ tokens }: Judged) => (tokens.join() === wanted.join() ? 1 : 0);
    const flat = toyModel(small, { logits: (tokens) => logitsOf(seed, 3)(tokens).map((logit) => logit / 3), hidden: hiddenOf(seed) });
    const search = { name: "rewind", judge, iterations: 300, children: 20, share: 0, enough: 1, explore: 0.5 };
    const result = await generateText(flat, small.encode("a"), { maxTokens: 3, seed, search });
    const drawn = [...pathsOf(result).values()].some((path) => path.join() === wanted.join());
    if (drawn) expect(idsOf(result)).toEqual(wanted);
    numDrawn += drawn ? 1 : 0;
  }
  expect(numDrawn).toBeGreaterThanOrEqual(answers.length - 3); // a segment of 1 in 9 is missed by 20 draws once in ten times
});

test("its segments in a row are the answer, what was tried beside them is rewound, and a seed decides everything", async () => {
  for (let seed = 0; seed < 4; seed++) {
    const options = { maxTokens: 12, seed, logprobs: 1, search: { name: "rewind", judge: oracle, iterations: 8, children: 3 } };
    const { all, result } = await eventsOf(generate(model(seed), prompt, options));
    const won = result.facts.branches!.filter(({ end }) => end === "won");
    expect(won.flatMap(({ tokens }) => tokens)).toEqual(idsOf(result));
    expect(pathsOf(result).get(won.at(-1)!.id)).toEqual(idsOf(result));
    expect(new Set(result.facts.branches!.map(({ end }) => end))).toEqual(new Set(["won", "rewound"]));
    for (const [id, path] of grownPaths(all)) expect(pathsOf(result).get(id)).toEqual(path);
    expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(result.text);
    expect(result.logprobs!.map(({ logprob }) => logprob)).toEqual(result.facts.tokens.map(({ logprob }) => logprob));
    expect((await generateText(model(seed), prompt, options)).facts.branches).toEqual(result.facts.branches);
    expect(result.facts.effort).toMatchObject({ method: "rewind", unit: "iterations", paper: { setting: "50 iterations per segment" } });
  }
});

test("log-probabilities are those of each token after the ones before it, also where some draws of a row need it in full and others don't", async () => {
  const large = toyTokenizer(Array.from({ length: 150 }, (_, id) => String.fromCharCode(0x4e00 + id)));
  // a tenth of the probability lies beyond the 63 candidates that come with a row
  const logits = (tokens: readonly number[]) =>
    Array.from(
      { length: large.vocabSize },
      (_, id) => 4 * Math.exp(-((id * 37 + tokens.reduce((sum, token) => 31 * sum + token, 7)) % 151) / 20),
    );
  const start = [1, 2, 3] as never[];
  for (let seed = 0; seed < 5; seed++) {
    const search = { name: "rewind", judge: ({ tokens }: Judged) => (tokens.length % 5) / 5, iterations: 6, children: 8 };
    const given = { maxTokens: 7, seed, ignoreEndTokens: true, logprobs: 1, search };
    const { tokens, logprobs } = await generateText(toyModel(large, { logits, hidden: hiddenOf(seed) }), start, given);
    for (const [index, token] of tokens.entries()) {
      const row = logits([...start, ...tokens.slice(0, index)]);
      const logSumExp = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      expect(logprobs![index]!.logprob).toBeCloseTo(row[token]! - logSumExp, 4);
    }
  }
});

test("more iterations, fewer flagged letters than sampling", async () => {
  const isFlagged = (id: number) => tokenizer.decode([id as never]) < "a";
  const share = (tokens: readonly number[]) => tokens.filter(isFlagged).length / tokens.length;
  const judge = ({ tokens }: Judged) => 1 - share(tokens);
  const mean = async (iterations: number) => {
    let sum = 0;
    for (let seed = 0; seed < 6; seed++) {
      const search = { name: "rewind", judge, iterations, children: 4, enough: 1 };
      sum += share((await generateText(model(seed), prompt, { maxTokens: 17, ignoreEndTokens: true, seed, search })).tokens) / 6;
    }
    return sum;
  };
  const [plain, some, many] = [await mean(0), await mean(16), await mean(60)];
  expect(some).toBeLessThan(0.8 * plain);
  expect(many).toBeLessThan(0.9 * some);
});

test("at its budget the search ends, the answer is finished plainly, and a draft serves there", async () => {
  const options = { maxTokens: 30, seed: 2, ignoreEndTokens: true, draft: "ngram" };
  const search = { name: "rewind", judge: oracle, passes: 500, children: 3, iterations: 6 };
  const { all, result } = await eventsOf(generate(model(3), prompt, { ...options, search }));
  expect(result.tokens).toHaveLength(30);
  expect(result.facts.effort).toMatchObject({ endedBy: "passes", planned: 6 * 6 });
  expect(result.facts.effort!.done).toBeLessThan(36);
  expect(result.facts.effort!.passes).toBeLessThan(700); // an iteration begun is finished
  expect(result.facts.drafts!.method).toBe("ngram");
  const won = result.facts.branches!.filter(({ end }) => end === "won");
  expect(won.at(-1)!.why).toBe("the budget is used up: finished plainly");
  expect(won.flatMap(({ tokens }) => tokens)).toEqual(idsOf(result));
  expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(result.text);
});

test("a grammar holds in every branch", async () => {
  const search = { name: "rewind", judge: oracle, iterations: 6, children: 3 };
  const guide = { name: "grammar", regex: "[a-f]{2,8}" };
  const result = await generateText(model(2), prompt, { maxTokens: 12, seed: 1, guide, search });
  expect(result.text).toMatch(/^[a-f]{2,8}$/);
  for (const path of pathsOf(result).values()) expect(tokenizer.decode(path as never)).toMatch(/^[a-f]{0,8}$/);
});
