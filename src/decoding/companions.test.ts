import { expect, test } from "vitest";
import { ContextOverflowError, OptionError, UnsupportedError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { generateText } from "./generate.ts";
import { type DecodingModel, decodingModel } from "./model.ts";
import type { GenerateOptions } from "./options.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const law = (tokens: readonly TokenId[]) => Array.from({ length: 6 }, (_, id) => ((tokens.length * (id + 2)) % 5) + id / 10);
const target = () => toyModel(toyTokenizer([..."abcd"]), { logits: law, contextLength: 64 });
const hold = (model: DecodingModel) => ({ [decodingModel]: model });
const options = (model: unknown) => ({ maxTokens: 8, draft: { name: "model", model } });
const failure = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as Error,
  );

test("a model of another vocabulary is refused with the difference named", async () => {
  const refusal = async (pieces: string[]) => {
    const other = toyModel(toyTokenizer(pieces), { logits: law });
    return failure(generateText(target(), "ab", options(hold({ ...other, name: "other" }))));
  };
  const one = await refusal([..."abxd"]);
  expect(one).toBeInstanceOf(OptionError);
  expect(one!.message).toBe('model: other has another vocabulary: token 2 is "x" there and "c" here');
  expect((await refusal([..."abc"]))!.message).toBe(
    'model: other has another vocabulary (5 tokens, not 6): token 3 is "<bos>" there and "d" here',
  );
  const longer = { ...toyTokenizer([..."abcd"]), vocabSize: 5 };
  const shorter = await failure(generateText(target(), "ab", options(hold({ ...toyModel(longer, { logits: law }), name: "short" }))));
  expect(shorter!.message).toBe("model: short has another vocabulary: 5 tokens, not 6; the first 5 are the same");
});

test("rows that are padded beyond the vocabulary are no difference", async () => {
  const padded = toyModel(toyTokenizer([..."abcd"]), { logits: law });
  const sequence = () =>
    toyModel(toyTokenizer([..."abcdefghijk"]), { logits: (tokens) => [...law(tokens), ...new Array(7).fill(0)] }).sequence({
      maxLength: 64,
    });
  const model = hold({ ...padded, vocabSize: 13, sequence });
  for (const extra of [options(model), { maxTokens: 8, guide: { name: "reward", model } }]) {
    const { text } = await generateText(target(), "ab", extra);
    expect(text).toBe((await generateText(target(), "ab", { maxTokens: 8 })).text);
  }
});

test("a model that is too short for prompt and answer is refused", async () => {
  const short = { ...toyModel(toyTokenizer([..."abcd"]), { logits: law, contextLength: 9 }), name: "short" };
  const error = await failure(generateText(target(), "ab", options(hold(short))));
  expect(error).toBeInstanceOf(ContextOverflowError);
  expect(error!.message).toBe("prompt and answer of 10 tokens exceed the context of short, 9");
});

test("a name is opened by the model, once for all that name it, and its passes are counted on their own", async () => {
  const other = toyModel(toyTokenizer([..."abcd"]), { logits: law });
  const asked: string[] = [];
  const model: DecodingModel = {
    ...target(),
    async beside(name) {
      asked.push(name);
      return other;
    },
  };
  const guide = ["reward,model=small,weight=0.5", "reward,model=small,weight=1"];
  const { facts } = await generateText(model, "ab", { ...options("small"), guide, ignoreEndTokens: true });
  expect(asked).toEqual(["small"]);
  expect(other.sequences).toHaveLength(3);
  expect(facts.models!.map(({ name }) => name)).toEqual(["small"]);
  expect(facts.models![0]!.passes).toBe(other.sequences.reduce((sum, { log }) => sum + log.length, 0));
  expect(facts.passes).toBeLessThanOrEqual(9);
});

test.each<[string, (model: unknown) => GenerateOptions]>([
  ["a draft", (model) => ({ draft: { name: "model", model } })],
  ["a reward", (model) => ({ guide: { name: "reward", model } })],
  ["an amateur", (model) => ({ guide: { name: "contrast", amateur: model } })],
  ["a judge", (model) => ({ search: { name: "best-of", n: 2, judge: "reward", model }, seed: 1 })],
])("the key for the prefix cache and the priority of a run go to every sequence, also those of %s", async (_what, methods) => {
  const [writing, other] = [target(), toyModel(toyTokenizer([..."abcd"]), { logits: law })];
  const run = { maxTokens: 4, ignoreEndTokens: true, prefixKey: "mine", priority: 3, explain: "reagent,replaced=4" };
  await generateText(writing, "ab", { ...run, ...methods(hold(other)) });
  expect(writing.asked.length).toBeGreaterThan(4); // the explanation's among them
  expect(other.asked.length).toBeGreaterThan(0);
  for (const asked of [...writing.asked, ...other.asked]) expect(asked).toMatchObject({ prefixKey: "mine", priority: 3 });
});

test.each([
  [{ name: "model" }, OptionError, "draft: model needs model (a model's name or path)"],
  [{ name: "model", model: 3 }, OptionError, "draft: model: model must be a model's name or path, got 3"],
  [{ name: "model", model: "" }, OptionError, 'draft: model: model must be a model\'s name or path, got ""'],
  ["model,model=./x.gguf", UnsupportedError, "./x.gguf: this model opens no others; give one that load() gave"],
] as const)("%j is refused", async (draft, type, message) => {
  const error = await failure(generateText(target(), "ab", { draft }));
  expect(error).toBeInstanceOf(type);
  expect(error!.message).toBe(message);
});
