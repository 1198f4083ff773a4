import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chain } from "../../src/decoding/drafting/draft.ts";
import { generateWith, lengths, randomTree, scriptedDraft } from "../../src/decoding/drafting/testing.ts";
import { type DecodingModel, type GenerateOptions, generateText } from "../../src/decoding/index.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

const tokenizer = toyTokenizer(Array.from({ length: 94 }, (_, id) => String.fromCharCode(33 + id)));
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abcabcabdabc");

describe.each(["f32", "q4_0", "q8_0"] as const)("drafts on the engine, %s", (type) => {
  let folder: ReturnType<typeof temporaryFolder>;
  let opened: Awaited<ReturnType<typeof openEngine>>;
  let model: DecodingModel;
  beforeAll(async () => {
    folder = temporaryFolder();
    await writeTinyModel(`${folder.path}/tiny.gguf`, { type, vocabSize, blocks: 2 });
    opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 128 });
    const { engine } = opened;
    model = { hash: "tiny", vocabSize, contextLength: engine.contextLength, tokenizer, sequence: () => engine.sequence() };
  });
  afterAll(async () => {
    await opened[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const settings: readonly GenerateOptions[] = [
    {},
    { temperature: 1.2, topP: 0.95, seed: 3 },
    { repetitionPenalty: 1.4, frequencyPenalty: 0.3, temperature: 0.7, seed: 4 },
  ];
  test.each(settings)("the same tokens and log-probabilities as without a draft, to the bit: %o", async (options) => {
    const given = { ...options, maxTokens: 24, ignoreEndTokens: true, logprobs: 2 };
    const plain = await generateText(model, prompt, given);
    const next = random(9);
    /** The truth, with twigs that are wrong. */
    const draft = scriptedDraft((known) => {
      const truth = chain(plain.tokens.slice(known.length - prompt.length).slice(0, 4));
      const wrong = randomTree(next, 6, vocabSize);
      const shifted = truth.parents.map((parent) => (parent < 0 ? parent : parent + wrong.tokens.length));
      return { tokens: [...wrong.tokens, ...truth.tokens], parents: [...wrong.parents, ...shifted] };
    });
    const drafted = await generateWith(draft, model, prompt, given);
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.logprobs).toEqual(plain.logprobs);
    expect(lengths.get(model)).toBe(prompt.length + 23);
    expect(drafted.facts.drafts!.accepted).toBeGreaterThan(10);
    expect(drafted.facts.passes).toBeLessThan(12);
    for (const registered of ["ngram,shortest=1", "adaptive,iterations=20", "off"]) {
      const result = await generateText(model, prompt, { ...given, draft: registered });
      expect(result.tokens).toEqual(plain.tokens);
      expect(result.logprobs).toEqual(plain.logprobs);
    }
  });
});
