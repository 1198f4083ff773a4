import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DisposedError, OptionError } from "../../src/errors.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import { Detokenizer, LlamaVocabulary } from "../../src/tokenizer/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { llamaModelsFolder } from "./support/llama-sources.ts";

const sources = llamaModelsFolder();

async function load(name: string, contextLength = 2_000_000): Promise<LlamaVocabulary> {
  if ("missing" in sources) throw new Error(sources.missing);
  using file = openGguf(join(sources.folder, `ggml-vocab-${name}.gguf`));
  return await LlamaVocabulary.load(file, { contextLength });
}

/** One character of every 97th code point and the neighbours of every 4096th: all scripts, private use, the last plane. */
const sampleOfUnicode = Array.from({ length: 0x110000 }, (_, code) => code)
  .filter((code) => code % 97 === 0 || code % 4096 <= 1 || code % 4096 === 4095)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

const nastyTexts: [name: string, text: string][] = [
  ["nothing", ""],
  ["a sample of all scripts", sampleOfUnicode.join("")],
  ["a sample of all scripts, a space between", sampleOfUnicode.join(" ")],
  ["emoji sequences", "👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇯🇵 👍🏽 1️⃣ ❤️‍🔥 🧑🏿‍🚀".repeat(20)],
  ["combining marks", `e\u0301 ${"a\u0300\u0323".repeat(50)} \u1112\u1161\u11ab 한 İ ﬁ`],
  ["numbers", "0 1 12 123 1234 12345 -1.5e-10 3,141.59 ١٢٣ १२३ Ⅷ ½ 10²⁴"],
  ["white space", " \t\n\r\v\f\u0085\u00a0\u2003\u2028\u3000\ufeff a  b   c\n\n\n d \r\n\r\n"],
  ["NUL and other controls", "a\0b\0\0c\u0001\u001b[31m\u007f\u0080\u009f"],
  ["right to left", "שָׁלוֹם עֲלֵיכֶם — \u202eevil\u202c — مرحبا بالعالم"],
  ["special tokens as text", "<s></s><|endoftext|><|im_start|>user\n<unk><0x0A>[INST]"],
  ["GPT-2's alphabet of bytes", "Ġ Ċ Ā ł Ń"],
  ["1 MB of one letter", "a".repeat(1_000_000)],
  ["1 MB of spaces", " ".repeat(1_000_000)],
  ["100 kB of one emoji", "😀".repeat(25_000)], // libllama's time grows with the square where no token has it (SentencePiece)
  ["1 MB of digits", "7".repeat(1_000_000)],
];

