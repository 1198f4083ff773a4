import fc from "fast-check";
import { expect, test } from "vitest";
import { OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { type ScoreOptions, score } from "./score.ts";
import { softmax } from "./testing/reference.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abcdu|", "€"], { addBos: true });
/** Depends on the whole window. */
const logits = (tokens: readonly TokenId[]) =>
  Array.from(
    { length: tokenizer.vocabSize },
    (_, id) => (tokens.reduce((sum: number, token) => (sum * 13 + token * (id + 2)) % 101, 1) - 50) / 20,
  );
const model = (contextLength = 1024) => toyModel(tokenizer, { contextLength, logits });

/** By the definition: each token in the first window that holds it and something before it. */
function byDefinition(tokens: readonly TokenId[], window: number, stride: number): (number | undefined)[] {
  return tokens.map((token, index) => {
    if (index === 0) return undefined;
    let start = 0;
    while (index >= start + window) start += stride;
    return Math.log(softmax(logits(tokens.slice(start, index)))[token]!);
  });
}

test("every token is scored once, in the first window that holds it, for any length, window and stride", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 2, maxLength: 40 }),
      fc.integer({ min: 2, max: 20 }),
      fc.nat(),
      async (ids, window, pick) => {
        const tokens = ids as TokenId[];
        const stride = 1 + (pick % (window - 1));
        const result = await score(model(20), tokens, { window, stride });
        const expected = byDefinition(tokens, window, stride);
        expect(result.logprobs).toHaveLength(tokens.length);
        for (const [index, logprob] of expected.entries()) {
          if (logprob === undefined) expect(result.logprobs[index]).toBeUndefined();
          else expect(result.logprobs[index]).toBeCloseTo(logprob, 5);
        }
        const total = expected.reduce((sum: number, logprob) => sum + (logprob ?? 0), 0);
        expect(result.total).toBeCloseTo(total, 4);
        expect(result.perplexity).toBeCloseTo(Math.exp(-total / (tokens.length - 1)), 3);
      },
    ),
    { numRuns: 200 },
  );
});

test("text counts its bytes, special tokens none", async () => {
  const result = await score(model(), "a€b");
  expect(result).toMatchObject({ numScored: 3, bytes: 5, window: 1024, stride: 512 });
  expect(result.logprobPerByte).toBeCloseTo(result.total / 5, 12);
});

test("bytes that are all as probable have a perplexity of 256 per byte", async () => {
  const bytes = toyTokenizer(
    Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    { addBos: true },
  );
  const isByte = (id: number) => id < 256;
  const uniform = toyModel(bytes, { logits: () => Array.from({ length: bytes.vocabSize }, (_, id) => (isByte(id) ? 0 : -1e9)) });
  const result = await score(uniform, "a€ and more of it: ở đây");
  expect(result.bytes).toBe(Buffer.byteLength("a€ and more of it: ở đây"));
  expect(Math.exp(-result.logprobPerByte)).toBeCloseTo(256, 3);
});

test("a text as probable in one vocabulary as in another has the same perplexity per byte", async () => {
  const chances = { a: 0.5, b: 0.3, c: 0.15, "€": 0.05 };
  const letters = Object.entries(chances);
  const pairs = letters.flatMap(([x, p]) => letters.map(([y, q]) => [x + y, p * q] as const));
  const perByte = async (pieces: readonly (readonly [string, number])[]) => {
    const vocabulary = toyTokenizer(
      pieces.map(([piece]) => piece),
      { addBos: true },
    );
    const logits = Array.from({ length: vocabulary.vocabSize }, (_, id) => Math.log(pieces[id]?.[1] ?? 1e-300));
    const result = await score(toyModel(vocabulary, { logits: () => logits }), "abac€abba€ca");
    return [result.bytes, result.numScored, result.logprobPerByte] as const;
  };
  const even = await perByte(letters);
  expect(even.slice(0, 2)).toEqual([16, 12]);
  const wide = await perByte(pairs);
  expect(wide.slice(0, 2)).toEqual([16, 6]);
  expect(wide[2]).toBeCloseTo(even[2], 6);
});

test("messages are scored as the template writes them, without an opening for an answer", async () => {
  const result = await score(model(), [{ role: "user", content: "ab" }]);
  expect(result.tokens).toEqual([tokenizer.bos, ...tokenizer.encode("uab|", { bos: false })]);
});

test("only the rows that are scored give candidates, and a window needs no row for its last token", async () => {
  const toy = model(8);
  await score(
    toy,
    Array.from({ length: 12 }, (_, index) => (index % 6) as TokenId),
    { window: 8, stride: 4 },
  );
  expect(toy.sequences[0]!.log.map(({ input, want }) => [(input as TokenId[]).length, want?.logits])).toEqual([
    [7, [0, 1, 2, 3, 4, 5, 6]],
    [7, [3, 4, 5, 6]],
  ]);
});

test.each([
  [{ window: 1 }, "window: must be an integer in [2, 1024], got 1"],
  [{ window: 2048 }, "window: must be an integer in [2, 1024], got 2048"],
  [{ window: 8, stride: 8 }, "stride: must be an integer in [1, 7], got 8"],
  [{ stride: Number.NaN }, "stride: must be an integer in [1, 1023], got NaN"],
  [{ strid: 1 }, "strid: is no option; the options are window, stride, parseSpecial, adapter, signal"],
])("options %o are refused", async (options, message) => {
  await expect(score(model(), "ab", options as ScoreOptions)).rejects.toThrow(
    new OptionError(message.split(":")[0]!, message.slice(message.indexOf(":") + 2)),
  );
});

test("a single token can't be scored", async () => {
  await expect(score(model(), [0 as TokenId])).rejects.toThrow(OptionError);
});
