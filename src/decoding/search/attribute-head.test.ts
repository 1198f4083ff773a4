import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError, UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { type AttributeHead, areaUnderCurve, fitLogistic, headLogprob, isAttributeHead } from "./attribute-head.ts";
import { fitAttribute, repeatedShare } from "./fit-attribute.ts";
import { hash } from "./testing.ts";

const facts = { numGood: 1, numBad: 1, auc: 1, accuracy: 1, numHeldOut: 1 };
const headOf = (weights: number[], bias: number): AttributeHead => ({ name: "toy", weights, bias, facts });

test("a head's log-probability is that of the logistic function, far out too", () => {
  const head = headOf([2, -1], 0.5);
  expect(headLogprob(head, Float32Array.of(1, 3))).toBeCloseTo(Math.log(1 / (1 + Math.exp(0.5))), 12);
  expect(headLogprob(head, Float32Array.of(1000, 0))).toBeCloseTo(0, 12);
  expect(headLogprob(head, Float32Array.of(-1000, 0))).toBeCloseTo(-1999.5, 9);
});

test("the fit is the minimum of its convex loss: the gradient vanishes there", () => {
  const states = Array.from({ length: 60 }, (_, index) =>
    Float32Array.from({ length: 5 }, (_, c) => hash([index, c], 3) + (c === 4 ? 2 : 0)),
  );
  const labels = states.map((state, index) => state[0]! + 0.5 * hash([index], 9) > 0.8);
  const l2 = 0.05;
  const { weights, bias } = fitLogistic({ states, labels }, l2);
  const numGood = labels.filter(Boolean).length;
  const mean = [0, 1, 2, 3, 4].map((c) => states.reduce((sum, state) => sum + state[c]!, 0) / states.length);
  const deviation = mean.map((m, c) => Math.sqrt(states.reduce((sum, state) => sum + (state[c]! - m) ** 2, 0) / states.length));
  const errorOf = (state: Float32Array, index: number) => {
    const share = 0.5 / (labels[index] ? numGood : labels.length - numGood);
    return share * (Math.exp(headLogprob(headOf(weights, bias), state)) - (labels[index] ? 1 : 0));
  };
  expect(states.reduce((sum, state, index) => sum + errorOf(state, index), 0)).toBeCloseTo(0, 7);
  for (const [c, weight] of weights.entries()) {
    const data = states.reduce((sum, state, index) => sum + (errorOf(state, index) * (state[c]! - mean[c]!)) / deviation[c]!, 0);
    expect(data + l2 * weight * deviation[c]!).toBeCloseTo(0, 7);
  }
});

test("the area under the curve is the share of pairs in order", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ score: fc.integer({ min: 0, max: 5 }), label: fc.boolean() }), { maxLength: 20 }), (list) => {
      const good = list.filter(({ label }) => label);
      const bad = list.filter(({ label }) => !label);
      fc.pre(good.length > 0 && bad.length > 0);
      const pairs = good.flatMap((a) => bad.map((b): number => (a.score > b.score ? 1 : a.score === b.score ? 0.5 : 0)));
      const expected = pairs.reduce((sum, pair) => sum + pair, 0) / pairs.length;
      expect(
        areaUnderCurve(
          list.map(({ score }) => score),
          list.map(({ label }) => label),
        ),
      ).toBeCloseTo(expected, 12);
    }),
  );
});

test("a file that holds no head for the model is none", () => {
  const head = headOf([1, 2], 0);
  expect(isAttributeHead(JSON.parse(JSON.stringify(head)), 2)).toBe(true);
  for (const value of [null, 3, {}, { ...head, weights: [1] }, { ...head, bias: null }, { ...head, facts: {} }]) {
    expect(isAttributeHead(value, 2)).toBe(false);
  }
});

test("the share of repeated sequences", () => {
  expect(repeatedShare([1, 2, 3, 1, 2, 3, 1] as TokenId[], 3)).toBeCloseTo(2 / 5, 12);
  expect(repeatedShare([1, 2] as TokenId[], 3)).toBe(0);
});

describe("fitting on a model", () => {
  const tokenizer = toyTokenizer([..."abcdefgh"]);
  const { vocabSize } = tokenizer;
  /** Goes on as an opening's first letter says: "a…" loops when it may, others draw from many; its state tells which. */
  const model = toyModel(tokenizer, {
    logits: (tokens) =>
      Array.from({ length: vocabSize }, (_, id) =>
        id >= 8 ? -50 : tokens[0]! < 2 ? (id === tokens.at(-1) ? 20 : 0) : 3 * hash(tokens, id),
      ),
    hidden: (tokens) => [tokens[0]! < 2 ? 1 : -1, hash(tokens, 5), hash(tokens, 6)],
  });
  const prompts = Array.from({ length: 32 }, (_, index) => "aceg"[(index >> 2) % 4]! + "bdfh"[index % 4]!);

  test("finds the direction in which states differ, and says how well it does on prompts that were held out", async () => {
    const progress: number[] = [];
    const head = await fitAttribute(model, "fluent", { prompts, maxTokens: 32, onProgress: (done, total) => progress.push(done / total) });
    expect(progress.at(-1)).toBe(1);
    expect(head.facts).toMatchObject({ auc: 1, accuracy: 1 });
    expect(head.weights[0]).toBeLessThan(-1);
    expect(Math.abs(head.weights[0]!)).toBeGreaterThan(5 * Math.abs(head.weights[1]!));
    expect(await fitAttribute(model, "fluent", { prompts, maxTokens: 32 })).toEqual(head);
  });

  test("refuses what can't be fitted", async () => {
    const sound = prompts.filter((prompt) => prompt[0] !== "a");
    await expect(fitAttribute(model, "fluent", { prompts: sound, maxTokens: 32 })).rejects.toThrow(UnsupportedError);
    await expect(fitAttribute(model, "fluent", { prompts: ["a"] })).rejects.toThrow("at least 8, got 1");
    await expect(fitAttribute(model, "../x")).rejects.toThrow(OptionError);
  });
});
