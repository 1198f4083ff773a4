import { describe, expect, test } from "vitest";
import { OptionError } from "../../errors.ts";
import { type GenerateResult, generate, generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import type { Judged } from "./judge.ts";
import { qualityOf } from "./judge-quality.ts";
import { eventsOf, grownPaths, hash, idsOf, logitsOf, pathsOf } from "./testing.ts";

const tokenizer = toyTokenizer([" Yes", " No", ...' ?"()\n.:,ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz']);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abca");
const model = (seed: number) => toyModel(tokenizer, { logits: logitsOf(seed, vocabSize), contextLength: 4096 });
/** A judge that knows a secret of the whole answer. */
const oracle = ({ tokens }: Judged) => hash(tokens, 77);
const bestOf = (given: object) => ({ name: "best-of", judge: oracle, prune: 0, ...given });
const branchTokens = (result: GenerateResult) => [...result.facts.branches!].sort((a, b) => a.id - b.id).map(({ tokens }) => tokens);

const plainly: readonly GenerateOptions[] = [
  { seed: 5, logprobs: 2, promptLogprobs: 1 },
  { seed: 6, temperature: 1.4, topP: 0.9, repetitionPenalty: 1.3, stop: "ab" },
  { seed: 7, temperature: 0.8, draft: "ngram,nodes=3" },
  { seed: 8, guide: { name: "grammar", regex: "[a-d]{3,9}" } },
];

describe.each([
  ["n is 1", { n: 1 }],
  ["the budget is 0 passes", { n: 4, passes: 0 }],
  ["the budget is 0 seconds", { n: 4, seconds: 0 }],
])("the plain answer where %s", (_name, given) => {
  test.each(plainly)("%o", async (options) => {
    const plain = await generateText(model(1), prompt, { maxTokens: 20, ...options });
    const { all, result } = await eventsOf(generate(model(1), prompt, { maxTokens: 20, ...options, search: bestOf(given) }));
    expect(result).toMatchObject({ text: plain.text, tokens: plain.tokens, finishReason: plain.finishReason });
    expect([result.logprobs, result.promptLogprobs]).toEqual([plain.logprobs, plain.promptLogprobs]);
    expect(result.facts).toMatchObject({ passes: plain.facts.passes, tokens: plain.facts.tokens });
    expect([result.facts.guides, result.facts.drafts]).toEqual([plain.facts.guides, plain.facts.drafts]);
    expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(plain.text);
  });
});

describe("with a judge that knows", () => {
  test("the best of all answers drawn wins, and more answers never win less", async () => {
    for (let seed = 0; seed < 5; seed++) {
      let before = 0;
      for (const n of [1, 2, 4, 7]) {
        const { all, result } = await eventsOf(generate(model(seed), prompt, { maxTokens: 12, seed, search: bestOf({ n, first: 1 }) }));
        const scores = branchTokens(result).map((tokens) => hash(tokens, 77));
        expect(scores).toHaveLength(n);
        const score = hash(idsOf(result), 77);
        expect(score).toBe(Math.max(...scores));
        expect(score).toBeGreaterThanOrEqual(before);
        before = score;
        expect(pathsOf(result)).toEqual(grownPaths(all));
        expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(result.text);
        expect(result.facts.branches!.filter(({ end }) => end === "won")).toHaveLength(1);
      }
    }
  });

  test("answers come in groups until one is good enough; 0 is one answer, 1 is all", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const scores = branchTokens(await generateText(model(seed), prompt, { maxTokens: 8, seed, search: bestOf({ n: 8 }) })).map((tokens) =>
        hash(tokens, 77),
      );
      for (const enough of [0, 0.5, 0.8, 0.97, 1]) {
        const result = await generateText(model(seed), prompt, { maxTokens: 8, seed, search: bestOf({ n: 8, enough }) });
        const drawn = [1, 2, 4, 8].find((count) => Math.max(...scores.slice(0, count)) >= enough) ?? 8;
        expect(branchTokens(result)).toHaveLength(enough === 1 ? 8 : drawn);
        expect(result.facts.effort).toMatchObject({ unit: "answers", planned: 8, done: enough === 1 ? 8 : drawn });
      }
    }
  });

  test("a check gives up the worst answers under way, never complete ones", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const given = { maxTokens: 32, seed };
      const whole = await generateText(model(seed), prompt, { ...given, search: bestOf({ n: 6 }) });
      const result = await generateText(model(seed), prompt, { ...given, search: bestOf({ n: 6, prune: 0.5, check: 4 }) });
      const answers = branchTokens(whole);
      // the rule written down
      let live = [0, 1, 2, 3, 4, 5];
      const pruned = new Map<number, number>();
      for (let length = 4; length < 32; length *= 2) {
        live = live.filter((id) => answers[id]!.length > length);
        if (live.length < 2) continue;
        const ranked = [...live].sort((a, b) => hash(answers[b]!.slice(0, length), 77) - hash(answers[a]!.slice(0, length), 77));
        for (const id of ranked.slice(Math.max(1, Math.ceil(live.length / 2)))) pruned.set(id, length);
        live = live.filter((id) => !pruned.has(id));
      }
      expect(branchTokens(result)).toEqual(answers.map((tokens, id) => tokens.slice(0, pruned.get(id))));
      const survivors = answers.filter((_, id) => !pruned.has(id));
      expect(idsOf(result)).toEqual(survivors.reduce((a, b) => (hash(b, 77) > hash(a, 77) ? b : a)));
    }
  });
});

