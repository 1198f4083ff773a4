import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { FormatError } from "../errors.ts";
import { metadataTypeById, metadataTypes, removedTensorTypes, type TensorType, tensorTypeById, tensorTypes } from "./gguf-types.ts";
import { HeaderCursor, maxHeaderBytes } from "./header-cursor.ts";
import { Metadata, type MetadataValue, type NumberType, numberArrays } from "./metadata.ts";
import { asBytes, OpenFile } from "./open-file.ts";

const maxKeys = 65_536; // real files have about 50; with the names' bytes this bounds what a small header can make us allocate
const maxTensors = 65_536; // the largest mixture-of-experts files have about 2,000
const maxKeyBytes = 65_535; // GGUF specification
const maxTensorNameBytes = 63; // ggml's GGML_MAX_NAME with its terminator
const defaultAlignment = 32;
const maxAlignment = 1 << 20;
const fingerprintSampleBytes = 4096;

/** Where a tensor lies in its file. */
export interface TensorInfo {
  readonly name: string;
  readonly type: TensorType;
  /** Outermost axis first; at least one axis, every size at least 1. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * An open GGUF file whose header has been checked: every count, length, type, shape and offset is in range, no tensor overlaps
 * another or reaches beyond the file. Holds one file descriptor until it is disposed of.
 */
export class GgufFile implements Disposable {
  readonly path: string;
  /** 2 or 3. */
  readonly version: number;
  readonly metadata: Metadata;
  /** In the file's order. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly sizeBytes: number;
  /** Bytes from the magic number to the end of the last tensor's description. */
  readonly headerBytes: number;
  readonly alignment: number;
  readonly #file: OpenFile;
  readonly #header: HeaderCursor;
  readonly #ranges: ReadonlyMap<string, Range>;
  #fingerprint: string | undefined;

  constructor(file: OpenFile, header: Header) {
    this.#file = file;
    this.#header = header.cursor;
    this.#ranges = header.ranges;
    this.path = file.path;
    this.sizeBytes = file.sizeBytes;
    this.version = header.version;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
    this.alignment = header.alignment;
    this.headerBytes = header.cursor.position;
  }

  /** @throws FormatError if the file has no such tensor */
  tensor(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info === undefined) throw new FormatError(this.path, `has no tensor ${name}`);
    return info;
  }

  /**
   * Reads bytes of a tensor straight into memory of the caller, which may lie in a native buffer: the whole tensor, or as many
   * bytes as `target` has from byte `start` of the tensor on.
   * @throws RangeError if that is more than the tensor has, FormatError if the file was cut short meanwhile, DisposedError
   */
  readInto(name: string, target: ArrayBufferView | ArrayBufferLike, start = 0): void {
    const { offset, sizeBytes } = this.tensor(name);
    const bytes = asBytes(target);
    if (!Number.isSafeInteger(start) || start < 0 || start + bytes.length > sizeBytes) {
      throw new RangeError(`bytes [${start}, ${start + bytes.length}) of ${name}, which has ${sizeBytes}`);
    }
    this.#file.readInto(bytes, offset + start);
  }

  /** @throws FormatError if the file's size or time of modification is another than when it was opened */
  checkUnchanged(): void {
    this.#file.checkUnchanged();
  }

