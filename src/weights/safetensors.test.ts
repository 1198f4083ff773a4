import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError, NotFoundError } from "../errors.ts";
import { openSafetensors, safetensorsTypes, writeSafetensors } from "./safetensors.ts";

const fixturePath = fileURLToPath(new URL("./fixtures/small.fixture.safetensors", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "chainrule-safetensors-"));
afterAll(() => rmSync(directory, { recursive: true }));
const path = join(directory, "file.safetensors");

function build(header: string | object, dataBytes = 0, length?: bigint): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([size, json, Buffer.alloc(dataBytes)]);
}

function open(bytes: Uint8Array): FormatError | "opened" {
  writeFileSync(path, bytes);
  try {
    using file = openSafetensors(path);
    let end = 0;
    for (const { name, type, shape, offset, sizeBytes } of file.tensors.values()) {
      expect(BigInt(sizeBytes)).toBe(shape.reduce((product, size) => product * BigInt(size), BigInt(safetensorsTypes[type])));
      expect(offset).toBeGreaterThanOrEqual(end);
      end = offset + sizeBytes;
      file.readInto(name, new Uint8Array(sizeBytes));
    }
    expect(end).toBeLessThanOrEqual(bytes.length);
    return "opened";
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.offset).toBeLessThanOrEqual(bytes.length);
    return error;
  }
}

test("a file of the reference implementation is read", () => {
  using file = openSafetensors(fixturePath);
  expect(Object.fromEntries(file.metadata)).toEqual({ format: "np", größe: "ü" });
  const found = Object.fromEntries([...file.tensors.values()].map(({ name, type, shape }) => [name, { type, shape }]));
  expect(found).toEqual({
    weight: { type: "F32", shape: [2, 3] },
    half: { type: "F16", shape: [2] },
    ids: { type: "I64", shape: [2] },
    scalar: { type: "U8", shape: [] },
    empty: { type: "F32", shape: [0, 4] },
  });
  const weight = new Float32Array(3);
  file.readInto("weight", weight, 12);
  expect([...weight]).toEqual([3, 4, 5]);
  const ids = new BigInt64Array(2);
  file.readInto("ids", ids);
  expect([...ids]).toEqual([2n ** 40n, -1n]);
  expect(() => file.readInto("weight", new Uint8Array(25))).toThrow(RangeError);
  expect(() => file.tensor("none")).toThrow(FormatError);
  file.checkUnchanged();
});

test("what is read and written again has the reference implementation's bytes", () => {
  using file = openSafetensors(fixturePath);
  const tensors = [...file.tensors.values()].map(({ name, type, shape, sizeBytes }) => {
    const data = new Uint8Array(sizeBytes);
    file.readInto(name, data);
    return { name, type, shape, data };
  });
  writeSafetensors(path, { metadata: Object.fromEntries(file.metadata), tensors });
  expect(readFileSync(path).equals(readFileSync(fixturePath))).toBe(true);
});

test("wrong sizes and repeated names are not written", () => {
  const tensor = { name: "a", type: "F32" as const, shape: [2], data: new Float32Array(2) };
  expect(() => writeSafetensors(path, { tensors: [tensor, tensor] })).toThrow("the name a is taken");
  expect(() => writeSafetensors(path, { tensors: [{ ...tensor, shape: [3] }] })).toThrow(RangeError);
});

describe("is refused:", () => {
  const tensor = (from: number, to: number, shape: readonly unknown[] = [(to - from) / 4], dtype = "F32") => ({
    dtype,
    shape,
    data_offsets: [from, to],
  });
  const cases: readonly [string, Buffer, RegExp][] = [
    ["an empty file", Buffer.alloc(0), /only 0 bytes/],
    ["an HTML page", Buffer.from("<!DOCTYPE html><html></html>"), /not a safetensors file/],
    ["a header of 2^63 bytes", build("{}", 0, 2n ** 63n), /header's length is 9223372036854775808/],
    ["a header longer than the file", build("{}", 0, 3n), /header's length is 3, the file has 10 bytes/],
    ["a list", build("[]"), /no JSON object/],
    ["broken JSON", build('{"a"'), /not JSON/],
    ["a header that is not UTF-8", Buffer.concat([build("{", 0, 5n), Buffer.of(0x22, 0xff, 0x22, 0x7d)]), /not JSON in UTF-8/],
    ["a repeated name", build(`{"a":${JSON.stringify(tensor(0, 4))},"a":${JSON.stringify(tensor(0, 4))}}`, 4), /same name twice/],
    ["deep nesting", build(`{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`), /nested too deeply/],
    ["millions of values", build(`{"a":[${"0,".repeat(2 ** 20 + 1)}0]}`), /more than 1048576 values/],
    ["an unknown type", build({ a: tensor(0, 4, [1], "Q4_0") }, 4), /has type "Q4_0"/],
    ["an inherited name as type", build({ a: tensor(0, 4, [1], "toString") }, 4), /has type "toString"/],
    ["an unknown field", build({ a: { ...tensor(0, 4), order: 1 } }, 4), /unknown field "order"/],
    ["a fractional size", build({ a: tensor(0, 4, [0.5, 2]) }, 4), /no list of sizes/],
    ["a negative size", build({ a: tensor(0, 4, [-1, -1]) }, 4), /no list of sizes/],
    ["a shape of strings", build({ a: tensor(0, 4, ["1"]) }, 4), /no list of sizes/],
    ["a product beyond 64 bits", build({ a: tensor(0, 0, [2 ** 32, 2 ** 32]) }), /but has 0 bytes/],
    ["bytes that do not fit the shape", build({ a: tensor(0, 8, [1]) }, 8), /F32 \[1\] but has 8 bytes/],
    ["a backward range", build({ a: tensor(4, 0, [1]) }, 4), /no range/],
    ["a gap", build({ a: tensor(0, 4), b: tensor(8, 12) }, 12), /"b" begin at byte \d+, expected/],
    ["an overlap", build({ a: tensor(0, 8), b: tensor(4, 12) }, 12), /"b" begin at byte/],
    ["missing data", build({ a: tensor(0, 8) }, 4), /data end at byte/],
    ["surplus data", build({ a: tensor(0, 8) }, 12), /data end at byte/],
    ["metadata that are no strings", build({ __metadata__: { a: 1 } }), /metadata "a" are no string/],
    ["a tensor that is null", build({ a: null }), /"a" is no object/],
  ];
  test.each(cases)("%s", (_name, bytes, message) => {
    const error = open(bytes);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
  });
});

test("a mutated file gives a typed error or a file that holds what it says", { timeout: 3_600_000 }, () => {
  const original = readFileSync(fixturePath);
  const runs = process.env.CHAINRULE_SOAK ? 20_000 : 200;
  let refused = 0;
  const change = fc.record({
    at: fc.nat(original.length - 1),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]",:0129'))),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), fc.option(fc.nat(original.length), { freq: 5 }), (changes, cut) => {
      const bytes = Buffer.from(original);
      for (const { at, byte } of changes) bytes[at] = byte;
      if (open(cut === null ? bytes : bytes.subarray(0, cut)) !== "opened") refused++;
    }),
    { numRuns: runs },
  );
  expect(refused).toBeGreaterThan(runs / 4);
});

test("a missing file is told apart, and a change after opening is noticed", () => {
  expect(() => openSafetensors(join(directory, "none"))).toThrow(NotFoundError);
  copyFileSync(fixturePath, path);
  using file = openSafetensors(path);
  writeFileSync(path, "");
  expect(() => file.readInto("weight", new Float32Array(6))).toThrow("the file shrank while it was read");
});
