import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { trainBpe } from "./bpe-trainer.ts";

// fixtures/bpe.py has the texts and the version of Hugging Face's tokenizers
const fixture = JSON.parse(readFileSync(new URL("fixtures/bpe.fixture.json", import.meta.url), "utf8")) as {
  texts: string[];
  tokens: string[];
  merges: string[];
};

test("tokens and merges are those that Hugging Face's trainer learns", async () => {
  const { tokens, merges } = await trainBpe(fixture.texts, { vocabSize: 330 });
  expect(merges).toEqual(fixture.merges);
  expect(tokens).toEqual(fixture.tokens);
});

test("fewer tokens come out where no pair stands twice", async () => {
  const { tokens, merges } = await trainBpe(["abcab"], { vocabSize: 300 });
  expect(merges).toEqual(["a b"]);
  expect(tokens).toHaveLength(258);
});

test("a vocabulary has room for the bytes and the special tokens", async () => {
  await expect(trainBpe([], { vocabSize: 256 })).rejects.toThrow("vocabSize: must be a whole number in [257, 1048576], got 256");
});
