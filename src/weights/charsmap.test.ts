import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { charsmapFault } from "./charsmap.ts";

const fixture = JSON.parse(readFileSync(new URL("./fixtures/charsmap.fixture.json", import.meta.url), "utf8"));
const charsmap = Uint8Array.from(Buffer.from(fixture.charsmap, "base64"));

/**
 * A function that gives the replacement of the longest rule a text begins with, as SentencePiece applies them; it throws where the
 * walk or the replacement leaves the map.
 */
function prefixNormalizer(charsmap: Uint8Array): (text: Uint8Array) => string | undefined {
  const map = Buffer.from(charsmap);
  const arrayBytes = map.readUInt32LE(0);
  const nodes = Array.from({ length: arrayBytes / 4 }, (_, index) => BigInt(map.readUInt32LE(4 + 4 * index)));
  const replacements = map.subarray(4 + arrayBytes);
  const at = (index: number) => {
    const node = nodes[index >>> 0];
    if (node === undefined) throw new Error("outside the array");
    return node;
  };
  const base = (node: bigint) => Number(((node >> 10n) << ((node & 512n) >> 6n)) & 0xffffffffn);
  return (text) => {
    if (nodes.length === 0) return undefined; // libllama then walks nothing
    let found: number | undefined;
    let index = base(at(0));
    for (const byte of text) {
      if (byte === 0) break;
      index ^= byte;
      const node = at(index);
      if ((node & 0x800000ffn) !== BigInt(byte)) break;
      index ^= base(node);
      if ((node >> 8n) & 1n) found = Number(at(index) & 0x7fffffffn);
    }
    if (found === undefined) return undefined;
    const end = replacements.indexOf(0, found);
    if (found >= replacements.length || end < 0) throw new Error("replacement outside the map");
    return replacements.toString("utf8", found, end);
  };
}

test("the walk used as reference applies SentencePiece's three rules", () => {
  const normalize = prefixNormalizer(charsmap);
  const found = ["Ａ", "ﬁ", "㎏", "A"].map((text) => normalize(Buffer.from(text)));
  expect(found).toEqual(["A", "fi", "kg", undefined]);
});

test("a map made by SentencePiece has no fault", () => {
  expect(charsmapFault(charsmap)).toBeUndefined();
});

test("no text leads outside a map without fault, whatever was changed in it", { timeout: 3_600_000 }, () => {
  const runs = process.env.CHAINRULE_SOAK ? 20_000 : 300;
  const texts = ["Ａ", "ﬁ", "㎏", "Ａﬁ㎏"].map((text) => Uint8Array.from(Buffer.from(text)));
  let passed = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(charsmap.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }),
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 4 }), { minLength: 20, maxLength: 20 }),
      (changes, random) => {
        const map = charsmap.slice();
        for (const [at, value] of changes) map[at] = value;
        if (charsmapFault(map) !== undefined) return;
        passed++;
        const normalize = prefixNormalizer(map);
        for (const text of [...texts, ...random]) normalize(text);
      },
    ),
    { numRuns: runs },
  );
  expect(passed).toBeGreaterThan(runs / 10); // most changes hit nodes that no text reaches
});

test("a map without an array replaces nothing", () => {
  const map = charsmap.slice();
  map.fill(0, 0, 4);
  expect(charsmapFault(map)).toBeUndefined();
  expect(prefixNormalizer(map)(Buffer.from("Ａ"))).toBeUndefined();
});

test("the smallest faults are named", () => {
  expect(charsmapFault(new Uint8Array(3))).toBe("is too short for its own size");
  expect(charsmapFault(Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0))).toContain("has an array of 4 bytes and 8 bytes in all");
  expect(charsmapFault(charsmap.slice(0, -1))).toBe("ends in a replacement without a terminator");
});
