import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getHeapStatistics } from "node:v8";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type ChainruleError, FormatError, UnsupportedError } from "../errors.ts";
import { openGguf } from "./gguf-reader.ts";
import { tensorTypes } from "./gguf-types.ts";
import { checkVocabulary } from "./vocabulary-check.ts";

const directory = mkdtempSync(join(tmpdir(), "chainrule-hostile-"));
const path = join(directory, "hostile.gguf");
const descriptor = openSync(path, "w");
afterAll(() => {
  closeSync(descriptor);
  rmSync(directory, { recursive: true });
});

/** Changes the file in place: a file system may flush one that is truncated and written anew, which takes milliseconds. */
function setContent(bytes: Uint8Array): void {
  writeSync(descriptor, bytes, 0, bytes.length, 0);
  ftruncateSync(descriptor, bytes.length);
}

// Files are put together here by hand, not by our writer, which would refuse to write most of them.
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const u64 = (value: number | bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  return bytes;
};
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const entry = (key: string, type: number, ...value: Buffer[]) => Buffer.concat([text(key), u32(type), ...value]);
const stringsEntry = (key: string, values: readonly string[]) => entry(key, 9, u32(8), u64(values.length), ...values.map(text));
const tensor = (name: string, dims: readonly (number | bigint)[], type: number, offset: number | bigint) =>
  Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]);

interface Parts {
  magic?: string;
  version?: number;
  tensorCount?: number | bigint;
  entryCount?: number | bigint;
  entries?: readonly Buffer[];
  tensors?: readonly Buffer[];
  dataBytes?: number;
}
function build({ magic = "GGUF", version = 3, entries = [], tensors = [], dataBytes = 0, ...counts }: Parts): Buffer {
  const { tensorCount = tensors.length, entryCount = entries.length } = counts;
  const header = Buffer.concat([Buffer.from(magic), u32(version), u64(tensorCount), u64(entryCount), ...entries, ...tensors]);
  return Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), Buffer.alloc(dataBytes)]);
}

