import { expect, test } from "vitest";
import { ContextOverflowError, NativeError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { type EmbedOptions, embed } from "./embed.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer(["a", "b", "c"]);
/** A token's state is (its id, how many tokens there are). */
const model = (hidden: (tokens: readonly TokenId[]) => number[] = (tokens) => [tokens.at(-1)!, tokens.length]) =>
  toyModel(tokenizer, { contextLength: 700, logits: () => new Array<number>(tokenizer.vocabSize).fill(0), hidden });

test("mean is the mean of all states, last the last one, in the texts' order", async () => {
  const mean = await embed(model(), ["abc", "c"], { normalize: false });
  expect(mean.vectors.map((vector) => [...vector])).toEqual([[1, 2], [2, 1]]); // biome-ignore format: pairs
  expect(mean.usage).toEqual({ promptTokens: 4 });
  const last = await embed(model(), "abc", { pooling: "last", normalize: false });
  expect(last.vectors.map((vector) => [...vector])).toEqual([[2, 3]]);
});

test("a text longer than one request has the mean of all its tokens", async () => {
  const toy = model();
  const { vectors } = await embed(toy, "b".repeat(600), { normalize: false });
  expect(vectors[0]![1]).toBeCloseTo(300.5, 4);
  expect(toy.sequences[0]!.log).toHaveLength(2);
});

test("vectors have length 1 unless told otherwise, a zero vector stays zero", async () => {
  const { vectors } = await embed(model(), "abc", { pooling: "last" });
  expect(vectors[0]![0]).toBeCloseTo(2 / Math.sqrt(13), 6);
  expect(Math.hypot(...vectors[0]!)).toBeCloseTo(1, 6);
  expect([
    ...(
      await embed(
        model(() => [0, 0]),
        "a",
      )
    ).vectors[0]!,
  ]).toEqual([0, 0]);
});

test("what can't be embedded is refused before anything is computed", async () => {
  const toy = model();
  await expect(embed(toy, [])).rejects.toThrow(OptionError);
  await expect(embed(toy, ["a", ""])).rejects.toThrow(OptionError);
  await expect(embed(toy, ["a", "a".repeat(701)])).rejects.toThrow(ContextOverflowError);
  for (const options of [{ pooling: "max" }, { normalise: true }, { normalize: 1 }]) {
    await expect(embed(toy, "a", options as unknown as EmbedOptions)).rejects.toThrow(OptionError);
  }
  expect(toy.sequences).toEqual([]);
});

test("states that are no numbers are an error, and every sequence is freed", async () => {
  const toy = model((tokens) => [tokens.at(-1) === 2 ? Number.NaN : 1]);
  await expect(embed(toy, ["a", "c", "b"])).rejects.toThrow(NativeError);
  expect(toy.sequences).toHaveLength(3);
  for (const sequence of toy.sequences) expect(() => sequence.fork()).toThrow();
});

test("a key for the prefix cache goes to every sequence", async () => {
  const toy = model();
  await embed(toy, ["a", "b"], { prefixKey: "mine" });
  expect(toy.asked.map(({ prefixKey }) => prefixKey)).toEqual(["mine", "mine"]);
  for (const prefixKey of ["x".repeat(257), 1 as never])
    await expect(embed(toy, "a", { prefixKey })).rejects.toThrow("prefixKey: must be a text");
});