test("a self-evaluation changes no token of any answer, and asks for the two replies after the answer", async () => {
  for (const judge of ["restart", "options"]) {
    for (const given of [{}, { draft: "ngram,nodes=3" }, { stop: "A" }]) {
      const options = { maxTokens: 24, seed: 3, ...given };
      const unjudged = await generateText(model(4), prompt, { ...options, search: bestOf({ n: 4, judge: () => 0.5 }) });
      const result = await generateText(model(4), prompt, { ...options, search: bestOf({ n: 4, judge, check: 8 }) });
      expect(branchTokens(result)).toEqual(branchTokens(unjudged));
      for (const { tokens, score } of result.facts.branches!) expect(score).toBeCloseTo(selfEvaluation(judge, tokens), 6);
    }
  }

  /** By the toy's own logits after the answer and the question written out. */
  function selfEvaluation(judge: string, answer: readonly number[]): number {
    const read = answer.at(-1) === tokenizer.end ? answer.slice(0, -1) : answer;
    const ask = (question: string, good: string, bad: string) => {
      const text = [...prompt, ...read, ...tokenizer.encode(question)] as never;
      const logits = logitsOf(4, vocabSize)(text);
      const of = (reply: string) => Math.exp(logits[tokenizer.encode(reply)[0]!]!);
      return of(good) / (of(good) + of(bad));
    };
    if (judge === "restart") return ask('\n\nQuestion: Would you do better if you started over? ("Yes." or "No.")\nAnswer:', " No", " Yes");
    const options = (first: string, second: string) =>
      `\n\nQuestion: Judge the answer above. Options:\n(A) The answer is ${first}.\n(B) The answer is ${second}.\nAnswer: The answer is: (`;
    const first = ask(options("correct and clear", "wrong or confused"), "A", "B");
    const second = ask(options("wrong or confused", "correct and clear"), "B", "A");
    return ((first > 0.5 ? 1 : 0) + (second > 0.5 ? 1 : 0)) / 2;
  }
});

test("drafts, guides and samplers compose: the same answers in fewer passes", async () => {
  const options = { maxTokens: 30, seed: 9, temperature: 0.2, repetitionPenalty: 1.05 };
  const search = bestOf({ n: 3, prune: 0.5, check: 10 });
  const plain = await generateText(model(2), prompt, { ...options, search });
  const drafted = await generateText(model(2), prompt, { ...options, search, draft: "ngram" });
  expect(branchTokens(drafted)).toEqual(branchTokens(plain));
  expect(drafted.facts.drafts!.method).toBe("ngram");
  const guide = { name: "grammar", regex: "[a-f]{2,8}" };
  const guided = await generateText(model(2), prompt, { ...options, search, guide });
  expect(guided.text).toMatch(/^[a-f]{2,8}$/);
});

test("at its budget it stops drawing, finishes one answer, and says how far it came", async () => {
  const options = { maxTokens: 40, seed: 2, ignoreEndTokens: true };
  const { all, result } = await eventsOf(generate(model(3), prompt, { ...options, search: bestOf({ n: 4, passes: 20 }) }));
  expect(result.tokens).toHaveLength(40);
  expect(result.facts.branches!.filter(({ end }) => end === "pruned")).toHaveLength(3);
  expect(result.facts.branches!.map(({ tokens }) => tokens.length).sort((a, b) => a - b)).toEqual([6, 6, 6, 40]); // 4 rows a step
  expect(result.facts.effort).toMatchObject({
    method: "best-of",
    endedBy: "passes",
    done: 1,
    planned: 4,
    paper: { setting: "16 answers" },
  });
  const first = all.find(({ kind }) => kind === "effort");
  expect(first).toMatchObject({ fact: { done: 0, expected: { passes: 40 } } });
  expect(all.findIndex(({ kind }) => kind === "effort")).toBeLessThan(all.findIndex(({ kind }) => kind === "token"));
});

