import { afterAll, beforeAll, expect, test } from "vitest";
import { mergeAdapter, writeGgufLora } from "../../src/adapters/index.ts";
import { load, type Model } from "../../src/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// Whatever reads beside a run reads with the run's adapters: held against a file into which they are merged.

const folder = temporaryFolder();
let adapted: Model;
let merged: Model;
beforeAll(async () => {
  const [path, lora, whole] = ["base", "lora", "merged"].map((name) => `${folder.path}/${name}.gguf`) as [string, string, string];
  await writeTinyChatModel(path, { blocks: 3, seed: 3 });
  const adapter = randomAdapter(path, { form: "lora", rank: 4, targets: ["all"] }, 5);
  {
    using file = openGguf(path);
    await writeGgufLora(lora, baseOf(file), adapter);
    await mergeAdapter(whole, baseOf(file), adapter);
  }
  const options = { threads: 1, context: 256, cacheBytes: 2 ** 26 };
  adapted = await load(path, { ...options, adapters: { lora } });
  merged = await load(whole, options);
});
afterAll(async () => {
  for (const model of [adapted, merged]) {
    expect(model.memory().streamsUsed).toBe(0);
    await model[Symbol.asyncDispose]();
  }
  folder[Symbol.dispose]();
});

const prompt = "the quick brown fox asks the lazy dog ";

test("an explanation with an adapter is that of the model into which it is merged, faithfulness included", async () => {
  const answer = merged.tokenize(" jumps over");
  const method = "reagent,replaced=16,tokens=3,faithfulness=true,by=vocabulary";
  const attributionOf = async (model: Model, options = {}) => {
    const { attribution } = await model.explain(prompt, { answer, method, ...options });
    return attribution.tokens.map(({ probability, scores, faithfulness }) => ({ probability, scores, faithfulness: faithfulness! }));
  };
  const [own, whole, base] = [await attributionOf(adapted, { adapter: "lora" }), await attributionOf(merged), await attributionOf(adapted)];
  // what float32 makes of W x + B A x and of (W + B A) x differs in the last digits
  for (const [index, { probability, scores, faithfulness }] of own.entries()) {
    const expected = whole[index]!;
    expect(probability / expected.probability).toBeCloseTo(1, 2);
    expect(scores).toEqual(expected.scores.map((score) => expect.closeTo(score, 3)));
    expect(faithfulness.softSufficiency).toBeCloseTo(expected.faithfulness.softSufficiency, 2);
    expect(faithfulness.softComprehensiveness).toBeCloseTo(expected.faithfulness.softComprehensiveness, 2);
  }
  expect(Math.abs(own[0]!.probability / base[0]!.probability - 1)).toBeGreaterThan(0.1);
  const { facts } = await adapted.generate(prompt, { maxTokens: 2, ignoreEndTokens: true, adapter: "lora", logprobs: 0, explain: method });
  const { tokens } = facts.attribution!;
  expect(tokens.map(({ probability }) => Math.log(probability))).toEqual(
    tokens.map(({ index }) => expect.closeTo(facts.tokens[index]!.logprob!, 3)),
  );
});

test("a draft by the model's own blocks is written with the run's adapter: whole, it is always right", async () => {
  const given = { maxTokens: 24, ignoreEndTokens: true, temperature: 1.5, topK: 20, seed: 4, draft: "nested,exits=3,depth=3,confidence=0" };
  for (const adapter of [undefined, "lora"]) {
    const { facts } = await adapted.generate(prompt, { ...given, ...(adapter === undefined ? {} : { adapter }) });
    expect(facts.drafts!.drafted).toBeGreaterThan(8);
    expect(facts.drafts!.accepted).toBe(facts.drafts!.drafted);
  }
});
