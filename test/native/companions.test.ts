import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DecodingModel, decodingModel, type GenerateOptions, generateText } from "../../src/decoding/index.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import { OptionError } from "../../src/errors.ts";
import { load, type Model } from "../../src/index.ts";
import { randomAdapter } from "../support/adapters.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

const prompt = "the quick brown fox asks the lazy dog ";

describe.each(["f32", "q4_0"] as const)("two models in a run, %s", (type) => {
  const folder = temporaryFolder();
  const [path, small] = [`${folder.path}/model.gguf`, `${folder.path}/small.gguf`];
  let model: Model;
  beforeAll(async () => {
    await writeTinyChatModel(path, { type, seed: 3 });
    await writeTinyChatModel(small, { type, blocks: 1, seed: 4 });
    model = await load(path, { threads: 1, context: 256, cacheBytes: 2 ** 26, beside: { small } });
  });
  afterAll(async () => {
    await model[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const given = { maxTokens: 14, ignoreEndTokens: true, logprobs: 2 };
  const settings: readonly GenerateOptions[] = [
    {},
    { temperature: 1.2, topP: 0.95, seed: 3 },
    { repetitionPenalty: 1.4, temperature: 0.7, seed: 4 },
  ];
  const guide = ["reward,model=small,weight=0.6", "contrast,amateur=small,weight=0.2,plausible=0.01"];
  const drafts = ["model,model=small,confidence=0", "model,model=small,depth=5,width=2,confidence=0", "adaptive,iterations=20"];

  test.each(settings.flatMap((options) => [options, { ...options, guide }]))(
    "drafts leave tokens and log-probabilities as they are, to the bit: %o",
    async (options) => {
      const plain = await model.generate(prompt, { ...given, ...options });
      // a draft model equal to the target is accepted often, so that trees are kept and rewound
      for (const draft of [...drafts, { name: "model", model, confidence: 0, depth: 4 }]) {
        const drafted = await model.generate(prompt, { ...given, ...options, draft });
        expect(drafted.tokens).toEqual(plain.tokens);
        expect(drafted.logprobs).toEqual(plain.logprobs);
        expect(drafted.facts.guides).toEqual(plain.facts.guides);
      }
    },
  );

  test("weight 0 is the plain run, and a reward equal to the model its temperature", async () => {
    const plain = await model.generate(prompt, given);
    const none = await model.generate(prompt, { ...given, guide: "reward,model=small,weight=0" });
    expect(none.logprobs).toEqual(plain.logprobs);
    const same = await model.generate(prompt, { ...given, guide: { name: "reward", model, weight: 1 } });
    expect(same.tokens).toEqual(plain.tokens);
    const drawn = { ...given, seed: 6 };
    const warm = await model.generate(prompt, { ...drawn, temperature: 2, guide: { name: "reward", model, weight: 1 } });
    expect(warm.tokens).toEqual((await model.generate(prompt, { ...drawn, temperature: 1 })).tokens);
  });

  test("a guided beam is the same with drafts of its own or beside others, and runs at once are as alone", async () => {
    const runs: GenerateOptions[] = [
      { guide, search: "beam,width=3" },
      { guide, draft: drafts[1]! },
      { draft: drafts[0]!, temperature: 1, seed: 9 },
      { guide: guide[0]!, search: "contrastive,k=3" },
    ];
    const alone = [];
    for (const options of runs) alone.push(await model.generate(prompt, { ...given, ...options }));
    const together = await Promise.all(runs.map((options) => model.generate(prompt, { ...given, ...options })));
    for (const [index, one] of together.entries()) {
      expect(one.tokens).toEqual(alone[index]!.tokens);
      expect(one.logprobs).toEqual(alone[index]!.logprobs);
    }
  });

  test("a guide's model reads the prompt as it is laid out: a set has no order for it either", async () => {
    const answer = (members: string[]) =>
      model.generate({ kind: "set", prompt: ["the ", members, " asks "] }, { ...given, guide, draft: drafts[0]! });
    const one = await answer(["fox", "lazy dog", "server"]);
    const other = await answer(["server", "fox", "lazy dog"]);
    expect(other.tokens).toEqual(one.tokens);
  });

  test("a run that is aborted leaves nothing of either model, and the others go on", async () => {
    const controller = new AbortController();
    const kept = model.generate(prompt, { ...given, guide });
    const left = (async () => {
      for await (const event of model.stream(prompt, { ...given, maxTokens: 100, guide, draft: drafts[0]!, signal: controller.signal }))
        if (event.kind === "token") controller.abort(new Error("enough"));
    })();
    await expect(left).rejects.toThrow("enough");
    expect((await kept).tokens).toEqual((await model.generate(prompt, { ...given, guide })).tokens);
    const { streamsUsed, beside } = model.memory();
    expect([streamsUsed, beside[small]!.streamsUsed]).toEqual([0, 0]);
  });

  test("it is loaded once, counted, and told by its name", async () => {
    const { beside } = model.memory();
    expect(Object.keys(beside)).toEqual([small]);
    expect(beside[small]!.weightsBytes).toBeGreaterThan(0);
    const { facts } = await model.generate(prompt, { maxTokens: 4, guide: guide[0]!, draft: drafts[0]! });
    expect(facts.models!.map(({ name }) => name)).toEqual(["small"]);
    const byPath = await model.generate(prompt, { maxTokens: 4, guide: `reward,model=${small},weight=0.6` });
    expect(byPath.facts.models![0]!.name).toBe(small);
    expect(Object.keys(model.memory().beside)).toEqual([small]);
  });
});

test("others are opened at first use unless that is refused; a second vocabulary is refused with the difference named", async () => {
  using folder = temporaryFolder();
  const [path, small, alien] = ["model", "small", "alien"].map((name) => `${folder.path}/${name}.gguf`) as [string, string, string];
  await writeTinyChatModel(path);
  await writeTinyChatModel(small, { blocks: 1, contextLength: 64 });
  await writeTinyChatModel(alien, { vocabulary: "other words that were never seen before in any text " });
  const draft = (model: string) => ({ maxTokens: 4, draft: { name: "model", model } });
  {
    await using open = await load(path, { threads: 1, cacheBytes: 2 ** 26 });
    await Promise.all([open.generate("a", draft(small)), open.generate("b", draft(small))]);
    expect(Object.keys(open.memory().beside)).toEqual([small]);
    await expect(open.generate("a", draft(alien))).rejects.toThrow(
      /alien\.gguf has another vocabulary.*: token \d+ is ".*" there and ".*" here/,
    );
    await expect(open.generate("a", draft(`${folder.path}/missing.gguf`))).rejects.toThrow(/missing\.gguf/);
    await expect(open.generate("a", { ...draft(small), maxTokens: 100 })).rejects.toThrow(/exceed the context of .*small\.gguf, 64/);
  }
  await using closed = await load(path, { threads: 1, cacheBytes: 2 ** 26, opensModels: false });
  await expect(closed.generate("a", draft(small))).rejects.toThrow(OptionError);
  await expect(load(path, { threads: 1, cacheBytes: 2 ** 26, beside: { gone: `${folder.path}/missing.gguf` } })).rejects.toThrow(
    /missing\.gguf/,
  );
});

describe("an adapter as reward model", () => {
  const folder = temporaryFolder();
  const path = `${folder.path}/base.gguf`;
  const tokenizer = toyTokenizer(Array.from({ length: 94 }, (_, id) => String.fromCharCode(33 + id)));
  const { vocabSize } = tokenizer;
  let opened: Awaited<ReturnType<typeof openEngine>>;
  let model: DecodingModel;
  beforeAll(async () => {
    await writeTinyModel(path, { type: "q8_0", vocabSize, blocks: 2 });
    opened = await openEngine(path, { contextLength: 128 });
    const { engine } = opened;
    await engine.addAdapter("arm", randomAdapter(path, { form: "lora", rank: 4, targets: ["all"] }, 11));
    model = { hash: "tiny", vocabSize, contextLength: engine.contextLength, tokenizer, sequence: () => engine.sequence() };
  });
  afterAll(async () => {
    await opened[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const prompt = tokenizer.encode("abcabcabdabc");
  const guide = "reward,adapter=arm,weight=1.5";

  test("its tokens are the largest sums of log-probabilities of the model with and without it", async () => {
    const { tokens } = await generateText(model, prompt, { guide, maxTokens: 6, ignoreEndTokens: true });
    const path = [...prompt];
    for (const token of tokens) {
      const rowOf = async (adapters: { name: string; scale: number }[]) => {
        using sequence = opened.engine.sequence();
        const { rows } = await sequence.forward({ input: path, adapters, want: { fullLogits: true, top: 1 } });
        return Array.from(rows[0]!.logits!, (logit) => logit - rows[0]!.candidates!.logSumExp);
      };
      const [base, arm] = [await rowOf([]), await rowOf([{ name: "arm", scale: 1 }])];
      const sums = base.map((logprob, id) => logprob + 1.5 * arm[id]!);
      expect(token).toBe(sums.indexOf(Math.max(...sums)));
      path.push(token);
    }
  });

  test("drafts change nothing, and its rows share the passes of the model's own", async () => {
    const given = { guide, maxTokens: 20, ignoreEndTokens: true };
    const before = opened.engine.passCount;
    const plain = await generateText(model, prompt, given);
    expect(opened.engine.passCount - before).toBeLessThanOrEqual(plain.facts.passes + 1); // prompts are read one by one
    for (const draft of ["adaptive,iterations=20", "ngram,shortest=1", { name: "model", model: { [decodingModel]: model }, confidence: 0 }])
      expect((await generateText(model, prompt, { ...given, draft })).tokens).toEqual(plain.tokens);
  });

  test("neither a model nor an adapter, and an adapter that is not loaded, are refused", async () => {
    await expect(generateText(model, prompt, { guide: "reward" })).rejects.toThrow("reward: needs model, or adapter");
    await expect(generateText(model, prompt, { guide: "reward,adapter=gone" })).rejects.toThrow(/"gone"/);
  });
});
