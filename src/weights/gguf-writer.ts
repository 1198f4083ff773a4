import { AtomicFile } from "./atomic-file.ts";
import type { GgufFile } from "./gguf-reader.ts";
import { metadataTypes, type TensorType, tensorBytes, tensorTypes } from "./gguf-types.ts";
import type { MetadataValue, NumberType } from "./metadata.ts";
import { asBytes } from "./open-file.ts";

/** A tensor to be written; its bytes come when its turn does, in pieces of any size, so that no model is ever held in memory. */
export interface TensorToWrite {
  readonly name: string;
  readonly type: TensorType;
  /** Outermost axis first. */
  readonly shape: readonly number[];
  data(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

export interface GgufToWrite {
  /** A `Metadata`, or any list of keys and values. `general.alignment` is obeyed. */
  readonly metadata: Iterable<readonly [string, MetadataValue]>;
  readonly tensors: readonly TensorToWrite[];
  /** Called after each tensor. */
  readonly onTensor?: (written: { name: string; index: number; count: number; sizeBytes: number }) => void;
}

/**
 * Writes a GGUF file, version 3. The file appears under its name only when it is complete.
 * @throws RangeError if a tensor's data has another size than its shape and type say
 */
export async function writeGguf(path: string, { metadata, tensors, onTensor }: GgufToWrite): Promise<void> {
  const entries = [...metadata];
  const alignment = alignmentOf(entries);
  const sizes = tensors.map(({ name, type, shape }) => checkedBytes(name, type, shape));
  const header = encodeHeader(
    entries.map(([key, value]) => encodeEntry(key, value)),
    describeTensors(tensors, sizes, alignment),
    tensors.length,
  );
  using file = new AtomicFile(path);
  file.write(header);
  if (tensors.length > 0) file.write(padding(header.length, alignment));
  for (const [index, tensor] of tensors.entries()) {
    let written = 0;
    for await (const bytes of tensor.data()) {
      written += bytes.length;
      file.write(bytes);
    }
    if (written !== sizes[index]) throw new RangeError(`${tensor.name} has ${sizes[index]} bytes, but its data are ${written} bytes`);
    file.write(padding(written, alignment));
    onTensor?.({ name: tensor.name, index, count: tensors.length, sizeBytes: written });
  }
  file.commit();
}

/**
 * What libllama's vocabulary loader reads (`llama_model_params.vocab_only`): the architecture, the name and the tokenizer. Keys
 * that would make it look for more are left out: `split.count` makes it open other files.
 */
function isVocabularyKey(key: string): boolean {
  return key === "general.architecture" || key === "general.name" || key.startsWith("tokenizer.ggml.");
}

/** A GGUF file in memory with chosen metadata of `file`, by default what a vocabulary loader needs, and no tensors. */
export function headerOnlyBytes(file: GgufFile, keep: (key: string) => boolean = isVocabularyKey): Uint8Array {
  const keys = [...file.metadata.keys()].filter(keep);
  return encodeHeader(
    keys.map((key) => file.rawMetadata(key)),
    [],
    0,
  );
}

/** {@link headerOnlyBytes} as a file at `path`, complete or not there. */
export function headerOnlyCopy(file: GgufFile, path: string, keep?: (key: string) => boolean): void {
  using copy = new AtomicFile(path);
  copy.write(headerOnlyBytes(file, keep));
  copy.commit();
}

function alignmentOf(entries: readonly (readonly [string, MetadataValue])[]): number {
  const value = entries.find(([key]) => key === "general.alignment")?.[1];
  if (value === undefined) return 32;
  if (value.type !== "uint32" || typeof value.value !== "number") throw new RangeError("general.alignment must be an uint32");
  return value.value;
}

function checkedBytes(name: string, type: TensorType, shape: readonly number[]): number {
  if (shape.length < 1 || shape.length > 4 || !shape.every((size) => Number.isSafeInteger(size) && size > 0)) {
    throw new RangeError(`${name} has shape [${shape.join(", ")}], expected 1 to 4 axes of at least 1`);
  }
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  return tensorBytes(type, rows, shape.at(-1)!);
}

function describeTensors(tensors: readonly TensorToWrite[], sizes: readonly number[], alignment: number): Uint8Array[] {
  let offset = 0;
  return tensors.map(({ name, type, shape }, index) => {
    const description = Buffer.concat([
      encodeString(name),
      uint32(shape.length),
      ...shape.map(uint64).reverse(), // innermost axis first
      uint32(tensorTypes[type].id),
      uint64(offset),
    ]);
    offset = Math.ceil((offset + sizes[index]!) / alignment) * alignment;
    return description;
  });
}

function encodeHeader(entries: readonly Uint8Array[], tensors: readonly Uint8Array[], tensorCount: number): Uint8Array {
  return Buffer.concat([Buffer.from("GGUF"), uint32(3), uint64(tensorCount), uint64(entries.length), ...entries, ...tensors]);
}

function encodeEntry(key: string, entry: MetadataValue): Uint8Array {
  return Buffer.concat([encodeString(key), uint32(metadataTypes[entry.type].id), ...encodeValue(entry)]);
}

function encodeValue(entry: MetadataValue): Uint8Array[] {
  switch (entry.type) {
    case "string":
      return [encodeString(entry.value)];
    case "bool":
      return [Uint8Array.of(entry.value ? 1 : 0)];
    case "array": {
      const values = entry.of === "string" ? entry.value.packed() : asBytes(entry.value);
      return [uint32(metadataTypes[entry.of].id), uint64(entry.value.length), values];
    }
    default:
      return [encodeNumber(entry.type, entry.value)];
  }
}

/** Each refuses, with a RangeError, a value outside its type's range. */
const writeNumber = {
  uint8: (bytes, value) => bytes.writeUInt8(Number(value)),
  int8: (bytes, value) => bytes.writeInt8(Number(value)),
  uint16: (bytes, value) => bytes.writeUInt16LE(Number(value)),
  int16: (bytes, value) => bytes.writeInt16LE(Number(value)),
  uint32: (bytes, value) => bytes.writeUInt32LE(Number(value)),
  int32: (bytes, value) => bytes.writeInt32LE(Number(value)),
  float32: (bytes, value) => bytes.writeFloatLE(Number(value)),
  float64: (bytes, value) => bytes.writeDoubleLE(Number(value)),
  uint64: (bytes, value) => bytes.writeBigUInt64LE(BigInt(value)),
  int64: (bytes, value) => bytes.writeBigInt64LE(BigInt(value)),
} as const satisfies Record<NumberType, (bytes: Buffer, value: number | bigint) => number>;

function encodeNumber(type: NumberType, value: number | bigint): Uint8Array {
  const bytes = Buffer.alloc(metadataTypes[type].bytes);
  writeNumber[type](bytes, value);
  return bytes;
}

function encodeString(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

const uint32 = (value: number) => encodeNumber("uint32", value);
const uint64 = (value: number) => encodeNumber("uint64", value);

function padding(length: number, alignment: number): Uint8Array {
  return new Uint8Array(Math.ceil(length / alignment) * alignment - length);
}