describe.skipIf("missing" in sources)(`texts${"missing" in sources ? `: ${sources.missing}` : ""}`, () => {
  afterAll(() => expect(liveOwnerCount()).toBe(0));

  describe.each(["gpt-2", "qwen2", "llama-spm"])("%s", (name) => {
    let vocabulary: LlamaVocabulary;
    beforeAll(async () => {
      vocabulary = await load(name);
    });
    afterAll(() => vocabulary[Symbol.dispose]());

    test.each(nastyTexts)("decode(encode(text)) is the text: %s", (_, text) => {
      const tokens = vocabulary.encode(text, { bos: false });
      const isSame = vocabulary.decode(tokens) === text; // a diff of a megabyte helps nobody
      expect(isSame).toBe(true);
    });

    test("lone surrogates become U+FFFD", () => {
      expect(vocabulary.decode(vocabulary.encode("a\ud800b\udc00\udfff", { bos: false }))).toBe("a\ufffdb\ufffd\ufffd");
    });

    test("the detokenizer's deltas are the text, and none ends inside a character", () => {
      const text = nastyTexts[2]![1];
      const detokenizer = new Detokenizer(vocabulary);
      const deltas = vocabulary.encode(text, { bos: false }).map((token) => detokenizer.push(token));
      const shown = `${deltas.join("")}${detokenizer.flush()}`;
      expect(shown === text || shown === ` ${text}`).toBe(true);
      expect(deltas.filter((delta) => /[\p{Surrogate}]/u.test(delta) || (delta.includes("\ufffd") && !text.includes("\ufffd")))).toEqual(
        [],
      );
    });

    test("ids outside the vocabulary are refused", () => {
      for (const bad of [-1, vocabulary.vocabSize, 0.5, Number.NaN, 2 ** 31]) {
        expect(() => vocabulary.piece(bad as TokenId)).toThrow(RangeError);
        expect(() => vocabulary.decode([bad as TokenId])).toThrow(RangeError);
      }
    });
  });

  test("special tokens are parsed only when asked for, and shown only when asked for", async () => {
    using vocabulary = await load("qwen2");
    const text = "a<|im_end|>";
    const parsed = vocabulary.encode(text, { special: true });
    expect(parsed).toHaveLength(2);
    expect(vocabulary.endTokens.has(parsed[1]!)).toBe(true);
    expect(vocabulary.encode(text).length).toBeGreaterThan(2);
    expect(vocabulary.decode(parsed)).toBe("a");
    expect(vocabulary.decode(parsed, { special: true })).toBe(text);
    expect(vocabulary.piece(parsed[1]!)).toEqual(new Uint8Array());
  });

  test("BOS as the file says, unless the caller does; Llama 2's published ids", async () => {
    using vocabulary = await load("llama-spm");
    expect(vocabulary).toMatchObject({ vocabSize: 32_000, bos: 1, eos: 2, addBos: true, endTokens: new Set([2]) });
    expect(vocabulary.encode("Hello world")).toEqual([1, 15043, 3186]);
    expect(vocabulary.encode("Hello world", { bos: false })).toEqual([15043, 3186]);
    expect(vocabulary.decode([1, 15043, 3186] as TokenId[])).toBe("Hello world");
    expect(Buffer.from(vocabulary.piece(15043 as TokenId)).toString()).toBe(" Hello");
  });

  test("SentencePiece writes a space as U+2581, so that one in a text comes back as a space", async () => {
    using vocabulary = await load("llama-spm");
    expect(vocabulary.decode(vocabulary.encode("a\u2581b c"))).toBe("a b c");
  });

  test("a text that no context could hold is refused before libllama sees it", async () => {
    using vocabulary = await load("gpt-2", 2);
    expect(() => vocabulary.encode("a".repeat(2000))).toThrow(
      /^the text has 2000 bytes or more; \d+ are the most that a context of 2 tokens/,
    );
    using large = await load("gpt-2", 1e9);
    expect(() => large.encode("é".repeat(2 * 1024 * 1024 + 1))).toThrow(RangeError);
    await expect(load("gpt-2", 0)).rejects.toThrow(OptionError);
  });

  test("with a pre-tokenizer that recurses, a word that would overflow the stack is refused, and the longest allowed one is not", async () => {
    using vocabulary = await load("deepseek-llm");
    for (const letter of ["a", "!", "中", "1", " ", "\u2003", "\n", "é"]) {
      const longest = letter.repeat(2048);
      expect(vocabulary.decode(vocabulary.encode(longest, { bos: false })) === longest).toBe(true);
      expect(() => vocabulary.encode(`x ${letter.repeat(2049)}`)).toThrow(/overflow the native stack/);
    }
  });

  test("nothing is left behind: no temporary file, and no use after disposal", async () => {
    const left = () => readdirSync(tmpdir()).filter((file) => file.startsWith("chainrule-vocabulary-"));
    const before = left();
    const vocabulary = await load("llama-spm");
    expect(left().filter((file) => !before.includes(file))).toEqual([]);
    vocabulary[Symbol.dispose]();
    vocabulary[Symbol.dispose]();
    expect(() => vocabulary.encode("a")).toThrow(DisposedError);
    expect(() => vocabulary.piece(0 as TokenId)).toThrow(DisposedError);
  });
});
