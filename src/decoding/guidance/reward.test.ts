import { describe, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { type MethodSpec, parseMethod } from "../method.ts";
import { type DecodingModel, decodingModel, type ModelSource } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { registry } from "../registry.ts";
import { randomDraw } from "../sampling/random-draw.ts";
import { StepSampler } from "../sampling/step.ts";
import { chiSquare, softmax } from "../testing/reference.ts";
import { outsideRun, toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import type { GuideRun } from "./guide.ts";

const tokenizer = toyTokenizer([..."abcdefgh"]);
const { vocabSize } = tokenizer;
type LogitsOf = (tokens: readonly TokenId[]) => number[];
const law =
  (salt: number): LogitsOf =>
  (tokens) => {
    const hash = tokens.reduce((sum: number, token) => (sum * 31 + token * 7 + salt) % 9973, 5);
    return Array.from({ length: vocabSize }, (_, id) => ((hash * (id + 3)) % 41) / 8);
  };
const [base, good, other] = [law(0), law(13), law(29)];
const toy = (logits: LogitsOf): DecodingModel => toyModel(tokenizer, { logits, contextLength: 128 });
const hold = (logits: LogitsOf) => ({ [decodingModel]: toy(logits) });
const prompt = tokenizer.encode("abc");
const reward = (logits: LogitsOf, more: object = {}) => ({ name: "reward", model: hold(logits), ...more });
const contrast = (amateur: LogitsOf, more: object = {}) => ({ name: "contrast", amateur: hold(amateur), plausible: 0, ...more });

/** log-softmax, plainly. */
const logProbabilities = (logits: readonly number[]) => softmax(logits).map(Math.log);

/** The law that guides leave of a row: every token's probability. */
async function guidedLaw(guide: readonly MethodSpec[], tokens: readonly TokenId[]): Promise<number[]> {
  const guides = guide.map((spec) => {
    const { method, values } = parseMethod(registry.guide, spec, "guide");
    return method.create(values);
  });
  const companion: GuideRun["companion"] = (source: ModelSource) => {
    const model = (source as { [decodingModel]: DecodingModel })[decodingModel];
    return {
      name: "toy",
      model,
      sequence: () => model.sequence({ maxLength: 64 }),
      forward: (sequence, request) => sequence.forward(request),
    };
  };
  const stop = { endTokens: new Set<TokenId>(), stopTokens: new Set<TokenId>(), stopTexts: [], maxTokens: 100 };
  const rules = { guides, shapes: [], choice: randomDraw, seed: 0 };
  const sampler = await StepSampler.start(
    rules,
    vocabSize,
    tokens,
    { ...outsideRun, tokenizer, stop, companion },
    { count: vocabSize, isNormalized: true },
  );
  using sequence = await toy(base).sequence({ maxLength: 64 });
  const [result] = await Promise.all([
    sequence.forward({ input: tokens, want: { ...sampler.want({ top: 4, isPrompt: true }) } }),
    sampler.prepare(),
  ]);
  const found = new Array<number>(vocabSize).fill(0);
  for (const { token, logprob } of sampler.several(result.rows[0]!, { stream: 0, index: 0 })!) found[token] = Math.exp(logprob);
  return found;
}

const sum = (...terms: readonly (readonly number[])[]) => terms[0]!.map((_, id) => terms.reduce((total, term) => total + term[id]!, 0));
const times = (weight: number, terms: readonly number[]) => terms.map((term) => weight * term);
const own = logProbabilities(base(prompt));
const of = (logits: LogitsOf) => logProbabilities(logits(prompt));

describe("the law is the formula's", () => {
  const cases: readonly [string, readonly MethodSpec[], readonly number[]][] = [
    ["one reward", [reward(good, { weight: 0.7 })], sum(own, times(0.7, of(good)))],
    ["two rewards", [reward(good, { weight: 0.7 }), reward(other, { weight: 1.5 })], sum(own, times(0.7, of(good)), times(1.5, of(other)))],
    ["a reward equal to the model: temperature 1 / (1 + weight)", [reward(base, { weight: 3 })], times(4, own)],
    ["a uniform reward: the model", [reward(() => new Array(vocabSize).fill(2), { weight: 5 })], own],
    [
      "normalized: the weighted mean",
      [reward(good, { weight: 0.5, normalize: true }), reward(other, { weight: 2 })],
      times(1 / 3.5, sum(own, times(0.5, of(good)), times(2, of(other)))),
    ],
    ["an amateur: the model is the expert", [contrast(other, { weight: 0.8 })], sum(times(1.8, own), times(-0.8, of(other)))],
    ["expert and amateur", [contrast(other, { expert: hold(good), weight: 0.8 })], sum(own, times(0.8, of(good)), times(-0.8, of(other)))],
    ["an amateur equal to the expert: the model", [contrast(good, { expert: hold(good), weight: 4 })], own],
  ];
  test.each(cases)("%s", async (_, guide, logits) => {
    const expected = softmax(logits);
    for (const [id, probability] of (await guidedLaw(guide, prompt)).entries()) expect(probability).toBeCloseTo(expected[id]!, 6); // rows are float32
  });

  test("plausible leaves what the model itself gives a share of its first token's probability", async () => {
    const floor = Math.max(...own) + Math.log(0.3);
    const left = sum(times(1.5, own), times(-0.5, of(other))).map((logit, id) => (own[id]! >= floor ? logit : Number.NEGATIVE_INFINITY));
    const expected = softmax(left);
    expect(left.filter(Number.isFinite).length).toBeLessThan(vocabSize);
    const found = await guidedLaw([{ name: "bias", values: { 1: 2 } }, contrast(other, { weight: 0.5, plausible: 0.3 })], prompt);
    const biased = softmax(left.map((logit, id) => logit + (id === 1 ? 2 : 0))); // whatever a guide before it did
    for (const [id, probability] of found.entries()) expect(probability).toBeCloseTo(biased[id]!, 6);
    expect(expected.filter((p) => p === 0)).toHaveLength(found.filter((p) => p === 0).length);
  });

  test("guides that add commute", async () => {
    const list: MethodSpec[] = [reward(good, { weight: 0.7 }), contrast(other, { weight: 0.4 }), { name: "bias", values: { 3: 1.5 } }];
    const laws = await Promise.all([list, [...list].reverse(), [list[1]!, list[2]!, list[0]!]].map((order) => guidedLaw(order, prompt)));
    for (const one of laws) for (const [id, probability] of one.entries()) expect(probability).toBeCloseTo(laws[0]![id]!, 12);
  });
});

test("whole answers have the law of the KL-regularised optimum, base · exp(reward / beta), where prefixes' normalizers agree", async () => {
  // V = 4 (two of them special), T = 3; the base is uniform, and every row of the reward model a permutation of the same numbers
  const small = toyTokenizer(["a", "b"]);
  const row = [0.2, 1.1, -0.4, 0.7];
  const rewarded: LogitsOf = (tokens) => row.map((_, id) => row[(id + tokens.length * 3 + tokens.at(-1)!) % 4]!);
  const weight = 1.7;
  const start = small.encode("a");
  const answers = Array.from({ length: 64 }, (_, at) => [Math.floor(at / 16), Math.floor(at / 4) % 4, at % 4] as TokenId[]);
  const rewards = answers.map((answer) =>
    answer.reduce((total, token, at) => total + logProbabilities(rewarded([...start, ...answer.slice(0, at)]))[token]!, 0),
  );
  const optimum = softmax(rewards.map((r) => weight * r)); // the base gives every answer the same
  const counts = new Array<number>(64).fill(0);
  for (let seed = 0; seed < 2000; seed++) {
    const guide = { name: "reward", model: { [decodingModel]: toyModel(small, { logits: rewarded }) }, weight };
    const options = { guide, seed, temperature: 1, maxTokens: 3, ignoreEndTokens: true };
    const { tokens } = await generateText(toyModel(small, { logits: () => [0, 0, 0, 0] }), start, options);
    counts[tokens[0]! * 16 + tokens[1]! * 4 + tokens[2]!]!++;
  }
  const { statistic, limit } = chiSquare(counts, optimum);
  expect(statistic).toBeLessThan(limit);
}, 60_000);

describe("in a run", () => {
  const settings: readonly [string, GenerateOptions][] = [
    ["greedy", {}],
    ["sampled", { temperature: 1.1, topP: 0.9, seed: 3 }],
    ["beam", { search: "beam,width=3" }],
    ["contrastive", { search: "contrastive,k=3" }],
  ];
  const withStates = (logits: LogitsOf) => toyModel(tokenizer, { logits, hidden: (tokens) => [1, tokens.length, tokens.at(-1)!] });
  test.each(settings)("%s: weight 0 is the plain run", async (_, options) => {
    const given = { ...options, maxTokens: 16, logprobs: 2 };
    const plain = await generateText(withStates(base), prompt, given);
    for (const guide of [reward(good, { weight: 0 }), contrast(good, { weight: 0, plausible: 0.5 })]) {
      const guided = await generateText(withStates(base), prompt, { ...given, guide });
      expect(guided.tokens).toEqual(plain.tokens);
      expect(guided.logprobs).toEqual(plain.logprobs);
      expect(guided.facts.passes).toBe(plain.facts.passes);
      expect(guided.facts.models).toBeUndefined();
    }
  });

  test.each([{}, { temperature: 1, seed: 5 }])(
    "a reward equal to the model is the model at temperature 1 / (1 + weight): %o",
    async (options) => {
      const cold = "temperature" in options ? { temperature: 0.25, seed: 5 } : {};
      const guided = await generateText(toy(base), prompt, { ...options, guide: reward(base, { weight: 3 }), maxTokens: 20 });
      expect(guided.tokens).toEqual((await generateText(toy(base), prompt, { ...cold, maxTokens: 20 })).tokens);
    },
  );

  const drafts: readonly MethodSpec[] = [
    "ngram,shortest=1",
    "adaptive,iterations=20",
    { name: "model", model: hold(base), confidence: 0, width: 2 },
    { name: "model", model: hold(good), confidence: 0, depth: 5 },
  ];
  const guides: readonly MethodSpec[] = [reward(good), reward(other, { weight: 0.3 }), contrast(other, { weight: 0.5, plausible: 0.05 })];
  test.each(settings.slice(0, 2))("%s: drafts change nothing but the number of passes, the guide's too", async (_, options) => {
    const given = { ...options, guide: guides, maxTokens: 30, ignoreEndTokens: true, logprobs: 1 };
    const plain = await generateText(toy(base), prompt, given);
    for (const draft of drafts) {
      const drafted = await generateText(toy(base), prompt, { ...given, draft });
      expect(drafted.tokens).toEqual(plain.tokens);
      expect(drafted.logprobs).toEqual(plain.logprobs);
      expect(drafted.facts.guides).toEqual(plain.facts.guides);
      if (drafted.facts.drafts!.accepted > 0) expect(drafted.facts.passes).toBeLessThan(plain.facts.passes);
    }
  });

  test("a guide's model takes one pass for each of the run's, however many tokens are drafted", async () => {
    const next = (tokens: readonly TokenId[]) => Array.from({ length: vocabSize }, (_, id) => (id === (tokens.at(-1)! + 1) % 8 ? 9 : 0));
    const draft = { name: "model", model: hold(next), depth: 4, confidence: 0 };
    const { facts } = await generateText(toy(next), prompt, {
      draft,
      guide: reward(good, { weight: 0.1 }),
      maxTokens: 26,
      ignoreEndTokens: true,
    });
    expect(facts.drafts!.accepted).toBe(facts.drafts!.drafted);
    expect(facts.passes).toBe(6);
    // named alike, so counted together: the draft model's passes are the prompt's and at most one per drafted token
    const passes = facts.models!.reduce((total, one) => total + one.passes, 0);
    expect(passes).toBeLessThanOrEqual(6 + 1 + facts.drafts!.drafted);
  });

  test("forks go their own way: a beam's answers have the scores of their own texts", async () => {
    const weight = 0.8;
    const options = { search: "beam,width=3,best=3,length=0", guide: reward(good, { weight }), maxTokens: 4, ignoreEndTokens: true };
    const { tokens, facts, alternatives } = await generateText(toy(base), prompt, options);
    const scoreOf = (answer: readonly TokenId[]) =>
      answer.reduce((total, token, at) => {
        const path = [...prompt, ...answer.slice(0, at)];
        return total + logProbabilities(base(path))[token]! + weight * logProbabilities(good(path))[token]!;
      }, 0);
    const won = facts.branches!.find(({ end }) => end === "won")!;
    expect(won.score).toBeCloseTo(scoreOf(tokens), 5);
    for (const { tokens: answer, score } of alternatives!) expect(score).toBeCloseTo(scoreOf(answer), 5);
  });

  test("the facts name each guide with its weight and what it did", async () => {
    const guide = [reward(good, { weight: 0.5 }), contrast(other, { weight: 0.25 })];
    const { facts } = await generateText(toy(base), prompt, { guide, maxTokens: 5 });
    expect(facts.guides!.map(({ name, weight }) => [name, weight])).toEqual([
      ["reward", 0.5],
      ["contrast", 0.25],
    ]);
    expect(facts.guides![0]!.meanShift).toBeLessThan(0); // a log-probability
    expect(facts.models![0]!.passes).toBeGreaterThanOrEqual(5);
  });
});