/** A small model file such as llama.cpp's converter writes. */
function modelFile(version: 2 | 3): Buffer {
  const tokens = ["<unk>", "<s>", ...Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`), "a"];
  return build({
    version,
    entries: [
      entry("general.architecture", 8, text("llama")),
      entry("general.alignment", 4, u32(32)),
      entry("llama.rope.freq_base", 6, u32(0x461c4000)),
      entry("test.big", 10, u64(2n ** 63n)),
      entry("tokenizer.ggml.model", 8, text("llama")),
      stringsEntry("tokenizer.ggml.tokens", tokens),
      entry("tokenizer.ggml.scores", 9, u32(6), u64(tokens.length), Buffer.alloc(4 * tokens.length)),
      entry("tokenizer.ggml.token_type", 9, u32(5), u64(tokens.length), ...tokens.map((_, i) => u32(i < 2 ? 3 : i < 258 ? 6 : 1))),
      entry("tokenizer.ggml.bos_token_id", 4, u32(1)),
      entry("tokenizer.ggml.add_bos_token", 7, Buffer.of(1)),
    ],
    tensors: [
      tensor("token_embd.weight", [64, 3], 2, 0),
      tensor("output_norm.weight", [64], 0, 128),
      tensor("blk.0.w", [4, 3, 2, 2], 1, 384),
    ],
    dataBytes: 512,
  });
}

/** What the module promises about a file of this size, apart from the error's type. */
function allocationLimit(sizeBytes: number): number {
  return 4 * sizeBytes + (64 << 20);
}

/** Opens bytes as a file. Either a typed error, or a file whose every promise is then tried; returns which. */
function open(bytes: Uint8Array): ChainruleError | "opened" {
  setContent(bytes);
  const allocated = countAllocations();
  try {
    using file = openGguf(path);
    tryEverything(file, bytes.length);
    return "opened";
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.offset ?? 0).toBeLessThanOrEqual(bytes.length);
    return error;
  } finally {
    expect(allocated()).toBeLessThan(allocationLimit(bytes.length));
  }
}

function tryEverything(file: ReturnType<typeof openGguf>, sizeBytes: number): void {
  const ranges = [...file.tensors.values()].map(({ offset, sizeBytes }) => [offset, offset + sizeBytes] as const);
  ranges.sort((a, b) => a[0] - b[0]);
  ranges.reduce((end, [from, to]) => {
    expect(from).toBeGreaterThanOrEqual(end);
    return to;
  }, file.headerBytes);
  for (const { name, type, shape, offset, sizeBytes: bytes } of file.tensors.values()) {
    const { blockSize, blockBytes } = tensorTypes[type];
    const elements = shape.reduce((product, size) => product * BigInt(size), 1n);
    expect(BigInt(bytes)).toBe((elements / BigInt(blockSize)) * BigInt(blockBytes));
    expect(offset % file.alignment).toBe(0);
    expect(offset + bytes).toBeLessThanOrEqual(sizeBytes);
    file.readInto(name, new Uint8Array(bytes));
  }
  for (const value of file.metadata.values()) if (value.type === "array" && value.of === "string") for (const _ of value.value);
  try {
    checkVocabulary(file);
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof UnsupportedError)) throw error;
  }
}

/** Bytes asked for in buffers and typed arrays from now on; a check of counts must come before such a request. */
function countAllocations(): () => number {
  const held = () => {
    const { external_memory, used_heap_size } = getHeapStatistics();
    return external_memory + used_heap_size;
  };
  const before = held();
  return () => held() - before;
}

const changed = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({ kind: fc.constant("set" as const), at: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) }),
  fc.record({ kind: fc.constant("huge" as const), at: fc.nat(), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
  fc.record({ kind: fc.constant("small" as const), at: fc.nat(), value: fc.bigInt({ min: 0n, max: 64n }) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
  fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(), length: fc.nat(100), to: fc.nat() }),
);
type Change = typeof changed extends fc.Arbitrary<infer T> ? T : never;

function apply(bytes: Buffer, change: Change, headerBytes: number): Buffer {
  const at = change.at % Math.min(bytes.length, headerBytes);
  switch (change.kind) {
    case "flip":
      bytes[at]! ^= 1 << change.bit;
      return bytes;
    case "set":
      bytes.set(change.bytes.subarray(0, bytes.length - at), at);
      return bytes;
    case "huge":
    case "small":
      if (at + 8 <= bytes.length) bytes.writeBigUInt64LE(change.value, at);
      return bytes;
    case "cut":
      return bytes.subarray(0, at);
    case "repeat":
      bytes.copyWithin(change.to % bytes.length, at, at + change.length);
      return bytes;
  }
}

function mutate(original: Buffer, headerBytes: number, runs: number): { refused: number; opened: number } {
  const count = { refused: 0, opened: 0 };
  fc.assert(
    fc.property(fc.array(changed, { minLength: 1, maxLength: 4 }), (changes) => {
      let bytes: Buffer = Buffer.from(original);
      for (const change of changes) if (bytes.length > 0) bytes = apply(bytes, change, headerBytes);
      count[open(bytes) === "opened" ? "opened" : "refused"]++;
    }),
    { numRuns: runs },
  );
  return count;
}

const runs = process.env.CHAINRULE_SOAK ? 100_000 : 2_000;

test.each([2, 3] as const)(
  "a mutated header of version %i gives a typed error or a file that holds what it says",
  { timeout: 3_600_000 },
  (version) => {
    const original = modelFile(version);
    expect(open(original)).toBe("opened");
    const { refused, opened } = mutate(original, original.length - 512, runs / 2);
    expect(refused).toBeGreaterThan(runs / 20); // the changes reach what is checked,
    expect(opened).toBeGreaterThan(runs / 200); // and some leave a file that can be opened
  },
);

const realFiles = process.env.CHAINRULE_GGUF_FILES; // a folder of GGUF files, such as models/ of a llama.cpp checkout
test.skipIf(realFiles === undefined)(
  "mutated headers of the files in CHAINRULE_GGUF_FILES give a typed error or a sound file",
  () => {
    const files = readdirSync(realFiles!).filter((name) => name.endsWith(".gguf") && statSync(join(realFiles!, name)).size < 4 << 20);
    for (const name of files) mutate(readFileSync(join(realFiles!, name)), 4096, runs / 100);
  },
  3_600_000,
);

describe("is refused, with the byte at which it shows:", () => {
  const f32 = tensor("a", [4], 0, 0);
  const cases: readonly [string, Buffer, RegExp, number?][] = [
    ["an empty file", Buffer.alloc(0), /the file is empty/, 0],
    ["a few bytes", Buffer.from("GGUF"), /only 4 bytes/, 0],
    ["an HTML page", Buffer.from("<!DOCTYPE html><html><body>Not found</body></html>"), /HTML/, 0],
    ["a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0"), /Git LFS pointer/, 0],
    ["a ZIP archive", Buffer.from(`PK\x03\x04${"x".repeat(40)}`), /ZIP archive/, 0],
    ["a file of before GGUF", build({ magic: "tjgg" }), /GGML file of before GGUF/, 0],
    ["version 1", build({ version: 1 }), /version 1 is no longer read/, 4],
    ["a big-endian file", build({ version: 0x03000000 }), /big-endian/, 4],
    ["a version of the future", build({ version: 4 }), /version 4 is not known/, 4],
    ["2^60 tensors", build({ tensorCount: 2n ** 60n }), /tensor count is 1152921504606846976, more than 65536/, 8],
    ["2^64 - 1 metadata", build({ entryCount: 2n ** 64n - 1n }), /metadata count is 18446744073709551615/, 16],
    ["more tensors than fit", build({ tensorCount: 60_000 }), /tensor count of 60000 does not fit/, 8],
    [
      "more metadata than there are",
      build({ entryCount: 2, entries: [entry("a", 7, Buffer.of(1))], dataBytes: 8 }),
      /name of metadata entry 1 is empty/,
    ],
    [
      "a key of 2^62 bytes",
      build({ entryCount: 1, entries: [u64(2n ** 62n)] }),
      /length of the name of metadata entry 0 is 4611686018427387904/,
      24,
    ],
    ["an empty key", build({ entries: [entry("", 7, Buffer.of(1))] }), /name of metadata entry 0 is empty/, 24],
    ["a key with a zero byte", build({ entries: [entry("a\0", 7, Buffer.of(1))] }), /is not text/, 24],
    ["a repeated key", build({ entries: [entry("a", 7, Buffer.of(1)), entry("a", 7, Buffer.of(1))] }), /"a" appears twice/, 38],
    ["a metadata type of 13", build({ entries: [entry("a", 13, u64(0))] }), /metadata type 13/, 33],
    ["a boolean of 2", build({ entries: [entry("a", 7, Buffer.of(2))] }), /neither 0 nor 1/, 37],
    ["an array of arrays", build({ entries: [entry("a", 9, u32(9), u64(0))] }), /array of arrays/, 37],
    ["an array of 2^61 numbers", build({ entries: [entry("a", 9, u32(6), u64(2n ** 61n))] }), /length of "a" is 2305843009213693952/, 41],
    ["an array longer than the file", build({ entries: [entry("a", 9, u32(12), u64(9))] }), /"a" has 9 values, more than/, 41],
    [
      "a string in an array of 2^63 bytes",
      build({ entries: [entry("a", 9, u32(8), u64(1), u64(2n ** 63n))] }),
      /"a"\[0\] has a length/,
      49,
    ],
    ["an alignment of 24", build({ entries: [entry("general.alignment", 4, u32(24))] }), /power of two/, 24],
    ["an alignment of 0", build({ entries: [entry("general.alignment", 4, u32(0))] }), /power of two/, 24],
    ["an alignment of 4", build({ entries: [entry("general.alignment", 4, u32(4))] }), /power of two/, 24],
    ["an alignment of 2^31", build({ entries: [entry("general.alignment", 4, u32(2 ** 31))] }), /power of two/, 24],
    ["an alignment that is a float", build({ entries: [entry("general.alignment", 6, u32(32))] }), /is float32, expected uint32/, 24],
    ["a repeated tensor", build({ tensors: [f32, f32], dataBytes: 16 }), /"a" appears twice/, 57],
    [
      "a name of 64 bytes",
      build({ tensors: [tensor("x".repeat(64), [4], 0, 0)], dataBytes: 16 }),
      /name of tensor 0 is 64, more than 63/,
      24,
    ],
    ["no dimensions", build({ tensors: [tensor("a", [], 0, 0)], dataBytes: 16 }), /has 0 dimensions/, 33],
    ["five dimensions", build({ tensors: [tensor("a", [1, 1, 1, 1, 1], 0, 0)], dataBytes: 16 }), /has 5 dimensions/, 33],
    ["a dimension of 0", build({ tensors: [tensor("a", [4, 0], 0, 0)], dataBytes: 16 }), /dimension 1 of "a" is 0/, 45],
    [
      "a negative dimension",
      build({ tensors: [tensor("a", [-1], 0, 0)], dataBytes: 16 }),
      /dimension 0 of "a" is 18446744073709551615/,
      37,
    ],
    [
      "2^64 elements, 0 when cut to 64 bits",
      build({ tensors: [tensor("a", [2n ** 32n, 2n ** 32n], 0, 0)] }),
      /more than 2\^53 elements/,
      45,
    ],
    ["2^53 elements", build({ tensors: [tensor("a", [2n ** 27n, 2n ** 26n], 0, 0)] }), /more than 2\^53 elements/, 45],
    ["more bytes than the file", build({ tensors: [tensor("a", [2 ** 20], 0, 0)] }), /"a" has 4194304 bytes, more than the file/, 33],
    ["tensor type 99", build({ tensors: [tensor("a", [4], 99, 0)], dataBytes: 16 }), /tensor type 99, which does not exist/, 45],
    [
      "a removed tensor type",
      build({ tensors: [tensor("a", [32], 4, 0)], dataBytes: 16 }),
      /tensor type 4, Q4_2, which ggml has removed/,
      45,
    ],
    [
      "rows of half a block",
      build({ tensors: [tensor("a", [48, 2], 2, 0)], dataBytes: 54 }),
      /rows of 48 elements, no multiple of q4_0's block of 32/,
      33,
    ],
    ["an unaligned offset", build({ tensors: [tensor("a", [4], 0, 8)], dataBytes: 64 }), /offset 8, no multiple of the alignment 32/, 49],
    [
      "an offset beyond the file",
      build({ tensors: [tensor("a", [4], 0, 2n ** 63n)], dataBytes: 64 }),
      /offset of "a" is 9223372036854775808/,
      49,
    ],
    ["data cut by a byte", build({ tensors: [f32], dataBytes: 15 }), /"a" ends at byte 80, but the file has 79/, 24],
    [
      "overlapping tensors",
      build({ tensors: [tensor("a", [16], 0, 0), tensor("b", [4], 0, 32)], dataBytes: 64 }),
      /"a" and "b" overlap/,
      57,
    ],
    ["two tensors in one place", build({ tensors: [f32, tensor("b", [4], 0, 0)], dataBytes: 64 }), /"a" and "b" overlap/, 57],
  ];
  test.each(cases)("%s", (_name, bytes, message, offset) => {
    const error = open(bytes);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
    expect((error as FormatError).offset).toBeDefined();
    if (offset !== undefined) expect((error as FormatError).offset).toBe(offset);
  });
});

test("every truncation of a model file is refused", () => {
  const original = modelFile(3);
  const lastTensorEnd = original.length - 512 + 384 + 96; // what follows it is padding
  const headerEnd = original.length - 512;
  for (let length = 0; length < lastTensorEnd; length += length < 300 || length > headerEnd - 300 ? 1 : 29)
    expect(open(original.subarray(0, length)), `${length} bytes`).not.toBe("opened");
  expect(open(original.subarray(0, lastTensorEnd))).toBe("opened");
});

test("names in a message are escaped and cut", () => {
  const error = open(build({ entries: [entry(`\x1b[31m${"x".repeat(1000)}`, 13, u64(0))] }));
  expect((error as FormatError).message).toContain(String.raw`"\u001b[31mxxx`);
  expect((error as FormatError).message.length).toBeLessThan(250);
});

test("a sparse file of 8 GB that claims 2^30 metadata strings is refused without reading them", () => {
  setContent(build({ entryCount: 1, entries: [entry("a", 9, u32(8), u64(2 ** 30 - 1))] }));
  ftruncateSync(descriptor, 8 * 2 ** 30);
  const allocated = countAllocations();
  expect(() => openGguf(path)).toThrow(/"a" has 1073741823 values, more than a header has room for/);
  expect(allocated()).toBeLessThan(16 << 20);
});
