import { describe, expect, test } from "vitest";
import { inputEmbeddings, SoftFaithfulness } from "../../src/decoding/explaining/faithfulness.ts";
import { type DecodingModel, explain, generateText, layOutPrompt } from "../../src/decoding/index.ts";
import { RandomNumbers } from "../../src/decoding/sampling/random.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { type TinyArchitecture, writeTinyModel } from "../support/tiny-model.ts";

const tokenizer = toyTokenizer(Array.from({ length: 94 }, (_, id) => String.fromCharCode(33 + id)));
const { vocabSize } = tokenizer;

async function open(architecture: TinyArchitecture) {
  const folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { architecture, vocabSize, blocks: 2, contextLength: 128 });
  const opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 128 });
  const { engine } = opened;
  const model: DecodingModel = { hash: "tiny", vocabSize, contextLength: 128, tokenizer, sequence: () => engine.sequence() };
  return {
    model,
    async [Symbol.asyncDispose]() {
      expect(engine.statistics().streamsUsed).toBe(0);
      await opened[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

describe.each<TinyArchitecture>(["llama", "gemma3", "gpt2"])("explanations on the engine, %s", (architecture) => {
  test("the embeddings whose features are masked are the tokens' own", async () => {
    await using opened = await open(architecture);
    const tokens = tokenizer.encode("abcabdabc");
    const want = { fullLogits: true };
    using sequence = await opened.model.sequence({ maxLength: 16 });
    const byTokens = (await sequence.forward({ input: tokens, want })).rows[0]!.logits!;
    using other = await opened.model.sequence({ maxLength: 16 });
    const byEmbeddings = (
      await other.forward({ input: await inputEmbeddings((maxLength) => opened.model.sequence({ maxLength }), tokens, {}), want })
    ).rows[0]!.logits!;
    // learned positions are subtracted and added again: one rounding
    expect(Math.max(...byTokens.map((value, id) => Math.abs(value - byEmbeddings[id]!)))).toBeLessThan(1e-3);
  });

  test("an importance of 1 everywhere keeps all and leaves nothing: both figures are 1; of 0 both are 0", async () => {
    await using opened = await open(architecture);
    const layout = await layOutPrompt(opened.model, { kind: "set", prompt: "abc[[de||fgh]]i" });
    const { model } = opened;
    const context = { model, open: (maxLength: number) => model.sequence({ maxLength }), layout, answer: tokenizer.encode("xy") };
    const all = layout.tokens.map(() => true);
    const measure = (value: number) =>
      new SoftFaithfulness(context, new RandomNumbers(1)).measure(
        1,
        layout.tokens.map(() => value),
        all,
      );
    const one = await measure(1);
    expect(one!.softSufficiency).toBeCloseTo(1, 9);
    expect(one!.softComprehensiveness).toBeCloseTo(1, 9);
    const none = await measure(0);
    expect(none!.softSufficiency).toBeCloseTo(0, 9);
    expect(none!.softComprehensiveness).toBeCloseTo(0, 9);
  });

  test("in a set every order of its members gives the same attribution; probabilities are those of the run", async () => {
    await using opened = await open(architecture);
    const options = { maxTokens: 3, ignoreEndTokens: true, method: "reagent,replaced=12,faithfulness=true" };
    const one = await explain(opened.model, { kind: "set", prompt: "ab[[cde||f||gh]]i" }, options);
    const other = await explain(opened.model, { kind: "set", prompt: "ab[[gh||cde||f]]i" }, options);
    expect(other.attribution.tokens).toEqual(one.attribution.tokens);
    const { logprobs } = await generateText(
      opened.model,
      { kind: "set", prompt: "ab[[cde||f||gh]]i" },
      { maxTokens: 3, ignoreEndTokens: true, logprobs: 0 },
    );
    expect(one.attribution.tokens.map(({ probability }) => probability)).toEqual(
      logprobs!.map(({ logprob }) => expect.closeTo(Math.exp(logprob), 4)),
    );
  });
});