test("what it says first counts the passes of the answers, and those in which they are judged with all rows of the question", async () => {
  const question = tokenizer.encode('\n\nQuestion: Would you do better if you started over? ("Yes." or "No.")\nAnswer:').length;
  const timed = Object.assign(model(3), { costCurve: async () => ({ singleRowMs: 2, points: [], ratio: (rows: number) => rows }) });
  for (const [judge, passes, rows] of [
    [oracle, 10, 10 * 4],
    ["restart", 12, 10 * 4 + 2 * 4 * question],
  ] as const) {
    const { all } = await eventsOf(generate(timed, prompt, { maxTokens: 10, seed: 1, search: bestOf({ n: 4, judge }) }));
    expect(all.find(({ kind }) => kind === "effort")).toMatchObject({ fact: { expected: { passes, ms: 2 * rows } } });
  }
});

test("unless others are given it has 2,048 passes, which its facts say before anything is drawn", async () => {
  const options = { maxTokens: 1100, seed: 2, ignoreEndTokens: true };
  const { all, result } = await eventsOf(generate(model(3), prompt, { ...options, search: bestOf({ n: 2 }) }));
  expect(all.find(({ kind }) => kind === "effort")).toMatchObject({
    fact: { done: 0, expected: { passes: 1100 }, limits: { passes: 2048 } },
  });
  expect(result.tokens).toHaveLength(1100); // one answer is finished plainly
  expect(result.facts.effort).toMatchObject({ endedBy: "passes", done: 1, planned: 2 });
  expect(Math.min(...branchTokens(result).map((tokens) => tokens.length))).toBe(1025); // 2 rows a step, each a pass of the toy
  const given = await generateText(model(3), prompt, { maxTokens: 2, seed: 2, search: bestOf({ n: 2, passes: 50, seconds: 7 }) });
  expect(given.facts.effort!.limits).toEqual({ passes: 50, seconds: 7 });
});

test("greedy decoding and deterministic samplers are refused, and without any option tokens are drawn", async () => {
  for (const given of [{ temperature: 0 }, { sample: "greedy" }, { sample: "momentum" }])
    await expect(generateText(model(1), prompt, { ...given, search: "best-of" })).rejects.toThrow(
      /every answer that it draws would be the same/,
    );
  const result = await generateText(model(1), prompt, { maxTokens: 3, search: bestOf({ n: 2 }) });
  expect(result.facts.choices).toContainEqual(expect.objectContaining({ what: "sample", chosen: "drawn at temperature 1" }));
});

test("a question that may not fit behind an answer is refused before anything is computed", async () => {
  const small = toyModel(tokenizer, { logits: logitsOf(1, vocabSize), contextLength: 100 });
  const given = { maxTokens: 90, seed: 1 };
  await expect(generateText(small, prompt, { ...given, search: "best-of" })).rejects.toThrow(/judge's question exceed the context of 100/);
  expect(small.sequences.flatMap(({ log }) => log)).toEqual([]);
  expect((await generateText(small, prompt, { ...given, search: "best-of,n=1" })).tokens.length).toBeGreaterThan(0);
});

test("a judge's number is checked", async () => {
  for (const value of [-0.1, 1.1, Number.NaN, "good"]) {
    const search = bestOf({ n: 2, judge: () => value });
    await expect(generateText(model(1), prompt, { maxTokens: 3, seed: 1, search })).rejects.toThrow(OptionError);
  }
});

test("a judge is at chance as long as the interval of its share holds one half", () => {
  const scores = (good: number, bad: number) => [
    ...Array.from({ length: good }, () => [0.6, 0.5] as const),
    ...Array.from({ length: bad }, () => [0.4, 0.5] as const),
  ];
  expect(qualityOf("restart", scores(20, 12))).toMatchObject({ share: 0.625, isAtChance: true, numPairs: 32 });
  expect(qualityOf("restart", scores(24, 8))).toMatchObject({ share: 0.75, isAtChance: false });
  expect(qualityOf("restart", scores(4, 28))).toMatchObject({ share: 0.125, isAtChance: true });
  expect(qualityOf("restart", scores(3, 0))).toMatchObject({ share: 1, isAtChance: true }); // one in eight coins does that
  expect(qualityOf("restart", [[0.5, 0.5]])).toMatchObject({ share: 0.5, isAtChance: true });
});
