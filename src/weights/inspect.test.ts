import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { FormatError, OptionError } from "../errors.ts";
import { writeGguf } from "./gguf-writer.ts";
import { inspectFile } from "./inspect.ts";
import type { MetadataValue } from "./metadata.ts";

const directory = mkdtempSync(join(tmpdir(), "chainrule-inspect-"));
afterAll(() => rmSync(directory, { recursive: true }));
const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

const uint32 = (value: number): MetadataValue => ({ type: "uint32", value });
const uint32s = (values: readonly number[]): MetadataValue => ({ type: "array", of: "uint32", value: Uint32Array.from(values) });

async function plan(architecture: string, sizes: Record<string, MetadataValue>, context?: number) {
  const path = join(directory, "model.gguf");
  await writeGguf(path, {
    metadata: [
      ["general.architecture", { type: "string", value: architecture }],
      ...Object.entries(sizes).map(([name, value]) => [`${architecture}.${name}`, value] as const),
    ],
    tensors: [{ name: "w", type: "q4_0", shape: [2, 64], data: () => [new Uint8Array(72)] }],
  });
  return inspectFile(path, { memory: true, ...(context === undefined ? {} : { context }) }).memory;
}

test("a GGUF file is described with its types in order of size", () => {
  const { metadata, tensors, ...facts } = inspectFile(fixture("small.fixture.gguf"));
  expect(facts).toMatchObject({ format: "gguf", sizeBytes: 3552, version: 3, alignment: 32, elementCount: 8 * 192 + 24 });
  expect(facts.types[0]).toEqual({ type: "f32", tensors: 1, elements: 192, sizeBytes: 768 });
  expect(facts.types.find(({ type }) => type === "q5_1")).toEqual({ type: "q5_1", tensors: 1, elements: 192, sizeBytes: 144 });
  expect(tensors.find(({ name }) => name === "test.four_axes")).toMatchObject({ shape: [2, 3, 1, 4], type: "i32", sizeBytes: 96 });
  expect(metadata["test.uint64"]).toEqual({ type: "uint64", value: "18446744073709551615" });
  expect(metadata["test.bools"]).toEqual({ type: "array of bool", value: { of: "bool", length: 2, first: [true, false] } });
});

test("a description survives JSON", () => {
  const inspection = inspectFile(fixture("small.fixture.gguf"));
  expect(JSON.parse(JSON.stringify(inspection))).toEqual(inspection);
});

test("a safetensors file is described", () => {
  const inspection = inspectFile(fixture("small.fixture.safetensors"));
  expect(inspection).toMatchObject({ format: "safetensors", elementCount: 11, metadata: { format: { value: "np" } } });
  expect(inspection.types[0]).toEqual({ type: "F32", tensors: 2, elements: 6, sizeBytes: 24 });
});

test("the memory plan is blocks x key-value heads x (key + value size) x 2 bytes a token", async () => {
  const smollm2 = {
    block_count: uint32(30),
    context_length: uint32(8192),
    embedding_length: uint32(576),
    "attention.head_count": uint32(9),
    "attention.head_count_kv": uint32(3),
  };
  const perToken = 30 * 3 * (64 + 64) * 2;
  expect(await plan("llama", smollm2)).toEqual({
    weightsBytes: 72,
    context: 8192,
    cacheBytesPerToken: perToken,
    cacheBytes: 8192 * perToken,
    cacheType: "f16",
  });
  expect((await plan("llama", smollm2, 100))?.cacheBytes).toBe(100 * perToken);
});

test("the memory plan obeys head sizes and head counts per block", async () => {
  const sizes = {
    block_count: uint32(2),
    "attention.head_count": uint32(4),
    "attention.head_count_kv": uint32s([1, 0]),
    "attention.key_length": uint32(256),
    "attention.value_length": uint32(128),
  };
  expect((await plan("gemma3", sizes, 1))?.cacheBytesPerToken).toBe(1 * (256 + 128) * 2);
});

test("impossible or missing sizes are refused with the key named", async () => {
  await expect(plan("llama", {}, 1)).rejects.toThrow("the metadata lack the key llama.block_count");
  const heads = { block_count: uint32(2), "attention.head_count": uint32(4), embedding_length: uint32(64) };
  await expect(plan("llama", heads)).rejects.toThrow("llama.context_length");
  await expect(plan("llama", { ...heads, "attention.head_count_kv": uint32s([1]) }, 1)).rejects.toThrow("has 1 values for 2 blocks");
  await expect(plan("llama", { ...heads, block_count: uint32(2 ** 31) }, 1)).rejects.toThrow(FormatError);
  await expect(plan("llama", heads, Number.NaN)).rejects.toThrow(OptionError);
});

test("options without effect are refused", () => {
  expect(() => inspectFile(fixture("small.fixture.gguf"), { context: 5 })).toThrow(OptionError);
  expect(() => inspectFile(fixture("small.fixture.safetensors"), { memory: true })).toThrow(OptionError);
});
