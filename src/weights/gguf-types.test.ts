import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { typeIds } from "../ggml/index.ts";
import { metadataTypes, removedTensorTypes, tensorBytes, tensorTypeById, tensorTypes } from "./gguf-types.ts";

const fixture = JSON.parse(readFileSync(new URL("./fixtures/tensor-types.fixture.json", import.meta.url), "utf8"));

test("tensor types have gguf-py's numbers, block sizes and bytes, and none is missing", () => {
  const ours = Object.entries(tensorTypes).map(([name, layout]) => ({ name, ...layout }));
  const theirs = [...fixture.tensorTypes].sort((a, b) => a.id - b.id);
  expect(ours).toEqual(theirs);
});

test("metadata types have gguf-py's numbers, and none is missing", () => {
  const ours = Object.entries(metadataTypes).map(([name, { id }]) => ({ name, id }));
  expect(ours).toEqual(fixture.metadataTypes);
});

test("every number below ggml's count is a type or a removed one", () => {
  for (let id = 0; id <= 42; id++) expect(tensorTypeById.has(id) !== removedTensorTypes.has(id)).toBe(true);
});

test("a row must be whole blocks", () => {
  expect(tensorBytes("q4_0", 2, 64)).toBe(72); // 2 rows of 2 blocks of 18 bytes
  expect(() => tensorBytes("q4_0", 2, 65)).toThrow(RangeError);
});

test("the file's type numbers are the native layer's", () => {
  expect(Object.fromEntries(Object.entries(tensorTypes).map(([name, { id }]) => [name, id]))).toEqual(typeIds);
});
