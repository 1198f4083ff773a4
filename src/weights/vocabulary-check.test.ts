import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError, UnsupportedError } from "../errors.ts";
import { openGguf } from "./gguf-reader.ts";
import { writeGguf } from "./gguf-writer.ts";
import { type MetadataValue, StringArray } from "./metadata.ts";
import { checkVocabulary } from "./vocabulary-check.ts";
import { preTokenizers, refusedVocabularyModels, vocabularyModels } from "./vocabulary-names.ts";

const directory = mkdtempSync(join(tmpdir(), "chainrule-vocabulary-"));
afterAll(() => rmSync(directory, { recursive: true }));
const names = JSON.parse(readFileSync(new URL("./fixtures/vocabulary-names.fixture.json", import.meta.url), "utf8"));

type Entries = Record<string, MetadataValue | undefined>;
const string = (value: string): MetadataValue => ({ type: "string", value });
const strings = (value: readonly (string | Uint8Array)[]): MetadataValue => ({
  type: "array",
  of: "string",
  value: StringArray.from(value),
});
const uint32 = (value: number): MetadataValue => ({ type: "uint32", value });
const bool = (value: boolean): MetadataValue => ({ type: "bool", value });
const int32s = (value: readonly number[]): MetadataValue => ({ type: "array", of: "int32", value: Int32Array.from(value) });
const float32s = (value: readonly number[]): MetadataValue => ({ type: "array", of: "float32", value: Float32Array.from(value) });

async function check(entries: Entries) {
  const path = join(directory, "vocabulary.gguf");
  const metadata = Object.entries(entries).filter((entry): entry is [string, MetadataValue] => entry[1] !== undefined);
  await writeGguf(path, { metadata, tensors: [] });
  using file = openGguf(path);
  return checkVocabulary(file);
}

