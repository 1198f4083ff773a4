import { FormatError } from "../errors.ts";
import { AtomicFile } from "./atomic-file.ts";
import { asBytes, OpenFile } from "./open-file.ts";

/** Element types of the format with their bytes; F8 are 8-bit floats, BF16 the upper half of a float32. */
export const safetensorsTypes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

export type SafetensorsType = keyof typeof safetensorsTypes;

export interface SafetensorsInfo {
  readonly name: string;
  readonly type: SafetensorsType;
  /** Outermost axis first; empty for a single value. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

const maxHeaderBytes = 100_000_000; // the format's own limit
const maxValues = 1 << 20; // of the header; a checkpoint of 65,536 tensors stays below
const maxDepth = 3; // header, tensor, its shape
const metadataKey = "__metadata__";

/** An open safetensors file whose header has been checked. Holds one file descriptor until it is disposed of. */
export class SafetensorsFile implements Disposable {
  readonly path: string;
  readonly sizeBytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, SafetensorsInfo>;
  readonly #file: OpenFile;

  constructor(file: OpenFile, header: Pick<SafetensorsFile, "metadata" | "tensors">) {
    this.#file = file;
    this.path = file.path;
    this.sizeBytes = file.sizeBytes;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
  }

  /** @throws FormatError if the file has no such tensor */
  tensor(name: string): SafetensorsInfo {
    const info = this.tensors.get(name);
    if (info === undefined) throw new FormatError(this.path, `has no tensor ${name}`);
    return info;
  }

