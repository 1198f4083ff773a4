import { afterAll, beforeAll, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

const folder = temporaryFolder();
let model: Model;
beforeAll(async () => {
  await writeTinyChatModel(`${folder.path}/tiny.gguf`, { seed: 3 });
  model = await load(`${folder.path}/tiny.gguf`, { threads: 1, context: 256, cacheBytes: 2 ** 26 });
});
afterAll(async () => {
  expect(model.memory().streamsUsed).toBe(0);
  await model[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const texts = [" jumps over", " the lazy dog while", " one"];

test("choices in forks of the prompt score as the whole text evaluated anew", async () => {
  const prompt = "the quick brown fox";
  const { choices, best } = await model.scoreChoices(prompt, texts);
  for (const { text, total, tokens } of choices) {
    const { logprobs } = await model.score(prompt + text);
    const anew = logprobs.slice(-tokens.length).reduce((sum: number, logprob) => sum + logprob!, 0);
    expect(Math.abs(total - anew)).toBeLessThan(1e-4);
  }
  expect(best).toBe(choices.reduce((a, b, index) => (b.total > choices[a]!.total ? index : a), 0));
});

test("after a set the order of its members makes no difference; messages end with the opening of the answer", async () => {
  const after = async (members: string[]) => (await model.scoreChoices({ kind: "set", prompt: ["the", members, " asks"] }, texts)).choices;
  expect(await after([" fox", " lazy dog"])).toEqual(await after([" lazy dog", " fox"]));
  const { choices } = await model.scoreChoices([{ role: "user", content: "who?" }], ["the fox", "one more"], { rule: "mean" });
  expect(choices.every(({ score, total, tokens }) => score === total / tokens.length)).toBe(true);
});
