import { homedir } from "node:os";
import { beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { defaultHome, findInstalled } from "../../src/models/index.ts";
import type { TokenId } from "../../src/token.ts";
import { Llama } from "../support/llama.ts";

/** The same text in every language and form a tokenizer meets: greedy continuations are compared token by token. */
const prompts = [
  "The three laws of robotics are",
  "Once upon a time, in a village by the sea,",
  "def fibonacci(n):\n    ",
  "The capital of France is",
  "1, 1, 2, 3, 5, 8, 13,",
  "Dear Sir or Madam,\n\nI am writing to",
  "Q: What is the boiling point of water?\nA:",
  "In 1969, Neil Armstrong",
  "SELECT name, age FROM people WHERE",
  "<html>\n<head>\n<title>",
  "The mitochondria is the",
  "Roses are red, violets are blue,",
  "Ingredients: flour, sugar, butter,",
  "import numpy as np\n\ndef softmax(x):",
  "The quick brown fox jumps over the lazy dog. The quick brown fox",
  "La vie est belle, mais",
  "To be, or not to be, that is",
  "- apples\n- pears\n-",
  "Water is made of hydrogen and",
  "The meeting was moved from Monday to Tuesday because",
];
const steps = 64;

/** It is built in most of an hour, so only where that was done. */
const draft =
  (await findInstalled(defaultHome(process.env, process.platform, homedir()), "smollm2-draft")) === undefined ? [] : ["smollm2-draft"];

describe.each(["smollm2", "gemma3-270m", "tiny", ...draft])("%s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await load(name, { threads: 1, context: 256 });
    return () => model[Symbol.asyncDispose]();
  });

  test("logits of a 64-token text have libllama's bits, and so have 8 steps after it", async () => {
    using llama = new Llama(model.path, { contextLength: 256, microBatch: 512, threads: 1 });
    const text = model.tokenize(prompts.join("\n")).slice(0, 64);
    expect(text.length).toBe(64);
    using sequence = model.sequence();
    const { rows } = await sequence.forward({ input: text, want: { logits: "all", fullLogits: true } });
    const reference = llama.decode(text, 0, true);
    for (const { row, logits } of rows)
      expect(largestDifference(logits!, reference.subarray(row * llama.vocabSize, (row + 1) * llama.vocabSize))).toBe(0);
    for (let step = 0; step < 8; step += 1) {
      const token = text[step * 7]!;
      const { rows } = await sequence.forward({ input: [token], want: { fullLogits: true } });
      expect(largestDifference(rows[0]!.logits!, llama.decode([token], 64 + step))).toBe(0);
    }
  });

  test(`greedy continuations of ${prompts.length} prompts are libllama's, token for token`, async () => {
    using llama = new Llama(model.path, { contextLength: 256, microBatch: 512, threads: 1 });
    for (const prompt of prompts) {
      const tokens = model.tokenize(prompt);
      const { tokens: ours } = await model.generate(tokens, { maxTokens: steps, ignoreEndTokens: true });
      const { tokens: theirs, margins } = llama.greedy(tokens, steps);
      const at = ours.findIndex((token, index) => token !== theirs[index]);
      if (at === -1) continue;
      // Short prompts run on the invariant backend, which multiplies rearranged Q4_K matrices row by row where libllama takes four rows at
      // once (SmolLM2's types have one kernel for both). Only a choice closer than what that changes may fall otherwise.
      const measured = await kernelDifference(model, llama, tokens, theirs.slice(0, at));
      expect(name, `differs at ${at}: ${prompt}`).toBe("gemma3-270m");
      expect(margins[at]!, `differs at ${at}: ${prompt}`).toBeLessThanOrEqual(2 * measured);
    }
  });
});

/** Largest difference of a logit after the same tokens, evaluated in the same steps by both. */
async function kernelDifference(model: Model, llama: Llama, prompt: readonly TokenId[], answer: readonly number[]): Promise<number> {
  using sequence = model.sequence();
  const want = { fullLogits: true } as const;
  llama.clear();
  let ours = (await sequence.forward({ input: prompt, want })).rows[0]!.logits!;
  let theirs = llama.decode(prompt, 0);
  for (const [index, token] of answer.entries()) {
    ours = (await sequence.forward({ input: [token as TokenId], want })).rows[0]!.logits!;
    theirs = llama.decode([token], prompt.length + index);
  }
  return largestDifference(ours, theirs);
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i += 1) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
