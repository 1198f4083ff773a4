import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { unpackLzw } from "./lzw.ts";
import { partsOf } from "./sources.ts";

/** The format of `compress`, written from its description: to be read by gzip, which knows it, and by us. */
function packLzw(data: Buffer): Buffer {
  const table = new Map<string, number>();
  const bits: number[] = [];
  let width = 9;
  let next = 257;
  let inGroup = 0;
  const emit = (code: number) => {
    for (let bit = 0; bit < width; bit += 1) bits.push((code >> bit) & 1);
    inGroup = (inGroup + 1) % 8;
  };
  let known = "";
  for (const character of data.toString("latin1")) {
    if (known === "" || table.has(known + character)) {
      known += character;
      continue;
    }
    emit(known.length === 1 ? known.charCodeAt(0) : table.get(known)!);
    if (next < 65536) table.set(known + character, next++);
    if (next > 2 ** width && width < 16) {
      while (inGroup !== 0) emit(0); // a group is filled up before codes grow
      width += 1;
    }
    known = character;
  }
  if (known !== "") emit(known.length === 1 ? known.charCodeAt(0) : table.get(known)!);
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  for (const [i, bit] of bits.entries()) bytes[i >> 3]! |= bit << (i & 7);
  return bytes;
}

test("LZW codes are unpacked to what gzip makes of them", () => {
  const text = Array.from({ length: 9000 }, (_, i) => `${(i * i) % 977} verses of ${(i * 31) % 89}\n`).join("");
  const packed = packLzw(Buffer.from(text));
  const reference = execFileSync("gzip", ["-dc"], { input: Buffer.concat([Buffer.of(0x1f, 0x9d, 0x90), packed]) });
  expect(reference.toString()).toBe(text);
  expect(unpackLzw(packed).equals(reference)).toBe(true);
});

test("a code that nothing stands for is an error", () => {
  expect(() => unpackLzw(Buffer.of(0x41, 0xfe, 0xff, 0xff))).toThrow(/means nothing/);
});

test("a document's parts are its text in pieces that fit", () => {
  const text = Array.from({ length: 60 }, (_, i) => `Sentence ${i} says something; and then more of it.`).join(" ");
  const parts = partsOf(text);
  expect(parts.join(" ")).toBe(text);
  expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(700);
  expect(parts.length).toBeGreaterThan(3);
});
