import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FormatError, OptionError, UnsupportedError } from "../../src/errors.ts";
import {
  dequantize,
  openGguf,
  quantize,
  readRows,
  type TensorToWrite,
  type TensorType,
  tensorBytes,
  toFloat,
  writeGguf,
} from "../../src/weights/index.ts";

const directory = mkdtempSync(join(tmpdir(), "chainrule-quantize-"));
afterAll(() => rmSync(directory, { recursive: true }));
const input = join(directory, "in.gguf");
const output = join(directory, "out.gguf");

/** Values of no pattern, the same in every run. */
function values(count: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const f32 = (name: string, shape: readonly number[], data = values(shape.reduce((a, b) => a * b, 1))): TensorToWrite => ({
  name,
  type: "f32",
  shape,
  data: () => [new Uint8Array(data.buffer)],
});

async function write(...tensors: readonly TensorToWrite[]) {
  await writeGguf(input, { metadata: [["general.architecture", { type: "string", value: "llama" }]], tensors });
}

async function typesAfter(type: string, keep?: readonly string[]) {
  const plan = await quantize(input, output, { type, keep });
  using file = openGguf(output);
  const types = Object.fromEntries([...file.tensors.values()].map((tensor) => [tensor.name, tensor.type]));
  expect(types).toEqual(Object.fromEntries(plan.map(({ name, to }) => [name, to])));
  return types;
}

/** Q4_0 by its definition: 32 values share d = the value of largest magnitude / -8; codes are x / d + 8.5 cut to an integer. */
function q4Codes(block: Float32Array): number[] {
  let extreme = 0;
  for (const value of block) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  const d = Math.fround(extreme / -8);
  const inverse = d === 0 ? 0 : Math.fround(1 / d);
  return [...block].map((value) => Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5))));
}

test("q4_0 blocks are those of the type's definition", async () => {
  await write(f32("blk.0.attn_q.weight", [4, 64]));
  await quantize(input, output, { type: "q4_0" });
  using before = openGguf(input);
  using after = openGguf(output);
  const floats = readRows(before, "blk.0.attn_q.weight");
  const bytes = new Uint8Array(4 * 36);
  after.readInto("blk.0.attn_q.weight", bytes);
  for (let block = 0; block < 8; block++) {
    const pairs = bytes.subarray(block * 18 + 2, block * 18 + 18);
    const codes = [...[...pairs].map((pair) => pair & 15), ...[...pairs].map((pair) => pair >> 4)];
    expect(codes).toEqual(q4Codes(floats.subarray(block * 32, block * 32 + 32)));
  }
});

test("norms, biases and kept tensors stay, the output matrix gets a larger type", async () => {
  await write(
    f32("token_embd.weight", [8, 576]),
    f32("blk.0.attn_norm.weight", [576]),
    f32("blk.0.attn_q.weight", [2, 576]),
    f32("blk.0.attn_q.bias", [576]),
    f32("blk.0.attn_v.weight", [2, 576]),
    f32("blk.0.ffn_down.weight", [3, 36]),
  );
  expect(await typesAfter("q4_0", ["attn_v"])).toEqual({
    "token_embd.weight": "q8_0", // serves as output matrix too; 576 is no multiple of 256
    "blk.0.attn_norm.weight": "f32",
    "blk.0.attn_q.weight": "q4_0",
    "blk.0.attn_q.bias": "f32",
    "blk.0.attn_v.weight": "f32",
    "blk.0.ffn_down.weight": "f16", // rows of 36
  });
  expect((await typesAfter("q4_k"))["blk.0.attn_q.weight"]).toBe("q5_0");
});

test("with an output matrix of its own the embedding gets the type asked for", async () => {
  await write(f32("token_embd.weight", [8, 256]), f32("output.weight", [8, 256]), f32("blk.0.attn_q.weight", [2, 256]));
  expect(await typesAfter("q4_k")).toEqual({ "token_embd.weight": "q4_k", "output.weight": "q6_k", "blk.0.attn_q.weight": "q4_k" });
});

test("the metadata are copied and name the new type", async () => {
  await write(f32("a.weight", [2, 32]));
  await quantize(input, output, { type: "q8_0" });
  using file = openGguf(output);
  expect(file.metadata.requireString("general.architecture")).toBe("llama");
  expect(file.metadata.requireInteger("general.file_type")).toBe(7);
  expect(file.metadata.requireInteger("general.quantization_version")).toBe(2);
});

test.each(["f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"] as const)("our %s values are ggml's, bit for bit", (type) => {
  const bytes = Uint8Array.from(values(tensorBytes(type, 4, 64)), (value) => Math.floor((value + 1) * 128));
  if (type !== "f16" && type !== "bf16")
    for (let at = 1; at < bytes.length; at += 2) bytes[at]! &= 0xbb; // scales stay finite
  else for (let at = 1; at < bytes.length; at += 2) bytes[at]! &= 0x3f;
  expect(dequantize(type, bytes, 4, 64)).toEqual(toFloat(type, bytes, 4, 64));
});

test.each(["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "q8_0", "q5_1"] satisfies TensorType[])(
  "%s comes back within the error its bits allow",
  async (type) => {
    await write(f32("blk.0.w.weight", [4, 256]));
    await quantize(input, output, { type });
    using before = openGguf(input);
    using after = openGguf(output);
    const expected = readRows(before, "blk.0.w.weight");
    const actual = readRows(after, "blk.0.w.weight", undefined, toFloat);
    const meanSquare = expected.reduce((sum, value, index) => sum + (value - actual[index]!) ** 2, 0) / expected.length;
    // A uniform quantizer of b bits on [-1, 1] has a mean squared error of step² / 12, step = 2 / 2^b; twice that for coarse scales.
    const bits = Number(/\d/.exec(type)![0]);
    expect(meanSquare).toBeLessThan((2 * (2 / 2 ** bits) ** 2) / 12);
  },
);

test("what can't be done is refused by name and leaves no file", async () => {
  await write(f32("a.weight", [2, 32]));
  await expect(quantize(input, output, { type: "q4_9" })).rejects.toThrow(OptionError);
  await expect(quantize(input, output, { type: "iq2_xxs" })).rejects.toThrow(/these are known: f32/);
  await expect(quantize(input, input, { type: "q4_0" })).rejects.toThrow("output: is the input file");
  await expect(quantize(input, output, { type: "q4_0", keep: ["b"] })).rejects.toThrow('keep: no tensor\'s name contains "b"');
  rmSync(output, { force: true });
  await write(f32("a.weight", [2, 32], values(64).fill(Number.NaN, 40, 41)));
  const refused = quantize(input, output, { type: "q4_0" });
  await expect(refused).rejects.toThrow(FormatError);
  await expect(refused).rejects.toThrow("a.weight has the value NaN in row 1");
  expect(() => readFileSync(output)).toThrow("ENOENT");
  await writeGguf(input, {
    metadata: [],
    tensors: [{ name: "ids.weight", type: "i32", shape: [2, 32], data: () => [new Uint8Array(256)] }],
  });
  await expect(quantize(input, output, { type: "q4_0" })).rejects.toThrow(UnsupportedError);
});

test("an abort ends the work and leaves no file", async () => {
  await write(f32("a.weight", [2, 32]));
  rmSync(output, { force: true });
  await expect(quantize(input, output, { type: "q4_0", signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
  expect(() => readFileSync(output)).toThrow("ENOENT");
});
