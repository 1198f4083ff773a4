import { appendFileSync, copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { DisposedError, FormatError, NotFoundError, UnsupportedError } from "../errors.ts";
import { dequantize, readRows } from "./dequantize.ts";
import { openGguf } from "./gguf-reader.ts";
import { headerOnlyCopy, writeGguf } from "./gguf-writer.ts";
import { StringArray } from "./metadata.ts";

const fixturePath = fileURLToPath(new URL("./fixtures/small.fixture.gguf", import.meta.url));
const fixture = JSON.parse(readFileSync(new URL("./fixtures/small.fixture.json", import.meta.url), "utf8"));
const directory = mkdtempSync(join(tmpdir(), "chainrule-weights-"));
afterAll(() => rmSync(directory, { recursive: true }));

function floatsOf(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

test("every metadata type is read as gguf-py wrote it", () => {
  using file = openGguf(fixturePath);
  const values = Object.fromEntries([...file.metadata].map(([key, { value }]) => [key.replace("test.", ""), value]));
  const { strings, ...others } = values;
  expect(others).toEqual({
    "general.architecture": "llama",
    uint8: 255,
    int8: -128,
    uint16: 65535,
    int16: -32768,
    uint32: 4294967295,
    int32: -2147483648,
    float32: Math.fround(0.1),
    bool: true,
    string: "größe 🤖",
    uint64: 18446744073709551615n,
    uint64_small: 7,
    int64: -9223372036854775808n,
    float64: 0.1,
    int32s: Int32Array.of(-1, 0, 1),
    float32s: Float32Array.of(0.5, -0.25),
    bools: Uint8Array.of(1, 0),
  });
  expect([...(strings as StringArray)]).toEqual(["", "a", "ä\0b"]);
});

test("tensors have the shapes, outermost first, and types gguf-py wrote", () => {
  using file = openGguf(fixturePath);
  const found = Object.fromEntries([...file.tensors.values()].map(({ name, type, shape }) => [name, { type, shape }]));
  const expected = Object.fromEntries(
    Object.entries<{ type: string; shape: number[] }>(fixture.tensors).map(([name, { type, shape }]) => [name, { type, shape }]),
  );
  expect(found).toEqual(expected);
});

test("rows of each type are gguf-py's float32 values, bit for bit", () => {
  using file = openGguf(fixturePath);
  for (const [name, { float32 }] of Object.entries<{ float32?: string }>(fixture.tensors)) {
    if (float32 === undefined) continue;
    expect(readRows(file, name), name).toEqual(floatsOf(float32));
    expect(readRows(file, name, [1, 2]), name).toEqual(floatsOf(float32).subarray(64, 128));
  }
});

test("a type without a TypeScript conversion is refused by name, and a given conversion is used", () => {
  using file = openGguf(fixturePath);
  expect(() => readRows(file, "test.four_axes")).toThrow(UnsupportedError);
  const rows = readRows(file, "test.four_axes", [4, 6], (_type, bytes) =>
    Float32Array.from(new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)),
  );
  expect([...rows]).toEqual([16, 17, 18, 19, 20, 21, 22, 23]);
});

test("the TypeScript conversion refuses bytes that do not fit the shape", () => {
  expect(() => dequantize("q4_0", new Uint8Array(17), 1, 32)).toThrow(RangeError);
  expect(() => dequantize("q4_0", new Uint8Array(18), 1, 31)).toThrow(RangeError);
});

test("what is read and written again has gguf-py's bytes", async () => {
  using file = openGguf(fixturePath);
  const path = join(directory, "again.gguf");
  await writeGguf(path, {
    metadata: file.metadata,
    tensors: [...file.tensors.values()].map(({ name, type, shape, sizeBytes }) => ({
      name,
      type,
      shape,
      *data() {
        for (let at = 0; at < sizeBytes; at += 100) {
          const piece = new Uint8Array(Math.min(100, sizeBytes - at));
          file.readInto(name, piece, at);
          yield piece;
        }
      },
    })),
  });
  expect(readFileSync(path).equals(readFileSync(fixturePath))).toBe(true);
});

test("an alignment in the metadata is obeyed", async () => {
  const path = join(directory, "aligned.gguf");
  await writeGguf(path, {
    metadata: [["general.alignment", { type: "uint32", value: 256 }]],
    tensors: ["a", "b"].map((name, index) => ({ name, type: "i8", shape: [3], data: () => [Uint8Array.of(index, 1, 2)] })),
  });
  using file = openGguf(path);
  expect(file.alignment).toBe(256);
  expect([...file.tensors.values()].map(({ offset }) => offset)).toEqual([256, 512]);
  const bytes = new Uint8Array(3);
  file.readInto("b", bytes);
  expect([...bytes]).toEqual([1, 1, 2]);
});

test("a header-only copy has the tokenizer, no tensors and no key that names further files", async () => {
  const path = join(directory, "model.gguf");
  const tokens = ["a", "b\0", new Uint8Array([0xff])];
  await writeGguf(path, {
    metadata: [
      ["general.architecture", { type: "string", value: "llama" }],
      ["split.count", { type: "uint16", value: 3 }],
      ["general.alignment", { type: "uint32", value: 64 }],
      ["tokenizer.ggml.tokens", { type: "array", of: "string", value: StringArray.from(tokens) }],
    ],
    tensors: [{ name: "t", type: "f32", shape: [1], data: () => [new Uint8Array(4)] }],
  });
  using file = openGguf(path);
  const copyPath = join(directory, "vocabulary.gguf");
  headerOnlyCopy(file, copyPath);
  using copy = openGguf(copyPath);
  expect([...copy.metadata.keys()]).toEqual(["general.architecture", "tokenizer.ggml.tokens"]);
  expect(copy.tensors.size).toBe(0);
  const copied = copy.metadata.requireStrings("tokenizer.ggml.tokens");
  expect([0, 1, 2].map((index) => [...copied.bytesAt(index)])).toEqual([[97], [98, 0], [255]]);
});

test("data of the wrong size leave no file behind and an older one untouched", async () => {
  const path = join(directory, "kept.gguf");
  writeFileSync(path, "older");
  const tensors = [{ name: "t", type: "f32" as const, shape: [2], data: () => [new Uint8Array(4)] }];
  await expect(writeGguf(path, { metadata: [], tensors })).rejects.toThrow("t has 8 bytes, but its data are 4 bytes");
  expect(readFileSync(path, "utf8")).toBe("older");
  expect(readdirSync(directory).filter((name) => name.endsWith(".partial"))).toEqual([]);
});

test("values outside their type's range are not written", async () => {
  const metadata = [["a", { type: "uint8", value: 256 }]] as const;
  await expect(writeGguf(join(directory, "range.gguf"), { metadata, tensors: [] })).rejects.toThrow(RangeError);
});

test("a file that changes after it was opened is noticed", () => {
  const path = join(directory, "changing.gguf");
  copyFileSync(fixturePath, path);
  using longer = openGguf(path);
  longer.checkUnchanged();
  appendFileSync(path, "x");
  expect(() => longer.checkUnchanged()).toThrow(FormatError);
  using touched = openGguf(path);
  utimesSync(path, 1, 1);
  expect(() => touched.checkUnchanged()).toThrow("changed while it was read");
});

test("a tensor of a file cut short after opening is a FormatError", () => {
  const path = join(directory, "cut.gguf");
  copyFileSync(fixturePath, path);
  using file = openGguf(path);
  writeFileSync(path, readFileSync(fixturePath).subarray(0, file.tensor("test.four_axes").offset + 4));
  expect(() => file.readInto("test.four_axes", new Uint8Array(96))).toThrow("the file shrank while it was read");
});

test("bytes are read into memory the caller owns, within the tensor only", () => {
  using file = openGguf(fixturePath);
  const memory = new ArrayBuffer(128);
  file.readInto("test.four_axes", new Int32Array(memory, 16, 24));
  expect([...new Int32Array(memory, 16, 3)]).toEqual([0, 1, 2]);
  expect(() => file.readInto("test.four_axes", memory)).toThrow(RangeError);
  expect(() => file.readInto("test.four_axes", new Uint8Array(8), 90)).toThrow(RangeError);
});

test("a fingerprint tells two models apart that differ in one weight", async () => {
  const write = async (name: string, weight: number) => {
    const path = join(directory, name);
    await writeGguf(path, {
      metadata: [],
      tensors: [{ name: "t", type: "i8", shape: [1], data: () => [Uint8Array.of(weight)] }],
    });
    using file = openGguf(path);
    return file.fingerprint();
  };
  expect(await write("one.gguf", 1)).not.toBe(await write("two.gguf", 2));
  expect(await write("three.gguf", 1)).toBe(await write("four.gguf", 1));
});

test("a disposed file says so", () => {
  const file = openGguf(fixturePath);
  file[Symbol.dispose]();
  file[Symbol.dispose]();
  expect(() => file.readInto("test.f32", new Uint8Array(4))).toThrow(DisposedError);
});

test("missing files and folders are told apart", () => {
  expect(() => openGguf(join(directory, "nowhere.gguf"))).toThrow(NotFoundError);
  expect(() => openGguf(directory)).toThrow("is not a regular file");
});

test("typed getters name the key and what was expected", () => {
  using file = openGguf(fixturePath);
  const { metadata } = file;
  expect(metadata.requireString("general.architecture")).toBe("llama");
  expect(metadata.getNumber("absent")).toBeUndefined();
  expect(() => metadata.requireInteger("absent")).toThrow("the metadata lack the key absent");
  expect(() => metadata.requireString("test.uint8")).toThrow(/test\.uint8: is uint8, expected a string \(at byte \d+\)/);
  expect(() => metadata.getInteger("test.int8")).toThrow("test.int8: is -128, expected an integer in [0, 9007199254740991]");
  expect(() => metadata.getStrings("test.int32s")).toThrow("is an array of int32, expected an array of strings");
  expect(() => metadata.getNumbers("test.bools")).toThrow(FormatError);
  expect(() => metadata.getInteger("test.uint64")).toThrow(FormatError);
});
