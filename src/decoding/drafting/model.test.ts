import { describe, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { type DecodingModel, decodingModel } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { chiSquare, softmax } from "../testing/reference.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abcdefg |"]);
const { vocabSize } = tokenizer;
const law =
  (salt: number, share = 1) =>
  (tokens: readonly TokenId[]): number[] => {
    const hash = tokens.reduce((sum: number, token) => (sum * 31 + token * 7) % 9973, 5);
    return Array.from({ length: vocabSize }, (_, id) => ((hash * (id + 3)) % 41) / 8 + share * (((hash + salt) * (id + 5)) % 7));
  };
const target = law(3, 0);
/** What a draft model may be: the target itself, one near it, one of another mind, one that is always wrong. */
const draftModels: readonly [string, (tokens: readonly TokenId[]) => number[]][] = [
  ["the target itself", target],
  ["one near it", law(11, 0.1)],
  ["one of another mind", law(17)],
  ["its opposite", (tokens) => target(tokens).map((logit) => -logit)],
];
const toy = (logits: (tokens: readonly TokenId[]) => number[]) => toyModel(tokenizer, { logits, contextLength: 256 });
const hold = (model: DecodingModel) => ({ [decodingModel]: model });
const prompt = tokenizer.encode("abcab");

const settings: readonly [string, GenerateOptions][] = [
  ["greedy", {}],
  ["greedy with guides", { repetitionPenalty: 1.3, frequencyPenalty: 0.4, bias: { 2: 1.5 } }],
  ["sampled", { temperature: 1.3, seed: 4 }],
  ["sampled, truncated", { temperature: 0.8, topK: 6, topP: 0.9, minP: 0.02, seed: 5 }],
  ["sampled, needing full rows", { temperature: 1, typical: 0.7, seed: 6 }],
  ["momentum", { sample: "momentum" }],
  ["with a stop text", { stop: ["ga", "| "], temperature: 1, seed: 8, logprobs: 2 }],
];
describe.each(draftModels)("%s as the draft model", (_, logits) => {
  test.each(settings)("%s: the answer is the plain one", async (_, options) => {
    const plain = await generateText(toy(target), prompt, { ...options, maxTokens: 40 });
    for (const shape of [{}, { depth: 1 }, { depth: 6, confidence: 0 }, { depth: 4, width: 3, confidence: 0 }]) {
      const drafter = toy(logits);
      const draft = { name: "model", model: hold(drafter), ...shape };
      const drafted = await generateText(toy(target), prompt, { ...options, draft, maxTokens: 40 });
      for (const key of ["text", "tokens", "finishReason", "stoppedBy", "usage", "logprobs"] as const)
        expect(drafted[key]).toEqual(plain[key]);
      expect(drafted.facts.passes).toBeLessThanOrEqual(plain.facts.passes + 1);
    }
  });
});

test.each([{}, { temperature: 1, seed: 2 }, { temperature: 0.7, topP: 0.8, seed: 3 }])(
  "the target itself is accepted whole, also where tokens are drawn: %o",
  async (options) => {
    const draft = { name: "model", model: hold(toy(target)), depth: 4, confidence: 0 };
    const { facts } = await generateText(toy(target), prompt, { ...options, draft, maxTokens: 26, ignoreEndTokens: true });
    expect(facts.drafts!.accepted).toBe(facts.drafts!.drafted);
    expect(facts.passes).toBe(1 + 5); // the prompt's, then five tokens a pass
  },
);

test("it stops where it is unsure, and guesses the likelier first", async () => {
  const sure = (tokens: readonly TokenId[]) =>
    Array.from({ length: vocabSize }, (_, id) => (id === tokens.length % 5 ? (tokens.length % 3 === 0 ? 0.5 : 9) : 0));
  const one = toy(sure);
  const two = toy(sure);
  for (const [model, confidence] of [
    [one, 0.9],
    [two, 0],
  ] as const) {
    const draft = { name: "model", model: hold(model), depth: 3, confidence };
    await generateText(toy(target), prompt, { draft, maxTokens: 20, ignoreEndTokens: true });
  }
  const rows = (model: typeof one) => model.sequences[0]!.log.length;
  expect(rows(one)).toBeLessThan(rows(two));
});

test("sampling with a draft model follows the law of plain sampling (chi-square, 99.9 %)", async () => {
  const small = toyTokenizer(["a", "b", "c"]);
  const row = (salt: number) => (tokens: readonly TokenId[]) =>
    Array.from({ length: 5 }, (_, id) => (((tokens.length * 5 + tokens.at(-1)! * 3 + salt) * (id + 2)) % 7) / 3);
  const start = small.encode("a");
  for (const salt of [0, 2]) {
    const counts = new Array<number>(125).fill(0);
    for (let seed = 0; seed < 1000; seed++) {
      const draft = { name: "model", model: hold(toyModel(small, { logits: row(salt) })), confidence: 0 };
      const options = { maxTokens: 3, temperature: 1, ignoreEndTokens: true, seed, draft };
      const { tokens } = await generateText(toyModel(small, { logits: row(0) }), start, options);
      counts[tokens[0]! * 25 + tokens[1]! * 5 + tokens[2]!]!++;
    }
    const step = (...tokens: number[]) => softmax(row(0)([...start, ...tokens] as TokenId[]));
    const joint = Array.from({ length: 125 }, (_, at) => {
      const [a, b, c] = [Math.floor(at / 25), Math.floor(at / 5) % 5, at % 5];
      return step()[a]! * step(a)[b]! * step(a, b)[c]!;
    });
    const { statistic, limit } = chiSquare(counts, joint);
    expect(statistic).toBeLessThan(limit);
  }
}, 60_000);
