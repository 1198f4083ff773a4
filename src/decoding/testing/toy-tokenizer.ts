import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";

/**
 * A tokenizer for tests. Every entry of `pieces` is one token: a string, or bytes that may be part of a character. Text is
 * encoded by the longest piece that matches. The specials follow after them: `<bos>`, `<end>`.
 *
 * @throws RangeError from `encode` where no piece matches
 */
export function toyTokenizer(pieces: readonly (string | Uint8Array)[], options: { addBos?: boolean } = {}): Tokenizer & { end: TokenId } {
  const utf8 = new TextEncoder();
  const table = pieces.map((piece) => (typeof piece === "string" ? utf8.encode(piece) : piece));
  const specials = ["<bos>", "<end>"].map((written) => utf8.encode(written));
  const vocabSize = table.length + specials.length;
  const bos = table.length as TokenId;
  const end = (table.length + 1) as TokenId;
  const addBos = options.addBos ?? false;

  const startsWith = (bytes: Uint8Array, at: number, piece: Uint8Array) =>
    piece.length > 0 && at + piece.length <= bytes.length && piece.every((byte, index) => bytes[at + index] === byte);

  const tokenizer = {
    vocabSize,
    bos,
    eos: end,
    end,
    addBos,
    endTokens: new Set([end]),
    encode(text: string, { special = false, bos: withBos = addBos }: { special?: boolean; bos?: boolean } = {}): TokenId[] {
      const bytes = utf8.encode(text);
      const known = special ? [...table, ...specials] : table;
      const tokens: TokenId[] = withBos ? [bos] : [];
      for (let at = 0; at < bytes.length; ) {
        let best = -1;
        for (const [id, piece] of known.entries()) {
          if (startsWith(bytes, at, piece) && (best < 0 || piece.length > known[best]!.length)) best = id;
        }
        if (best < 0) throw new RangeError(`toy tokenizer: no piece matches at byte ${at} of ${JSON.stringify(text)}`);
        tokens.push(best as TokenId);
        at += known[best]!.length;
      }
      return tokens;
    },
    piece(token: TokenId, { special = false }: { special?: boolean } = {}): Uint8Array {
      if (token < table.length) return table[token]!;
      return special ? specials[token - table.length]! : new Uint8Array();
    },
    decode(tokens: readonly TokenId[], options: { special?: boolean } = {}): string {
      return new TextDecoder().decode(Buffer.concat(tokens.map((token) => tokenizer.piece(token, options))));
    },
  };
  return tokenizer;
}