  /**
   * Reads bytes of a tensor straight into memory of the caller: as many as `target` has, from byte `start` of the tensor on.
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

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/**
 * Opens a safetensors file and checks its header: the tensors' data follow each other without gap or overlap to the file's end.
 * @throws FormatError with the offset where one shows; NotFoundError if there is no file
 * @see https://github.com/huggingface/safetensors#format
 */
export function openSafetensors(path: string): SafetensorsFile {
  const file = new OpenFile(path);
  try {
    return new SafetensorsFile(file, readHeader(file));
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

function readHeader(file: OpenFile): Pick<SafetensorsFile, "metadata" | "tensors"> {
  const fail = (message: string, offset = 8, cause?: unknown): never => {
    throw new FormatError(file.path, message, { offset, cause });
  };
  if (file.sizeBytes < 8) fail(`the file has only ${file.sizeBytes} bytes, less than a safetensors header`, 0);
  const length = Buffer.alloc(8);
  file.readInto(length, 0);
  const headerBytes = length.readBigUInt64LE();
  if (headerBytes > maxHeaderBytes) fail(`the header's length is ${headerBytes}, more than ${maxHeaderBytes}: not a safetensors file`, 0);
  if (8 + Number(headerBytes) > file.sizeBytes) fail(`the header's length is ${headerBytes}, the file has ${file.sizeBytes} bytes`, 0);
  const bytes = Buffer.alloc(Number(headerBytes));
  file.readInto(bytes, 8);
  if (bytes[0] !== 0x7b) fail("the header is no JSON object: not a safetensors file");
  const keyCount = checkExtent(bytes, fail);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    return fail("the header is not JSON in UTF-8", 8, error);
  }
  const entries = Object.entries(header as Record<string, unknown>);
  if (entries.length !== keyCount) fail("the header has the same name twice");

  const metadata = new Map<string, string>();
  const tensors: SafetensorsInfo[] = [];
  const dataStart = 8 + bytes.length;
  for (const [name, value] of entries) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(`${quote(name)} is no object`);
    if (name !== metadataKey) tensors.push(readTensor(name, value, dataStart, fail));
    else {
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== "string") return fail(`the metadata ${quote(key)} are no string`);
        metadata.set(key, text);
      }
    }
  }
  tensors.sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let end = dataStart;
  for (const { name, offset, sizeBytes } of tensors) {
    if (offset !== end) fail(`the data of ${quote(name)} begin at byte ${offset}, expected ${end}`);
    end += sizeBytes;
  }
  if (end !== file.sizeBytes) fail(`the data end at byte ${end}, but the file has ${file.sizeBytes}`, Math.min(end, file.sizeBytes));
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

/** Bounds what parsing the JSON can cost before it is done. @returns the number of names in the outermost object */
function checkExtent(bytes: Uint8Array, fail: (message: string, offset?: number) => never): number {
  let depth = 0;
  let values = 0;
  let names = 0;
  for (let at = 0; at < bytes.length; at++) {
    const character = String.fromCharCode(bytes[at]!);
    if (character === '"') {
      for (at++; at < bytes.length && bytes[at] !== 0x22; at++) if (bytes[at] === 0x5c) at++; // a backslash takes the next along
    } else if (character === "{" || character === "[") {
      depth++;
      if (depth > maxDepth) fail("the header is nested too deeply", 8 + at);
    } else if (character === "}" || character === "]") depth--;
    else if (character === ",") {
      values++;
      if (values > maxValues) fail(`the header has more than ${maxValues} values`, 8 + at);
    } else if (character === ":" && depth === 1) names++;
  }
  return names;
}

function readTensor(name: string, value: object, dataStart: number, fail: (message: string) => never): SafetensorsInfo {
  const { dtype, shape, data_offsets: range, ...unknown } = value as Record<string, unknown>;
  const [surplus] = Object.keys(unknown);
  if (surplus !== undefined) return fail(`${quote(name)} has the unknown field ${quote(surplus)}`);
  if (typeof dtype !== "string" || !Object.hasOwn(safetensorsTypes, dtype)) {
    return fail(`${quote(name)} has type ${JSON.stringify(dtype)}, expected one of ${Object.keys(safetensorsTypes).join(", ")}`);
  }
  const type = dtype as SafetensorsType;
  if (!areSizes(shape)) return fail(`${quote(name)} has a shape that is no list of sizes`);
  if (!areSizes(range) || range.length !== 2 || range[0]! > range[1]!) return fail(`${quote(name)} has data_offsets that are no range`);
  const elements = shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
  const [from, to] = range as [number, number];
  // An inexact product is above 2^53, where no file ends.
  if (elements * safetensorsTypes[type] !== to - from) {
    return fail(`${quote(name)} is ${type} [${shape.join(", ")}] but has ${to - from} bytes`);
  }
  return { name, type, shape, offset: dataStart + from, sizeBytes: to - from };
}

function areSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function quote(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}

export interface SafetensorsToWrite {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly tensors: readonly {
    readonly name: string;
    readonly type: SafetensorsType;
    /** Outermost axis first. */
    readonly shape: readonly number[];
    readonly data: ArrayBufferView;
  }[];
}

/**
 * Writes a safetensors file, tensors in the order given; it appears under its name only when it is complete.
 * @throws RangeError for a repeated or reserved name, or data of another size than shape and type say
 */
export function writeSafetensors(path: string, { metadata, tensors }: SafetensorsToWrite): void {
  const header = new Map<string, unknown>();
  if (metadata !== undefined) header.set(metadataKey, metadata);
  let offset = 0;
  for (const { name, type, shape, data } of tensors) {
    if (header.has(name) || name === metadataKey) throw new RangeError(`the name ${name} is taken`);
    const expected = shape.reduce((product, size) => product * size, safetensorsTypes[type]);
    if (data.byteLength !== expected) {
      throw new RangeError(`${name} is ${type} [${shape.join(", ")}], ${expected} bytes, but has ${data.byteLength}`);
    }
    header.set(name, { dtype: type, shape, data_offsets: [offset, offset + expected] });
    offset += expected;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]); // so that the data begin aligned
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  using file = new AtomicFile(path);
  file.write(length);
  file.write(padded);
  for (const { data } of tensors) file.write(asBytes(data));
  file.commit();
}
