import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Message } from "../../src/chat/index.ts";
import { Chat, type DecodingModel, type GenerateOptions, generate, generateText } from "../../src/decoding/index.ts";
import type { AttributeHead } from "../../src/decoding/search/attribute-head.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import type { Sequence } from "../../src/engine/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { ReencodingSequence } from "../support/reencoding-sequence.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

const tokenizer = toyTokenizer([...Array.from({ length: 95 }, (_, id) => String.fromCharCode(32 + id)), "\n", " Yes", " No"]);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abcabcabdabc");
const searches = [
  "beam,width=4,best=3",
  "beam,width=4,groups=2,diversity=2,length=0",
  "conditional-beam,ngram=2,best=2",
  "conditional-beam,head=random,look=6,width=3",
  "contrastive,k=4",
  "contrastive,k=3,alpha=0.9",
  "best-of,n=3,check=4",
  "rewind,iterations=4,children=3",
  "best-of,n=3,judge=options,enough=0.9",
  "backspace,token=97,most=9,back=3",
];
/** Searches that draw get a seed. */
const seedOf = (search: unknown) => (/^(best-of|rewind)/.test(String(search)) ? { seed: 5 } : {});
const head: AttributeHead = {
  name: "random",
  weights: Array.from({ length: 256 }, (_, channel) => Math.sin(channel * channel)),
  bias: 0.1,
  facts: { numGood: 1, numBad: 1, auc: 1, accuracy: 1, numHeldOut: 2 },
};

describe.each(["f32", "q4_0", "q8_0"] as const)("searches on the engine, %s", (type) => {
  let folder: ReturnType<typeof temporaryFolder>;
  let opened: Awaited<ReturnType<typeof openEngine>>;
  let model: DecodingModel;
  let reencoding: DecodingModel;
  const render = async (messages: readonly Message[]) => messages.map(({ content }) => content as string).join("");
  beforeAll(async () => {
    folder = temporaryFolder();
    await writeTinyModel(`${folder.path}/tiny.gguf`, { type, vocabSize, blocks: 2 });
    opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 256, strict: true });
    const { engine } = opened;
    const fresh = (): Sequence => engine.sequence();
    model = {
      hash: "tiny",
      vocabSize,
      contextLength: engine.contextLength,
      tokenizer,
      sequence: fresh,
      chat: { render },
      attributeHead: async () => head,
    };
    reencoding = { ...model, sequence: () => new ReencodingSequence(fresh) };
  });
  afterAll(async () => {
    expect(opened.engine.statistics().streamsUsed).toBe(0);
    await opened[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const settings: readonly GenerateOptions[] = [
    { ignoreEndTokens: true, logprobs: 2 },
    { repetitionPenalty: 1.4, presencePenalty: 0.5, stop: "ab" },
  ];
  test.each(searches.flatMap((search) => settings.map((options) => ({ search, ...options }))))(
    "the same tokens, scores and log-probabilities as with the whole text evaluated anew: %o",
    async (options) => {
      const given = { ...options, ...seedOf(options.search), maxTokens: String(options.search).startsWith("rewind") ? 3 : 10 };
      const [cached, anew] = [await generateText(model, prompt, given), await generateText(reencoding, prompt, given)];
      expect(cached.tokens).toEqual(anew.tokens);
      expect(cached.logprobs).toEqual(anew.logprobs);
      expect(cached.alternatives).toEqual(anew.alternatives);
      expect(cached.facts.branches).toEqual(anew.facts.branches);
    },
  );

  test.each(["beam,width=1", "contrastive,k=1", "contrastive,alpha=0"])("%s is plain decoding to the bit", async (search) => {
    const given = { maxTokens: 16, ignoreEndTokens: true, logprobs: 2 };
    const plain = await generateText(model, prompt, given);
    const result = await generateText(model, prompt, { ...given, search });
    expect(result.tokens).toEqual(plain.tokens);
    expect(result.logprobs).toEqual(plain.logprobs);
  });

  test("where candidates do not suffice, a row is read again once for all that draw from it at the same time", async () => {
    for (let seed = 0; seed < 2; seed++) {
      const given = { maxTokens: 7, temperature: 1.3, seed, ignoreEndTokens: true, search: "rewind,iterations=3,children=4" };
      expect((await generateText(model, prompt, given)).tokens).toHaveLength(7);
    }
  });

  test("best-of with one answer, or no budget, is plain sampling to the bit", async () => {
    const given = { maxTokens: 16, ignoreEndTokens: true, logprobs: 2, seed: 7 };
    const plain = await generateText(model, prompt, given);
    for (const search of ["best-of,n=1", "best-of,passes=0"]) {
      const result = await generateText(model, prompt, { ...given, search });
      expect([result.tokens, result.logprobs, result.facts.passes]).toEqual([plain.tokens, plain.logprobs, plain.facts.passes]);
    }
  });

  test.each([
    { search: "beam,width=4", rows: 4 },
    { search: "contrastive,k=4", rows: 4 },
    { search: "conditional-beam,width=2,look=6,head=random", rows: 6 },
  ])("the branches of a step are rows of one pass in one stream: %o", async ({ search, rows }) => {
    const before = opened.engine.passCount;
    const maxTokens = 12;
    let mostStreams = 0;
    for await (const _ of generate(model, prompt, { maxTokens, search, ignoreEndTokens: true }))
      mostStreams = Math.max(mostStreams, opened.engine.statistics().streamsUsed);
    const { facts } = await generateText(model, prompt, { maxTokens, search, ignoreEndTokens: true });
    expect(mostStreams).toBe(1);
    expect(facts.passes).toBe((opened.engine.passCount - before) / 2);
    // the prompt's pass gives the first token; of the last one only the searches that look at states need a row
    expect(facts.passes).toBe(search.startsWith("beam") ? maxTokens : maxTokens + 1);
    expect(facts.rows).toBe(prompt.length + rows * (facts.passes - 1));
  });

  test("rows of all branches share a pass, and a full context is used to its last token", async () => {
    const before = opened.engine.passCount;
    const maxTokens = model.contextLength - prompt.length;
    const result = await generateText(model, prompt, { maxTokens, search: "contrastive,k=4", ignoreEndTokens: true });
    expect(result.tokens).toHaveLength(maxTokens);
    // a step may take a second pass where the stream's cells run out and it is compacted
    expect(opened.engine.passCount - before).toBeLessThan(1.1 * (1 + maxTokens));
  });

  test("a chat goes on after a search as after the same text from another", async () => {
    const given = { maxTokens: 8, search: "beam,width=3" };
    using chat = new Chat(model);
    const first = await chat.ask("abc", given);
    const second = await chat.ask("ab", { maxTokens: 6 });
    const whole = tokenizer.encode(`abc${first.text}ab`);
    expect(second.tokens).toEqual((await generateText(model, whole, { maxTokens: 6 })).tokens);
    // the second turn evaluates what is new, and not the first answer again
    expect(second.facts.rows).toBeLessThan(6 + 4 + 2);
  });
});
