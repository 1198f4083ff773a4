import { describe, expect, test } from "vitest";
import { NotFoundError, OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import type { DecodingModel } from "../model.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { type AttributeHead, headLogprob } from "./attribute-head.ts";
import { everyAnswer, hiddenOf, idsOf, logitsOf, logprobOf } from "./testing.ts";

const tokenizer = toyTokenizer([..."ab"]);
const { vocabSize, end } = tokenizer;
const prompt = tokenizer.encode("ab");
const model = (seed: number) => toyModel(tokenizer, { logits: logitsOf(seed, vocabSize), hidden: hiddenOf(seed) });
const maxTokens = 5;
const everything = everyAnswer(vocabSize, end, maxTokens);
const all = { name: "conditional-beam", width: 64, look: 1024, best: 64 };

/** Answers that `has` holds for, the most probable first. */
function modes(seed: number, has: (answer: readonly number[]) => boolean): number[][] {
  const logprob = new Map(everything.map((answer) => [answer, logprobOf(logitsOf(seed, vocabSize), prompt, answer)]));
  return everything.filter(has).sort((a, b) => logprob.get(b)! - logprob.get(a)!);
}
const withoutEnd = (answer: readonly number[]) => (answer.at(-1) === end ? answer.slice(0, -1) : answer);
const hasRepeat = (answer: readonly number[], n: number) => {
  const grams = answer.slice(0, Math.max(0, answer.length - n + 1)).map((_, at) => answer.slice(at, at + n).join());
  return new Set(grams).size < grams.length;
};

describe("with a beam that holds every answer", () => {
  test.each([0, 1, 2, 3])("the answer is the most probable of %i tokens", async (length) => {
    for (let seed = 0; seed < 8; seed++) {
      const expected = modes(seed, (answer) => answer.at(-1) === end && withoutEnd(answer).length === length);
      const result = await generateText(model(seed), prompt, { maxTokens, search: { ...all, min: length, max: length } });
      const given = [idsOf(result), ...result.alternatives!.map(({ tokens }) => [...tokens])];
      expect(given).toEqual(expected.slice(0, 64));
      expect(result.finishReason).toBe("stop");
    }
  });

  test.each([1, 2, 3])("the answer is the most probable without a repeated sequence of %i tokens", async (ngram) => {
    for (let seed = 0; seed < 6; seed++) {
      const expected = modes(seed, (answer) => !hasRepeat(answer, ngram));
      const result = await generateText(model(seed), prompt, { maxTokens, search: { ...all, ngram, min: 2 } });
      expect(idsOf(result)).toEqual(expected.find((answer) => answer.at(-1) !== end || answer.length > 2));
    }
  });

  test("of answers of up to six tokens, which stands in for the thesis's depth-first search", async () => {
    const six = everyAnswer(vocabSize, end, 6);
    const has = (answer: readonly number[]) => answer.at(-1) === end && answer.length === 5 && !hasRepeat(answer, 2);
    for (let seed = 0; seed < 4; seed++) {
      const logprob = new Map(six.map((answer) => [answer, logprobOf(logitsOf(seed, vocabSize), prompt, answer)]));
      const expected = six.filter(has).reduce((a, b) => (logprob.get(b)! > logprob.get(a)! ? b : a));
      // 60 of the 81 answers of four tokens repeat no pair: all are kept
      const search = { ...all, width: 64, look: 1024, best: 1, min: 4, max: 4, ngram: 2 };
      const result = await generateText(model(seed), prompt, { maxTokens: 6, search });
      expect(idsOf(result)).toEqual(expected);
    }
  });

  test("a function that knows what is to come finds the conditional mode", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const has = (answer: readonly number[]) => answer.filter((id) => id === 1).length === 2;
      const logits = logitsOf(seed, vocabSize);
      const mass = (answers: readonly number[][]) => answers.reduce((sum, one) => sum + Math.exp(logprobOf(logits, prompt, one)), 0);
      const attribute = ({ tokens }: { tokens: readonly TokenId[] }) => {
        const possible = everything.filter((answer) => tokens.every((id, index) => answer[index] === id));
        return Math.min(0, Math.log(mass(possible.filter(has)) / mass(possible)));
      };
      const result = await generateText(model(seed), prompt, { maxTokens, search: { ...all, best: 1, attribute } });
      expect(idsOf(result)).toEqual(modes(seed, has)[0]);
    }
  });
});

