import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Companion } from "../../src/decoding/companions.ts";
import { NestedReader } from "../../src/decoding/drafting/nested-reader.ts";
import { decodingModel, type GenerateOptions, generateText } from "../../src/decoding/index.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { load, type Model } from "../../src/index.ts";
import type { TokenId } from "../../src/token.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

const prompt = "the quick brown fox asks the lazy dog ";

describe.each([
  ["llama", "f32"],
  ["llama", "q4_0"],
  ["gemma3", "q8_0"],
] as const)("%s, %s", (architecture, type) => {
  const folder = temporaryFolder();
  const path = `${folder.path}/model.gguf`;
  let model: Model;
  let companion: Companion;
  beforeAll(async () => {
    await writeTinyChatModel(path, { architecture, type, blocks: 4 });
    model = await load(path, { threads: 1, context: 256, cacheBytes: 2 ** 26, strict: true });
    const decoding = model[decodingModel];
    companion = {
      ...{ name: "model", model: decoding },
      sequence: () => decoding.sequence({ maxLength: 256 }),
      forward: (sequence, request) => sequence.forward(request),
    };
  });
  afterAll(async () => {
    expect(model.memory().streamsUsed).toBe(0);
    await model[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  /** The row after these tokens at an exit, all of them evaluated anew. */
  async function anew(tokens: readonly TokenId[], exit: number) {
    using sequence = model.sequence();
    const halves = [0, 1, 2, 3].filter((block) => block >= exit).flatMap((block) => [`blocks.${block}.attn`, `blocks.${block}.ffn`]);
    const blocks = Object.fromEntries(halves.map((half) => [half, false as const]));
    const { rows } = await sequence.forward({ input: tokens, blocks, want: { top: 8 } });
    return rows[0]!.candidates!;
  }

  test("caches that are filled lazily give what eager ones give, to the bit, after any rewind and fork", async () => {
    const exits = [1, 3, 4];
    const start = model.tokenize("the lazy dog");
    const step = fc.record({ kind: fc.constantFrom("advance", "advance", "rewind", "row", "row", "fork"), number: fc.nat(300) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        let reader = await NestedReader.start(companion, start, exits);
        let tokens = [...start];
        for (const { kind, number } of [...steps, { kind: "row", number: 2 }]) {
          if (kind === "advance") {
            reader.advance(number as TokenId);
            tokens.push(number as TokenId);
          } else if (kind === "rewind") {
            const length = number % (tokens.length - start.length + 1);
            reader.rewind(length);
            tokens = tokens.slice(0, start.length + length);
          } else if (kind === "row") {
            const stage = number % 3;
            const { ids, logits, logSumExp } = (await reader.row(stage))!.candidates!;
            const expected = await anew(tokens, exits[stage]!);
            expect(Array.from(ids.subarray(0, 8))).toEqual(Array.from(expected.ids));
            expect(Array.from(logits.subarray(0, 8))).toEqual(Array.from(expected.logits));
            expect(logSumExp).toBe(expected.logSumExp);
          } else {
            const fork = reader.fork();
            reader.advance(1 as TokenId);
            await reader.row(1);
            reader[Symbol.dispose]();
            reader = fork;
          }
        }
        reader[Symbol.dispose]();
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 500 : 8 },
    );
  }, 60_000);

  const settings: readonly GenerateOptions[] = [
    {},
    { temperature: 1.2, topP: 0.95, seed: 3 },
    { repetitionPenalty: 1.4, temperature: 0.7, seed: 4 },
  ];
  test.each(settings)("the answer is the plain one to the bit, whatever the exits: %o", async (options) => {
    const given = { ...options, maxTokens: 12, ignoreEndTokens: true, logprobs: 2 };
    const plain = await model.generate(prompt, given);
    for (const rest of ["", ",sure=0,width=2,depth=5", ",sure=2,exits=1;2;4"]) {
      const drafted = await model.generate(prompt, { ...given, draft: `nested,confidence=0${rest}` });
      expect(drafted.tokens).toEqual(plain.tokens);
      expect(drafted.logprobs).toEqual(plain.logprobs);
    }
  });

  test("sure=0 takes the first exit, above 1 the last, which drafts as the whole model would: all of it is accepted", async () => {
    const given = { maxTokens: 17, ignoreEndTokens: true };
    const exitsUsed = async (draft: string) => {
      const { facts } = await model.generate(prompt, { ...given, draft });
      return { chosen: facts.choices.find(({ what }) => what === "draft exits")!.chosen, drafts: facts.drafts! };
    };
    expect((await exitsUsed("nested,exits=1;2;4,sure=0,confidence=0")).chosen).toMatch(/^1 blocks: [1-9]\d*, 2 blocks: 0, 4 blocks: 0$/);
    const last = await exitsUsed("nested,exits=1;2;4,sure=1.5,confidence=0");
    expect(last.chosen).toMatch(/^1 blocks: 0, 2 blocks: 0, 4 blocks: [1-9]\d*$/);
    expect(last.drafts.accepted).toBe(last.drafts.drafted);
  });

  test("auto drafts with the model's own first blocks where these are worth it, and says so; where they aren't it says why", async () => {
    const given = { maxTokens: 60, ignoreEndTokens: true, logprobs: 1, temperature: 1.2, seed: 3 }; // drawn, so that the text does not loop
    const decoding = model[decodingModel];
    const tokens = model.tokenize(prompt);
    const costCurve = async () => ({ singleRowMs: 1, points: [], ratio: (rows: number) => 1 + 0.05 * (rows - 1) });
    const plain = await generateText(decoding, tokens, given);
    // all four blocks, at a price that they don't have: what an exit that agrees would do
    const sure = { ...decoding, costCurve, exits: async () => [{ blocks: 4, agreement: 1, price: 0.1 }] };
    const nested = await generateText(sure, tokens, { ...given, draft: "auto" });
    expect(nested.tokens).toEqual(plain.tokens);
    expect(nested.logprobs).toEqual(plain.logprobs);
    const chosen = (result: typeof plain, what: string) => result.facts.choices.find((choice) => choice.what === what)!.chosen;
    expect(chosen(nested, "draft of the model itself")).toBe("nested, considered");
    expect(chosen(nested, "draft")).toMatch(/^nested,nodes=/);
    expect(nested.facts.drafts!.accepted).toBeGreaterThan(10);
    expect(nested.facts.drafts!.expectedGain).toBeGreaterThan(1);
    const hopeless = { ...decoding, costCurve, exits: async () => [{ blocks: 1, agreement: 0.02, price: 0.4 }] };
    const off = await generateText(hopeless, tokens, { ...given, draft: "auto" });
    expect(off.facts.choices).toContainEqual({
      what: "draft of the model itself",
      chosen: "none",
      because: "left after 1 blocks it says what it says whole of 2 % of a text's tokens: at best 1.00 times as fast as without a draft",
    });
    expect(off.facts.models).toBeUndefined();
  });

  test.each([
    ["1;5", 'draft: nested: exits must be numbers of blocks in [1, 4], such as 4;8, got "1;5"'],
    ["2;2", 'draft: nested: exits must ascend, got "2;2"'],
    ["x", 'draft: nested: exits must be numbers of blocks in [1, 4], such as 4;8, got "x"'],
  ])("exits %j are refused", async (exits, message) => {
    await expect(model.generate(prompt, { draft: { name: "nested", exits } })).rejects.toThrow(message);
  });
});

test("a model whose states can't be given back is refused", async () => {
  using folder = temporaryFolder();
  await writeTinyChatModel(`${folder.path}/gpt2.gguf`, { architecture: "gpt2" });
  await using model = await load(`${folder.path}/gpt2.gguf`, { threads: 1, cacheBytes: 2 ** 26 });
  await expect(model.generate(prompt, { draft: "nested" })).rejects.toThrow(UnsupportedError);
});