  /**
   * SHA-256, in hexadecimal, over the header, the file's size and the first 4 KiB of each tensor: tells models apart in
   * milliseconds, for caches and saved sessions. It does not prove that the file is unaltered.
   */
  fingerprint(): string {
    if (this.#fingerprint !== undefined) return this.#fingerprint;
    const hash = createHash("sha256").update(this.#header.bytes.subarray(0, this.headerBytes)).update(`${this.sizeBytes}`);
    for (const { name, sizeBytes } of this.tensors.values()) {
      const sample = new Uint8Array(Math.min(sizeBytes, fingerprintSampleBytes));
      this.readInto(name, sample);
      hash.update(sample);
    }
    this.#fingerprint = hash.digest("hex");
    return this.#fingerprint;
  }

  /** A key and its value as they lie in the file. For copying. @throws FormatError if the key is absent */
  rawMetadata(key: string): Uint8Array {
    const range = this.#ranges.get(key);
    if (range === undefined) throw new FormatError(this.path, `the metadata lack the key ${key}`);
    return this.#header.bytes.subarray(range.start, range.end);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/**
 * Opens a GGUF file (version 2 or 3, little-endian) and checks its header. Reads no tensor data. Never allocates more than
 * four times the file's size and 64 MB.
 *
 * @throws FormatError with the offset at which the file stops being one; NotFoundError if there is no file
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export function openGguf(path: string): GgufFile {
  const file = new OpenFile(path);
  try {
    return new GgufFile(file, readHeader(new HeaderCursor(file.descriptor, path, file.sizeBytes)));
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

interface Range {
  readonly start: number;
  readonly end: number;
}

interface Header {
  readonly version: number;
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly alignment: number;
  readonly cursor: HeaderCursor;
  /** Each metadata entry, key included. */
  readonly ranges: ReadonlyMap<string, Range>;
}

function readHeader(cursor: HeaderCursor): Header {
  const version = readVersion(cursor);
  const tensorCount = readCount(cursor, "tensor count", maxTensors, 33); // least bytes of a tensor's description: 8+1+4+8+4+8
  const keyCount = readCount(cursor, "metadata count", maxKeys, 14); // 8+1+4+1
  const { metadata, ranges } = readMetadata(cursor, keyCount);
  const alignment = readAlignment(metadata);
  const tensors = readTensors(cursor, tensorCount, alignment);
  return { version, metadata, tensors, alignment, cursor, ranges };
}

function readVersion(cursor: HeaderCursor): number {
  if (cursor.sizeBytes === 0) throw cursor.error("the file is empty");
  if (cursor.sizeBytes < 24) throw cursor.error(`the file has only ${cursor.sizeBytes} bytes, less than a GGUF header`);
  const magic = cursor.skip(4, "the magic number");
  if (cursor.bytes.toString("latin1", magic, magic + 4) !== "GGUF") throw cursor.error(notGguf(cursor.bytes), magic);
  const version = cursor.uint32("the version");
  if (version === 2 || version === 3) return version;
  if (version === 1) throw cursor.error("GGUF version 1 is no longer read; convert the file again", 4);
  if ((version & 0xffff) === 0) throw cursor.error("this is a big-endian GGUF file; only little-endian ones are read", 4);
  throw cursor.error(`GGUF version ${version} is not known; versions 2 and 3 are read`, 4);
}

/** What a file that lacks the magic number most likely is instead. */
function notGguf(bytes: Buffer): string {
  const start = bytes.toString("latin1", 0, Math.min(bytes.length, 64)).trimStart().toLowerCase();
  if (start.startsWith("<")) return "is an HTML or XML page, not a GGUF file; the download went wrong";
  if (start.startsWith("version https://git-lfs")) return "is a Git LFS pointer, not the GGUF file it stands for";
  if (start.startsWith("pk")) return "is a ZIP archive, not a GGUF file";
  if (/^(lmgg|tjgg|fmgg)/.test(start)) return "is a GGML file of before GGUF; convert the model again";
  if (bytes[8] === 0x7b) return "looks like a safetensors file, not a GGUF file";
  return "is not a GGUF file: it does not begin with GGUF";
}

function readCount(cursor: HeaderCursor, what: string, limit: number, leastBytes: number): number {
  const count = cursor.uint64(`the ${what}`, limit);
  if (count * leastBytes > cursor.sizeBytes) throw cursor.error(`a ${what} of ${count} does not fit into the file`, cursor.position - 8);
  return count;
}

function readName(cursor: HeaderCursor, what: string, maxBytes: number): string {
  const at = cursor.position;
  const { start, end } = cursor.string(`the name of ${what}`, maxBytes);
  const bytes = cursor.bytes.subarray(start, end);
  if (bytes.length === 0) throw cursor.error(`the name of ${what} is empty`, at);
  if (bytes.includes(0) || !isUtf8(bytes)) throw cursor.error(`the name of ${what} is not text`, at);
  return bytes.toString("utf8");
}

function readMetadata(cursor: HeaderCursor, count: number): { metadata: Metadata; ranges: ReadonlyMap<string, Range> } {
  const entries = new Map<string, MetadataValue>();
  const ranges = new Map<string, Range>();
  const offsets = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const start = cursor.position;
    const key = readName(cursor, `metadata entry ${index}`, maxKeyBytes);
    if (entries.has(key)) throw cursor.error(`the metadata key ${quote(key)} appears twice`, start);
    entries.set(key, readValue(cursor, key));
    ranges.set(key, { start, end: cursor.position });
    offsets.set(key, start);
  }
  return { metadata: new Metadata(cursor.file, entries, offsets), ranges };
}

function readType(cursor: HeaderCursor, key: string) {
  const id = cursor.uint32(`the type of ${quote(key)}`);
  const type = metadataTypeById.get(id);
  if (type === undefined) throw cursor.error(`${quote(key)} has metadata type ${id}, which does not exist`, cursor.position - 4);
  return type;
}

function readValue(cursor: HeaderCursor, key: string): MetadataValue {
  const type = readType(cursor, key);
  if (type === "string") {
    const { start, end } = cursor.string(quote(key));
    return { type, value: cursor.bytes.toString("utf8", start, end) };
  }
  if (type === "array") return readArray(cursor, key);
  if (type === "bool") {
    const at = cursor.skip(1, quote(key));
    checkBooleans(cursor, key, at, 1);
    return { type, value: cursor.bytes[at] === 1 };
  }
  const { view, at } = cursor.view(metadataTypes[type].bytes, quote(key));
  return { type, value: readNumber[type](view, at) };
}

const readNumber = {
  uint8: (view, at) => view.getUint8(at),
  int8: (view, at) => view.getInt8(at),
  uint16: (view, at) => view.getUint16(at, true),
  int16: (view, at) => view.getInt16(at, true),
  uint32: (view, at) => view.getUint32(at, true),
  int32: (view, at) => view.getInt32(at, true),
  float32: (view, at) => view.getFloat32(at, true),
  float64: (view, at) => view.getFloat64(at, true),
  uint64: (view, at) => numberIfSafe(view.getBigUint64(at, true)),
  int64: (view, at) => numberIfSafe(view.getBigInt64(at, true)),
} as const satisfies Record<NumberType, (view: DataView, at: number) => number | bigint>;

function numberIfSafe(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function readArray(cursor: HeaderCursor, key: string): MetadataValue {
  const of = readType(cursor, key);
  if (of === "array") throw cursor.error(`${quote(key)} is an array of arrays, which ggml does not read either`, cursor.position - 4);
  const count = cursor.uint64(`the length of ${quote(key)}`, cursor.sizeBytes);
  const bytes = count * (of === "string" ? 8 : metadataTypes[of].bytes);
  if (bytes > Math.min(cursor.sizeBytes, maxHeaderBytes) - cursor.position) {
    throw cursor.error(`${quote(key)} has ${count} values, more than a header has room for`, cursor.position - 8);
  }
  if (of === "string") return { type: "array", of, value: cursor.strings(count, quote(key)) };
  const at = cursor.skip(bytes, quote(key));
  if (of === "bool") checkBooleans(cursor, key, at, count);
  const copy = new ArrayBuffer(bytes); // copied, since values in a header lie unaligned
  cursor.bytes.copy(new Uint8Array(copy), 0, at, at + bytes);
  if (of === "bool") return { type: "array", of, value: new Uint8Array(copy) };
  return { type: "array", of, value: new numberArrays[of](copy) };
}

function checkBooleans(cursor: HeaderCursor, key: string, at: number, count: number): void {
  for (let index = at; index < at + count; index++) {
    if (cursor.bytes[index]! > 1) throw cursor.error(`${quote(key)} has a boolean that is neither 0 nor 1`, index);
  }
}

function readAlignment(metadata: Metadata): number {
  const key = "general.alignment";
  const entry = metadata.get(key);
  if (entry === undefined) return defaultAlignment;
  if (entry.type !== "uint32") throw metadata.error(key, `is ${entry.type}, expected uint32`);
  const alignment = Number(entry.value);
  if (alignment < 8 || alignment > maxAlignment || (alignment & (alignment - 1)) !== 0) {
    throw metadata.error(key, `is ${alignment}, expected a power of two in [8, ${maxAlignment}]`);
  }
  return alignment;
}

function readTensors(cursor: HeaderCursor, count: number, alignment: number): ReadonlyMap<string, TensorInfo> {
  const described: (TensorInfo & { at: number })[] = [];
  const names = new Set<string>();
  for (let index = 0; index < count; index++) {
    const at = cursor.position;
    const name = readName(cursor, `tensor ${index}`, maxTensorNameBytes);
    if (names.has(name)) throw cursor.error(`the tensor ${quote(name)} appears twice`, at);
    names.add(name);
    described.push({ name, at, ...readTensor(cursor, quote(name), alignment) });
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, TensorInfo>();
  for (const { name, type, shape, offset, sizeBytes, at } of described) {
    if (dataStart + offset + sizeBytes > cursor.sizeBytes) {
      throw cursor.error(`${quote(name)} ends at byte ${dataStart + offset + sizeBytes}, but the file has ${cursor.sizeBytes}`, at);
    }
    tensors.set(name, { name, type, shape, offset: dataStart + offset, sizeBytes });
  }
  described.sort((a, b) => a.offset - b.offset);
  for (const [index, tensor] of described.entries()) {
    const before = described[index - 1];
    if (before !== undefined && before.offset + before.sizeBytes > tensor.offset) {
      throw cursor.error(`the tensors ${quote(before.name)} and ${quote(tensor.name)} overlap`, tensor.at);
    }
  }
  return tensors;
}

/** One tensor's description after its name; `offset` still from the start of the data. */
function readTensor(cursor: HeaderCursor, name: string, alignment: number): Omit<TensorInfo, "name"> {
  const dimensionsAt = cursor.position;
  const dimensions = cursor.uint32(`the number of dimensions of ${name}`);
  if (dimensions < 1 || dimensions > 4) throw cursor.error(`${name} has ${dimensions} dimensions, expected 1 to 4`, dimensionsAt);
  const shape: number[] = [];
  let elements = 1;
  for (let axis = 0; axis < dimensions; axis++) {
    const size = cursor.uint64(`dimension ${axis} of ${name}`, Number.MAX_SAFE_INTEGER);
    if (size === 0) throw cursor.error(`dimension ${axis} of ${name} is 0`, cursor.position - 8);
    elements *= size; // both factors are exact integers, so a product beyond 2^53 can't round to one below it
    if (elements > Number.MAX_SAFE_INTEGER) throw cursor.error(`${name} has more than 2^53 elements`, cursor.position - 8);
    shape.unshift(size); // the file has the innermost axis first
  }
  const id = cursor.uint32(`the type of ${name}`);
  const type = tensorTypeById.get(id);
  if (type === undefined) {
    const removed = removedTensorTypes.get(id);
    const message = removed === undefined ? `which does not exist` : `${removed}, which ggml has removed; convert the model again`;
    throw cursor.error(`${name} has tensor type ${id}, ${message}`, cursor.position - 4);
  }
  const { blockSize, blockBytes } = tensorTypes[type];
  const columns = shape.at(-1)!;
  if (columns % blockSize !== 0) {
    throw cursor.error(`${name} has rows of ${columns} elements, no multiple of ${type}'s block of ${blockSize}`, dimensionsAt);
  }
  const sizeBytes = (elements / blockSize) * blockBytes;
  if (sizeBytes > cursor.sizeBytes) throw cursor.error(`${name} has ${sizeBytes} bytes, more than the file`, dimensionsAt);
  const offset = cursor.uint64(`the offset of ${name}`, cursor.sizeBytes);
  if (offset % alignment !== 0) {
    throw cursor.error(`${name} has offset ${offset}, no multiple of the alignment ${alignment}`, cursor.position - 8);
  }
  return { type, shape, offset, sizeBytes };
}

/** A name from the file, cut and escaped for a message. */
function quote(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}