test.each([{ attribute: () => 0 }, { attribute: () => -2 }, { head: "fluent", weight: 0 }])(
  "what says the same of every answer, or counts nothing, is the plain beam: %o",
  async (condition) => {
    for (let seed = 0; seed < 10; seed++) {
      const plain = await generateText(model(seed), prompt, { maxTokens: 8, search: "beam,width=3,length=0,best=3" });
      const search = { name: "conditional-beam", width: 3, best: 3, look: 12, ...condition };
      const result = await generateText(model(seed), prompt, { maxTokens: 8, search });
      expect(result.tokens).toEqual(plain.tokens);
      expect(result.alternatives!.map(({ tokens }) => tokens)).toEqual(plain.alternatives!.map(({ tokens }) => tokens));
      expect(result.logprobs).toEqual(plain.logprobs);
    }
  },
);

const facts = { numGood: 1, numBad: 1, auc: 0.9, accuracy: 0.9, numHeldOut: 2 };
const head: AttributeHead = { name: "calm", weights: [3, -2, 1.5], bias: 0.2, facts };
const withHead = (seed: number): DecodingModel => ({ ...model(seed), attributeHead: async (name) => (name === "calm" ? head : undefined) });

/** The search written down: whole answers, every state and log-probability computed anew. */
function reference(seed: number, { width, look, weight }: { width: number; look: number; weight: number }): number[] {
  const logits = logitsOf(seed, vocabSize);
  const conditionOf = (tokens: readonly number[]) => {
    const read = [...prompt, ...withoutEnd(tokens)] as TokenId[];
    return weight * headLogprob(head, Float32Array.from(hiddenOf(seed)(read)));
  };
  const ended: { tokens: number[]; standing: number }[] = [];
  let live: { tokens: number[]; standing: number; condition: number }[] = [{ tokens: [], standing: 0, condition: 0 }];
  while (live.length > 0 && ended.length < width) {
    const looks = live
      .flatMap(({ tokens, condition }) =>
        Array.from({ length: vocabSize }, (_, id) => [...tokens, id]).map((next) => ({
          tokens: next,
          known: logprobOf(logits, prompt, next) + condition,
        })),
      )
      .sort((a, b) => b.known - a.known)
      .slice(0, look);
    const children = looks
      .map(({ tokens }) => {
        const condition = conditionOf(tokens);
        return { tokens, condition, standing: logprobOf(logits, prompt, tokens) + condition };
      })
      .sort((a, b) => b.standing - a.standing)
      .slice(0, width - ended.length);
    const isOver = ({ tokens }: { tokens: number[] }) => tokens.at(-1) === end || tokens.length === maxTokens;
    ended.push(...children.filter(isOver));
    live = children.filter((child) => !isOver(child));
  }
  return ended.sort((a, b) => b.standing - a.standing)[0]!.tokens;
}

test.each([
  { width: 2, look: 5, weight: 1 },
  { width: 3, look: 3, weight: 2.5 },
  { width: 1, look: 4, weight: 0.5 },
])("with a head its answer is that of the rule written down: %o", async (settings) => {
  for (let seed = 0; seed < 30; seed++) {
    const result = await generateText(withHead(seed), prompt, {
      maxTokens,
      search: { name: "conditional-beam", head: "calm", ...settings },
    });
    expect(idsOf(result)).toEqual(reference(seed, settings));
    expect(result.facts.choices).toContainEqual(expect.objectContaining({ what: "attribute calm" }));
  }
});

describe("what can't be met is refused by name:", () => {
  const run = (search: object, options: object = {}) =>
    generateText(withHead(1), prompt, { maxTokens, ...options, search: { name: "conditional-beam", ...search } });
  test("a head that was never fitted", async () => {
    await expect(run({ head: "polite" })).rejects.toThrow(NotFoundError);
    await expect(run({ head: "polite" })).rejects.toThrow("chainrule calibrate --attribute polite");
  });
  test("lengths", async () => {
    await expect(run({ min: 3, max: 2 })).rejects.toThrow("min must be at most max (2), got 3");
    await expect(run({ max: 5 })).rejects.toThrow("max must be below maxTokens (5)");
    await expect(run({ min: 2 }, { ignoreEndTokens: true })).rejects.toThrow(/end tokens are ignored/);
  });
  test("a function that gives no log-probability", async () => {
    await expect(run({ attribute: () => 0.5 })).rejects.toThrow(OptionError);
    await expect(run({ attribute: () => Number.NaN })).rejects.toThrow("at most 0, gave NaN");
  });
  test("an attribute that no answer can have", async () => {
    await expect(run({ attribute: () => Number.NEGATIVE_INFINITY })).rejects.toThrow(/no answer within the beam/);
  });
  test("a function where only text can be given", async () => {
    await expect(generateText(model(1), prompt, { search: "conditional-beam,attribute=x" })).rejects.toThrow(
      "attribute must be a function, from a program",
    );
  });
});
