import { expect, test } from "vitest";
import type { TokenId } from "../token.ts";
import { echoOf } from "./echo.ts";

// a vocabulary that puts BOS and a space before a text, as SentencePiece's do
const utf8 = new TextEncoder();
const table = ["<bos>", " a", " fox", "x", "é"].map((text) => utf8.encode(text)).concat([Uint8Array.of(0xc3), Uint8Array.of(0xa9)]);
const tokenizer = {
  bos: 0 as TokenId,
  piece: (token: TokenId) => table[token]!,
  decode: (tokens: readonly TokenId[]) =>
    Buffer.concat(tokens.map((token) => table[token]!))
      .toString()
      .replace(/^ /, ""),
};
const ids = (...tokens: number[]) => tokens as TokenId[];

test.each<[string, TokenId[], string | undefined, string, string[]]>([
  ["a text", ids(0, 1, 2, 3), "a foxx", "<bos>", ["", "a", " fox", "x"]],
  ["a text without BOS", ids(1, 2), "a fox", " a", ["a", " fox"]],
  ["a text that begins with a space of its own", ids(0, 1), " a", "<bos>", ["", " a"]],
  ["a text in which BOS is written", ids(0, 1), "<bos> a", "<bos>", ["<bos>", " a"]],
  ["tokens: BOS is theirs", ids(0, 1, 2), undefined, "<bos>", ["<bos>", " a", " fox"]],
  ["tokens without BOS", ids(1, 2), undefined, " a", ["a", " fox"]],
  ["a character of two tokens", ids(0, 1, 5, 6), "aé", "<bos>", ["", "a", "", "é"]],
])("pieces add up to what is echoed: %s", (_, tokens, text, first, pieces) => {
  expect(echoOf(tokenizer, tokens, text)).toEqual({ first, pieces });
  expect(pieces.join("")).toBe(text ?? tokenizer.decode(tokens));
});
