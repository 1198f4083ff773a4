import { OptionError } from "../errors.ts";
import { backspaceKey } from "../tokenizer/index.ts";
import { type GgufFile, type MetadataValue, readRows, StringArray, type TensorToWrite, toFloat, writeGguf } from "../weights/index.ts";

const written = "<|backspace|>";

/**
 * A tokenizer's metadata with one token more, a control token behind all others that takes the last token back; as it is where it has one.
 * @throws OptionError where a token of that name is there already and means something else
 */
export function withBackspace(entries: Iterable<readonly [string, MetadataValue]>): [string, MetadataValue][] {
  const known = new Map(entries);
  if (known.has(backspaceKey)) return [...known];
  const tokens = known.get("tokenizer.ggml.tokens");
  if (tokens?.type !== "array" || tokens.of !== "string") throw new OptionError("vocabulary", "has no list of tokens");
  const texts = tokens.value as StringArray;
  const names = Array.from({ length: texts.length }, (_, id) => texts.bytesAt(id)); // not every token is UTF-8
  if (names.some((name) => Buffer.from(name).equals(Buffer.from(written))))
    throw new OptionError("vocabulary", `has a token ${written} that is not said to be a backspace`);
  known.set("tokenizer.ggml.tokens", { type: "array", of: "string", value: StringArray.from([...names, written]) });
  for (const [key, more] of [
    ["tokenizer.ggml.token_type", 3], // control
    ["tokenizer.ggml.scores", 0],
  ] as const) {
    const list = known.get(key);
    if (list?.type !== "array" || list.of === "string" || list.of === "bool") continue;
    const value = list.value.slice(0, names.length) as Int32Array; // of one kind or another: a copy has it
    const longer = new (value.constructor as typeof Int32Array)(names.length + 1);
    longer.set(value);
    longer[names.length] = more;
    known.set(key, { ...list, value: longer });
  }
  known.set(backspaceKey, { type: "uint32", value: names.length });
  return [...known];
}

/**
 * Writes a model file with a backspace token more: its row in the embedding, and in the head where that is a tensor of its own, is the mean of all
 * rows, so that it begins as a token about which nothing is known. These tensors are f32, everything else is as it was.
 */
export async function writeModelWithBackspace(path: string, base: GgufFile): Promise<void> {
  const metadata = new Map(withBackspace(base.metadata));
  const vocabSize = base.metadata.requireStrings("tokenizer.ggml.tokens").length + 1;
  const sizeKey = `${base.metadata.requireString("general.architecture")}.vocab_size`;
  if (metadata.has(sizeKey)) metadata.set(sizeKey, { type: "uint32", value: vocabSize });
  const tensors = [...base.tensors.values()].map(({ name, type, shape, sizeBytes }): TensorToWrite => {
    if (name !== "token_embd.weight" && name !== "output.weight") {
      const data = () => {
        const bytes = new Uint8Array(sizeBytes);
        base.readInto(name, bytes);
        return [bytes];
      };
      return { name, type, shape, data };
    }
    const [rows, columns] = shape as [number, number];
    const count = Math.max(rows, vocabSize); // files that pad their rows may have one free
    const data = () => {
      const values = new Float32Array(count * columns);
      values.set(readRows(base, name, undefined, toFloat));
      values.set(meanRow(values, vocabSize - 1, columns), (vocabSize - 1) * columns);
      return [new Uint8Array(values.buffer)];
    };
    return { name, type: "f32", shape: [count, columns], data };
  });
  await writeGguf(path, { metadata, tensors });
}

function meanRow(values: Float32Array, rows: number, columns: number): Float64Array {
  const mean = new Float64Array(columns);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1) mean[column]! += values[row * columns + column]! / rows;
  return mean;
}