const byteTokens = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const spmTokens = ["<unk>", "<s>", "</s>", ...byteTokens, "▁", "a"];
/** A vocabulary of the kind Llama 2 has. */
const spm: Entries = {
  "general.architecture": string("llama"),
  "tokenizer.ggml.model": string("llama"),
  "tokenizer.ggml.tokens": strings(spmTokens),
  "tokenizer.ggml.scores": float32s(spmTokens.map((_, id) => -id)),
  "tokenizer.ggml.token_type": int32s([2, 3, 3, ...byteTokens.map(() => 6), 1, 1]),
  "tokenizer.ggml.bos_token_id": uint32(1),
  "tokenizer.ggml.eos_token_id": uint32(2),
};
/** A vocabulary of the kind SmolLM2 has. */
const bpe: Entries = {
  "general.architecture": string("llama"),
  "tokenizer.ggml.model": string("gpt2"),
  "tokenizer.ggml.pre": string("smollm"),
  "tokenizer.ggml.tokens": strings(["<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ"]),
  "tokenizer.ggml.token_type": int32s([3, 3, 1, 1, 1, 1]),
  "tokenizer.ggml.merges": strings(["a b"]),
  "tokenizer.ggml.bos_token_id": uint32(0),
};
const wpm: Entries = {
  "general.architecture": string("bert"),
  "tokenizer.ggml.model": string("bert"),
  "tokenizer.ggml.tokens": strings(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a"]),
  "tokenizer.ggml.bos_token_id": uint32(2),
  "tokenizer.ggml.seperator_token_id": uint32(3),
  "tokenizer.ggml.unknown_token_id": uint32(1),
};
const ugm: Entries = {
  "general.architecture": string("t5"),
  "tokenizer.ggml.model": string("t5"),
  "tokenizer.ggml.tokens": strings(["<pad>", "</s>", "<unk>", "▁a"]),
};

test("our names are those of the pinned loader", () => {
  expect([...Object.keys(vocabularyModels), ...refusedVocabularyModels].sort()).toEqual(names.models);
  expect([...preTokenizers.keys(), "whitespace"].sort()).toEqual(Object.keys(names.preTokenizers).sort());
  for (const [name, { addBos, noDefaultBos }] of preTokenizers) {
    expect({ addBos, noBos: noDefaultBos }, name).toEqual({ addBos: undefined, noBos: undefined, ...names.preTokenizers[name] });
  }
});

test("vocabularies of each kind pass and are described", async () => {
  expect(await check(spm)).toEqual({ model: "llama", preTokenizer: undefined, vocabSize: 261, longestTokenBytes: 6 });
  expect(await check(bpe)).toEqual({ model: "gpt2", preTokenizer: "smollm", vocabSize: 6, longestTokenBytes: 12 });
  expect(await check(wpm)).toEqual({ model: "bert", preTokenizer: undefined, vocabSize: 5, longestTokenBytes: 5 });
  expect(await check(ugm)).toEqual({ model: "t5", preTokenizer: undefined, vocabSize: 4, longestTokenBytes: 5 });
});

test.each(refusedVocabularyModels)("the tokenizer model %s is refused with the list of those that are supported", async (name) => {
  const refused = check({ ...bpe, "tokenizer.ggml.model": string(name) });
  await expect(refused).rejects.toThrow(UnsupportedError);
  await expect(refused).rejects.toThrow(/these are: llama, gpt2, gemma4, bert, t5$/);
});

test.each(["whitespace", "made-up", "toString"])("the pre-tokenizer %s is refused", async (name) => {
  await expect(check({ ...bpe, "tokenizer.ggml.pre": string(name) })).rejects.toThrow(UnsupportedError);
});

const without = (base: Entries, key: string): Entries => ({ ...base, [key]: undefined });
const tokensOf = (base: Entries, tokens: readonly (string | Uint8Array)[]): Entries => ({
  ...base,
  "tokenizer.ggml.tokens": strings(tokens),
  "tokenizer.ggml.scores": undefined,
  "tokenizer.ggml.token_type": undefined,
});
const bigToken = new Uint8Array(4097).fill(97);

describe("a vocabulary is refused with the key named when", () => {
  const cases: readonly [string, Entries, RegExp][] = [
    ["the architecture is missing", without(spm, "general.architecture"), /lack the key general\.architecture/],
    ["the tokens are missing", without(spm, "tokenizer.ggml.tokens"), /lack the key tokenizer\.ggml\.tokens/],
    ["the tokens are numbers", { ...spm, "tokenizer.ggml.tokens": int32s([1]) }, /tokenizer\.ggml\.tokens: is an array of int32/],
    ["there is no token", tokensOf(spm, []), /tokenizer\.ggml\.tokens: has no token/],
    ["two tokens are the same", tokensOf(spm, [...spmTokens, "a"]), /tokens 260 and 261 are the same, "a"/],
    ["two tokens are the same up to a zero byte", tokensOf(bpe, ["a\0b", "a\0c"]), /tokens 0 and 1 are the same/],
    ["an empty token's stand-in is taken", tokensOf(bpe, ["x", "", "[EMPTY_1]"]), /token 1 is empty, and another is called/],
    ["a token starting in a zero byte has its stand-in taken", tokensOf(bpe, ["[EMPTY_1]", "\0"]), /token 1 is empty/],
    ["a token is not UTF-8", tokensOf(bpe, ["a", Uint8Array.of(0xf7, 0xbf, 0xbf, 0xbf)]), /token 1 is not UTF-8/],
    ["a character is cut between two tokens", tokensOf(bpe, [Uint8Array.of(0xc4), Uint8Array.of(0xa0)]), /token 0 is not UTF-8/],
    ["a token is longer than any real one", tokensOf(bpe, [bigToken]), /token 0 has 4097 bytes, more than 4096/],
    [
      "ordinary tokens would be decoded into gigabytes",
      tokensOf(
        bpe,
        Array.from({ length: 99 }, (_, i) => `${i}${" ".repeat(4000)}`),
      ),
      /stand for no byte/,
    ],
    ["a score is missing", { ...spm, "tokenizer.ggml.scores": float32s([1]) }, /scores: has 1 entries for 261 tokens/],
    ["a score is not a number", { ...spm, "tokenizer.ggml.scores": float32s(spmTokens.map(() => Number.NaN)) }, /score of token 0 is NaN/],
    [
      "scores are of another type",
      { ...spm, "tokenizer.ggml.scores": { type: "array", of: "uint8", value: new Uint8Array(261) } },
      /scores: must be float32/,
    ],
    ["a token type is missing", { ...spm, "tokenizer.ggml.token_type": int32s([1]) }, /token_type: has 1 entries for 261 tokens/],
    ["a token type does not exist", { ...bpe, "tokenizer.ggml.token_type": int32s([1, 1, 1, 1, 1, 7]) }, /type of token 5 is 7/],
    [
      "token types are unsigned",
      { ...bpe, "tokenizer.ggml.token_type": { type: "array", of: "uint32", value: new Uint32Array(6) } },
      /must be int32/,
    ],
    ["a byte token has no byte's form", { ...bpe, "tokenizer.ggml.token_type": int32s([3, 3, 6, 1, 1, 1]) }, /byte token 2 is "a"/],
    ["WordPiece has a byte token", { ...wpm, "tokenizer.ggml.token_type": int32s([6, 1, 1, 1, 1]) }, /WordPiece does not have/],
    [
      "a byte has no token",
      tokensOf(
        spm,
        spmTokens.filter((token) => token !== "<0x41>"),
      ),
      /no token for the byte 65/,
    ],
    ["merges are missing", without(bpe, "tokenizer.ggml.merges"), /lack the key tokenizer\.ggml\.merges/],
    ["a merge has one part", { ...bpe, "tokenizer.ggml.merges": strings(["a b", "ab"]) }, /merge 1 is not two parts/],
    ["a merge's second part is empty", { ...bpe, "tokenizer.ggml.merges": strings(["a "]) }, /merge 0 is not two parts/],
    ["a merge is empty", { ...bpe, "tokenizer.ggml.merges": strings(["", "a b"]) }, /merge 0 is not two parts/],
    [
      "a special id is outside the vocabulary",
      { ...bpe, "tokenizer.ggml.eos_token_id": uint32(6) },
      /eos_token_id: is 6, expected an integer in \[0, 5\]/,
    ],
    ["a deprecated special id is outside the vocabulary", { ...bpe, "tokenizer.ggml.prefix_token_id": uint32(9) }, /prefix_token_id: is 9/],
    [
      "a special id has another type",
      { ...bpe, "tokenizer.ggml.eot_token_id": { type: "int32", value: 1 } },
      /eot_token_id: is int32, expected uint32/,
    ],
    ["a switch is a number", { ...bpe, "tokenizer.ggml.add_bos_token": uint32(1) }, /add_bos_token: is uint32, expected bool/],
    [
      "BOS is added but not defined",
      { ...without(bpe, "tokenizer.ggml.bos_token_id"), "tokenizer.ggml.add_bos_token": bool(true) },
      /bos_token_id, needed because BOS/,
    ],
    [
      "a pre-tokenizer adds a BOS that is not defined",
      { ...without(bpe, "tokenizer.ggml.bos_token_id"), "tokenizer.ggml.pre": string("llama-bpe") },
      /bos_token_id, needed/,
    ],
    [
      "Gemma 4 has no BOS",
      {
        ...without(bpe, "tokenizer.ggml.bos_token_id"),
        "tokenizer.ggml.model": string("gemma4"),
        "tokenizer.ggml.add_bos_token": bool(false),
      },
      /bos_token_id, needed/,
    ],
    ["EOS is added but not defined", { ...bpe, "tokenizer.ggml.add_eos_token": bool(true) }, /eos_token_id, needed because EOS/],
    ["WordPiece has no separator", without(wpm, "tokenizer.ggml.seperator_token_id"), /seperator_token_id, needed/],
    ["a unigram vocabulary has no unknown token", tokensOf(ugm, ["a", "b"]), /unknown_token_id, needed/],
    [
      "a character map is broken",
      { ...ugm, "tokenizer.ggml.precompiled_charsmap": { type: "array", of: "uint8", value: new Uint8Array(3) } },
      /precompiled_charsmap: is too short/,
    ],
    [
      "a character map is of another type",
      { ...ugm, "tokenizer.ggml.precompiled_charsmap": int32s([0, 0]) },
      /precompiled_charsmap: must be uint8/,
    ],
    [
      "suppressed tokens are of another type",
      { ...bpe, "tokenizer.ggml.suppress_tokens": float32s([1]) },
      /suppress_tokens: must be int32/,
    ],
    ["the name is a number", { ...bpe, "general.name": uint32(1) }, /general\.name: is uint32, expected string/],
    [
      "it is called phi-3 and lacks a token the loader looks up",
      { ...spm, "general.name": string("My Phi-3") },
      /a phi-3 vocabulary needs the token <\|endoftext\|>/,
    ],
  ];
  test.each(cases)("%s", async (_name, entries, message) => {
    const refused = check(entries);
    await expect(refused).rejects.toThrow(FormatError);
    await expect(refused).rejects.toThrow(message);
  });
});

test("what the loader copes with passes: several empty tokens, raw single bytes, merges with a leading space", async () => {
  expect((await check(tokensOf(bpe, ["a", "", "", "\0"]))).vocabSize).toBe(4);
  const rawBytes = [...spmTokens.filter((token) => token !== "<0xE2>"), Uint8Array.of(0xe2)];
  expect((await check(tokensOf(spm, rawBytes))).vocabSize).toBe(261);
  await check({ ...bpe, "tokenizer.ggml.merges": strings(["  b"]) });
  await check({ ...without(bpe, "tokenizer.ggml.merges"), "tokenizer.ggml.pre": string("kimi-k2") });
});

const realFiles = process.env.CHAINRULE_GGUF_FILES; // a folder of GGUF files, such as models/ of a llama.cpp checkout
test.skipIf(realFiles === undefined)("every vocabulary in CHAINRULE_GGUF_FILES passes", () => {
  for (const name of readdirSync(realFiles!).filter((name) => name.endsWith(".gguf"))) {
    using file = openGguf(join(realFiles!, name));
    expect(checkVocabulary(file).vocabSize, name).toBeGreaterThan(1000);
  }
});
