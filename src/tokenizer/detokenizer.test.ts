import fc from "fast-check";
import { expect, test } from "vitest";
import type { TokenId } from "../token.ts";
import { Detokenizer } from "./detokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A tokenizer whose token i is the i-th piece. */
const over = (pieces: readonly Uint8Array[]) => ({ piece: (token: TokenId) => pieces[token]! }) as unknown as Tokenizer;
const ids = (pieces: readonly unknown[]) => pieces.map((_, index) => index as TokenId);

/** Bytes that make every kind of valid and broken sequence likely. */
const nasty = fc.constantFrom(
  0x00,
  0x41,
  0x80,
  0xa0,
  0xbf,
  0xc0,
  0xc2,
  0xdf,
  0xe0,
  0xe2,
  0x82,
  0xac,
  0xed,
  0xef,
  0xbb,
  0xbf,
  0xf0,
  0x9f,
  0x98,
  0x80,
  0xf4,
  0x8f,
  0x90,
  0xf5,
  0xff,
);

test("any bytes, cut anywhere, come out as the platform's streaming decoder gives them, at every token", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.array(nasty, { maxLength: 5 }).map((bytes) => Uint8Array.from(bytes)),
        { maxLength: 8 },
      ),
      (pieces) => {
        const reference = new TextDecoder("utf-8", { ignoreBOM: true });
        const detokenizer = new Detokenizer(over(pieces));
        for (const [index, piece] of pieces.entries()) {
          expect(detokenizer.push(index as TokenId)).toBe(reference.decode(piece, { stream: true }));
        }
        expect(detokenizer.flush()).toBe(reference.decode());
      },
    ),
    { numRuns: process.env.CHAINRULE_SOAK ? 200_000 : 5_000 },
  );
});

test("text cut into single bytes comes out whole, and never in half characters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const pieces = [...new TextEncoder().encode(text)].map((byte) => Uint8Array.of(byte));
      const detokenizer = new Detokenizer(over(pieces));
      const parts = ids(pieces).map((token) => detokenizer.push(token));
      expect(parts.join("") + detokenizer.flush()).toBe(text);
      for (const part of parts) expect(part).not.toMatch(/^[\udc00-\udfff]|[\ud800-\udbff]$/);
    }),
  );
});

test("a fork holds what its origin held back, and each goes on alone", () => {
  const detokenizer = new Detokenizer(over([Uint8Array.of(0xe2, 0x82), Uint8Array.of(0xac), Uint8Array.of(0x41)]));
  expect(detokenizer.push(0 as TokenId)).toBe("");
  const fork = detokenizer.fork();
  expect(detokenizer.push(1 as TokenId)).toBe("€");
  expect(fork.push(2 as TokenId)).toBe("\ufffdA");
});
