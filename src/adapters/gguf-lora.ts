import { FormatError, UnsupportedError } from "../errors.ts";
import { type MetadataValue, openGguf, readRows, type TensorToWrite, toFloat, writeGguf } from "../weights/index.ts";
import { type Adapter, checkAdapter } from "./adapter.ts";
import type { AdapterBase } from "./base.ts";

/**
 * Reads a LoRA as llama.cpp keeps it: one GGUF file with `<tensor>.lora_a` [rank, C] and `<tensor>.lora_b` [N, rank].
 * @throws FormatError, UnsupportedError for other kinds of adapters
 * @see llama.cpp, src/llama-adapter.cpp
 */
export function readGgufLora(path: string, base: AdapterBase): Adapter {
  using file = openGguf(path);
  const { metadata } = file;
  const expect = (key: string, wanted: string) => {
    const value = metadata.requireString(key);
    if (value !== wanted) throw new FormatError(path, `${key} is ${JSON.stringify(value)}, expected ${JSON.stringify(wanted)}`);
  };
  expect("general.type", "adapter");
  expect("adapter.type", "lora");
  expect("general.architecture", base.architecture);
  if (metadata.has("adapter.alora.invocation_tokens"))
    throw new UnsupportedError(`${path}: adapter.alora.invocation_tokens, an adapter that begins at certain tokens, is not supported`);
  const alpha = metadata.getNumber("adapter.lora.alpha");
  if (alpha === undefined || !Number.isFinite(alpha)) throw new FormatError(path, `adapter.lora.alpha must be a number, got ${alpha}`);
  const parts = new Map<string, { a?: string; b?: string }>();
  for (const name of file.tensors.keys()) {
    const [, target, side] = /^(.+)\.weight\.lora_([ab])$/.exec(name) ?? [];
    if (target === undefined || base.place("lora", target) === undefined)
      throw new FormatError(path, `${name} adapts no linear layer of ${base.file}'s blocks`);
    parts.set(target, { ...parts.get(target), [side!]: name });
  }
  const matrix = (name: string | undefined, target: string) => {
    if (name === undefined) throw new FormatError(path, `${target} has one of its two matrices only`);
    const { shape } = file.tensor(name);
    if (shape.length !== 2) throw new FormatError(path, `${name} has shape [${shape.join(", ")}], expected two axes`);
    return { rows: shape[0]!, columns: shape[1]!, values: readRows(file, name, [0, shape[0]!], toFloat) };
  };
  const adapter = {
    form: "lora" as const,
    activation: undefined,
    parts: [...parts].map(([target, { a, b }]) => {
      const [down, up] = [matrix(a, target), matrix(b, target)];
      if (down.rows !== up.columns)
        throw new FormatError(path, `the matrices of ${target} have ranks ${down.rows} and ${up.columns}, which must be equal`);
      const scale = alpha === 0 ? 1 : alpha / down.rows; // as llama.cpp reads it
      return { target, rank: down.rows, inputs: down.columns, outputs: up.rows, scale, down: down.values, up: up.values };
    }),
  };
  checkAdapter(path, base, adapter);
  file.checkUnchanged();
  return adapter;
}

/**
 * Writes a LoRA as llama.cpp loads it (`--lora`). The format has one alpha: a part that has another gets the difference into its matrix.
 * @throws UnsupportedError for series and parallel adapters, which the format has not
 */
export async function writeGgufLora(path: string, base: AdapterBase, { form, parts }: Adapter): Promise<void> {
  if (form !== "lora") throw new UnsupportedError(`llama.cpp has no ${form} adapters; save it in PEFT's layout`);
  const text = (value: string): MetadataValue => ({ type: "string", value });
  const alpha = parts[0]!.scale * parts[0]!.rank;
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => [new Uint8Array(buffer, byteOffset, byteLength)];
  const tensors = parts.flatMap(({ target, rank, inputs, outputs, scale, down, up }): TensorToWrite[] => {
    const factor = (scale * rank) / alpha;
    const values = factor === 1 ? up : up.map((value) => value * factor);
    return [
      { name: `${target}.weight.lora_a`, type: "f32", shape: [rank, inputs], data: () => bytes(down) },
      { name: `${target}.weight.lora_b`, type: "f32", shape: [outputs, rank], data: () => bytes(values) },
    ];
  });
  const metadata: [string, MetadataValue][] = [
    ["general.architecture", text(base.architecture)],
    ["general.type", text("adapter")],
    ["general.name", text(`LoRA for ${base.name}`)],
    ["adapter.type", text("lora")],
    ["adapter.lora.alpha", { type: "float32", value: alpha }],
  ];
  await writeGguf(path, { metadata, tensors });
}
