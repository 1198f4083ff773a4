import { expect, test } from "vitest";
import { UnsupportedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { sequenceConformance } from "./sequence-conformance.ts";
import { type ToyDistribution, ToySequence, topCandidates } from "./toy-sequence.ts";
import { toyTokenizer } from "./toy-tokenizer.ts";

/** Logits that depend on every token of the path and on its positions; with ties. */
const mixed: ToyDistribution = {
  vocabSize: 23,
  contextLength: 64,
  logits(tokens, positions) {
    const hash = tokens.reduce((sum: number, token, index) => (sum * 31 + token * 7 + positions[index]!) % 10007, 1);
    return Array.from({ length: 23 }, (_, id) => ((hash * (id + 3)) % 11) - 5);
  },
};
const at = (...ids: number[]) => ids as TokenId[];

sequenceConformance("the toy", { create: () => new ToySequence(mixed) });

test("log-sum-exp is that of the whole row, not of the candidates", () => {
  const { logSumExp, ids } = topCandidates(Float32Array.from([1, 2, 2, 0]), 2);
  expect([...ids]).toEqual([1, 2]);
  expect(logSumExp).toBeCloseTo(Math.log(Math.E + 2 * Math.E ** 2 + 1), 12);
});

test("what the toy lacks is refused by name and leaves it unchanged", async () => {
  const sequence = new ToySequence(mixed);
  await expect(sequence.forward({ input: at(1), blocks: { "blocks.0.attn": false } })).rejects.toThrow(/no blocks/);
  await expect(sequence.forward({ input: at(1), want: { hidden: "last" } })).rejects.toThrow(UnsupportedError);
  await expect(sequence.forward({ input: { values: new Float32Array(4), hiddenSize: 4 } })).rejects.toThrow(/input embeddings/);
  expect(sequence.length).toBe(0);
});

test("the toy tokenizer takes the longest piece and writes specials only when asked", () => {
  const tokenizer = toyTokenizer(["a", "b", "ab", new Uint8Array([0xe2]), new Uint8Array([0x82, 0xac])], { addBos: true });
  expect(tokenizer.encode("aab€")).toEqual([5, 0, 2, 3, 4]);
  expect(tokenizer.encode("a<end>", { special: true, bos: false })).toEqual([0, 6]);
  expect(tokenizer.decode(at(5, 0, 2, 3, 4, 6))).toBe("aab€");
  expect(tokenizer.decode(at(0, 6), { special: true })).toBe("a<end>");
});
