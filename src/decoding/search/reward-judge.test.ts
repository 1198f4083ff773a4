import { describe, expect, test } from "vitest";
import { generateText } from "../generate.ts";
import { type DecodingModel, decodingModel } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { hiddenOf, logitsOf, logprobOf } from "./testing.ts";

const tokenizer = toyTokenizer([..."abcdefgh,."]);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abca");
const toy = (seed: number) => toyModel(tokenizer, { logits: logitsOf(seed, vocabSize), hidden: hiddenOf(seed), contextLength: 4096 });
const hold = (model: DecodingModel) => ({ [decodingModel]: model });

/** Σ log π_r(token), by the formula: what the guide `reward` adds at each token of the answer, summed. */
const rewardOf = (seed: number, answer: readonly number[]) => logprobOf(logitsOf(seed, vocabSize), prompt, answer);

test("best-of: scores are exp(beta · the guide's log-probabilities, summed), and the highest wins", async () => {
  for (let seed = 0; seed < 4; seed++) {
    const search = { name: "best-of", n: 5, judge: "reward", model: hold(toy(9)), beta: 0.2, prune: 0 };
    const { tokens, facts } = await generateText(toy(seed), prompt, { maxTokens: 12, seed, search });
    expect(facts.branches).toHaveLength(5);
    for (const { score, tokens: answer } of facts.branches!) expect(score).toBeCloseTo(Math.exp(0.2 * rewardOf(9, answer)), 6);
    const best = Math.max(...facts.branches!.map(({ tokens: answer }) => rewardOf(9, answer)));
    expect(rewardOf(9, tokens)).toBeCloseTo(best, 9);
    expect(facts.choices).toContainEqual(expect.objectContaining({ what: "judge", chosen: "reward" }));
  }
});

test.each([
  [undefined, "how well it ranks answers is not known: no metrics of its training stand beside it"],
  [
    { share: 0.742 },
    "its training ranked 74 % of the held-out pairs right; its metrics don't say of how many, so whether that is above chance is not known",
  ],
  [{ share: 0.742, numPairs: 120 }, "its training ranked 74 % of 120 held-out pairs right"],
  [{ share: 0.7, numPairs: 20 }, "its training ranked 70 % of 20 held-out pairs right: at chance, so its scores say nothing here"],
  [{ share: 1, numPairs: 3 }, "its training ranked 100 % of 3 held-out pairs right: at chance, so its scores say nothing here"],
  [{ share: 0.2, numPairs: 500 }, "its training ranked 20 % of 500 held-out pairs right: at chance, so its scores say nothing here"],
])("the facts say what a reward model is worth whose training reached %o", async (ranking, because) => {
  const reward = { ...toy(9), heldOutRanking: async () => ranking };
  const search = { name: "best-of", n: 2, judge: "reward", model: hold(reward) };
  const { facts } = await generateText(toy(1), prompt, { maxTokens: 4, seed: 1, search });
  const choice = facts.choices.find(({ what }) => what === "judge")!;
  expect(choice.chosen).toBe("reward");
  expect(choice.because.split(" gives them; ")[1]).toBe(because);
});

test("best-of: answers that are judged on the way there are judged by what there is of them", async () => {
  const search = { name: "best-of", n: 4, judge: "reward", model: hold(toy(9)), prune: 0.5, check: 4, first: 1 };
  const { facts } = await generateText(toy(3), prompt, { maxTokens: 12, seed: 2, ignoreEndTokens: true, search });
  const pruned = facts.branches!.filter(({ end }) => end === "pruned");
  expect(pruned.length).toBeGreaterThan(0);
  for (const { score, tokens } of facts.branches!) expect(score).toBeCloseTo(Math.exp(0.05 * rewardOf(9, tokens)), 6);
});

test("rewind: a tree searched by a reward model gives answers of higher reward than plain ones", async () => {
  let [guided, plain] = [0, 0];
  for (let seed = 0; seed < 8; seed++) {
    const search = { name: "rewind", judge: "reward", model: hold(toy(9)), beta: 1, iterations: 12, children: 4 };
    const options: GenerateOptions = { maxTokens: 8, seed, ignoreEndTokens: true };
    guided += rewardOf(9, (await generateText(toy(seed), prompt, { ...options, search })).tokens);
    plain += rewardOf(9, (await generateText(toy(seed), prompt, options)).tokens);
  }
  expect(guided).toBeGreaterThan(plain);
});

describe.each(["best-of", "rewind"])("%s", (name) => {
  test("a judge and its parameters that don't belong together are refused", async () => {
    const refused = async (given: object, message: RegExp) =>
      expect(generateText(toy(1), prompt, { maxTokens: 4, seed: 1, search: { name, ...given } })).rejects.toThrow(message);
    await refused({ judge: "reward" }, /judge reward needs model, or adapter/);
    await refused({ judge: "options", beta: 0.1 }, /beta belongs to judge reward, and the judge is options/);
    await refused({ judge: () => 0.5, model: hold(toy(2)) }, /model belongs to judge reward, and the judge is a function/);
    await refused({ judge: "reward", model: hold(toy(2)), beta: 0 }, /beta must be a number in \(0, 100\]/);
  });

  test("a reward model of another vocabulary is refused", async () => {
    const other = toyModel(toyTokenizer([..."hgfedcba,."]), { logits: logitsOf(1, vocabSize), contextLength: 4096 });
    const search = { name, judge: "reward", model: hold(other) };
    await expect(generateText(toy(1), prompt, { maxTokens: 4, seed: 1, search })).rejects.toThrow(/another vocabulary/);
  });

  test.each(["ngram,nodes=3", undefined])("draft %s and guides leave the judged answer as it is alone", async (draft) => {
    const search = { name, judge: "reward", model: hold(toy(9)), ...(name === "rewind" ? { iterations: 4, children: 3 } : { n: 3 }) };
    const options: GenerateOptions = { maxTokens: 8, seed: 3, guide: { name: "reward", model: hold(toy(7)), weight: 0 }, search };
    const alone = await generateText(toy(5), prompt, { maxTokens: 8, seed: 3, search });
    const beside = await generateText(toy(5), prompt, { ...options, ...(draft === undefined ? {} : { draft }) });
    expect(beside.tokens).toEqual(alone.tokens);
  });
});
