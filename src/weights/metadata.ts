import { FormatError } from "../errors.ts";
import type { MetadataType } from "./gguf-types.ts";

export type NumberType = Exclude<MetadataType, "string" | "bool" | "array">;

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

/** A value of a GGUF file's metadata with the type it has there. 64-bit integers are bigints only where a number can't hold them. */
export type MetadataValue =
  | { readonly type: NumberType; readonly value: number | bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "array"; readonly of: NumberType; readonly value: NumberArray }
  /** one byte per value, 0 or 1 */
  | { readonly type: "array"; readonly of: "bool"; readonly value: Uint8Array }
  | { readonly type: "array"; readonly of: "string"; readonly value: StringArray };

export const numberArrays = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float64: Float64Array,
} as const satisfies Record<NumberType, new (buffer: ArrayBuffer) => NumberArray>;

/** Bytes that strings lie in; `bytes` may be replaced by a longer copy while a header is being read. */
export interface ByteSource {
  readonly bytes: Buffer;
}

/**
 * Strings as they lie in a GGUF header (a 64-bit length before each), decoded only when asked for: a vocabulary has up to
 * 262,144 tokens and twice as many merges, and most readers want none of them as JavaScript strings.
 */
export class StringArray {
  readonly #source: ByteSource;
  readonly #starts: Uint32Array; // [length + 1]: where each string's bytes begin; the last entry is the end + 8
  constructor(source: ByteSource, starts: Uint32Array) {
    this.#source = source;
    this.#starts = starts;
  }

  /** Packs strings, or bytes that need not be UTF-8. */
  static from(strings: readonly (string | Uint8Array)[]): StringArray {
    const parts = strings.map((value) => (typeof value === "string" ? Buffer.from(value) : value));
    const bytes = Buffer.alloc(parts.reduce((sum, part) => sum + 8 + part.length, 0));
    const starts = new Uint32Array(parts.length + 1);
    let position = 8;
    parts.forEach((part, index) => {
      bytes.writeBigUInt64LE(BigInt(part.length), position - 8);
      bytes.set(part, position);
      starts[index] = position;
      position += part.length + 8;
    });
    starts[parts.length] = position;
    return new StringArray({ bytes }, starts);
  }

  get length(): number {
    return this.#starts.length - 1;
  }

  /** The string at `index`, bytes that are not UTF-8 replaced by U+FFFD. @throws RangeError outside [0, length) */
  at(index: number): string {
    return this.#source.bytes.toString("utf8", this.start(index), this.end(index));
  }

  /** A view of the bytes at `index`. @throws RangeError outside [0, length) */
  bytesAt(index: number): Uint8Array {
    return this.#source.bytes.subarray(this.start(index), this.end(index));
  }

  /** The bytes all strings lie in, for scans with {@link start} and {@link end} that must make no object per string. */
  get bytes(): Uint8Array {
    return this.#source.bytes;
  }

  start(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) throw new RangeError(`string ${index} of ${this.length}`);
    return this.#starts[index]!;
  }

  end(index: number): number {
    return this.#starts[index + 1]! - 8;
  }

  /** The whole array as it lies in a file, lengths included. */
  packed(): Uint8Array {
    return this.#source.bytes.subarray(this.#starts[0]! - 8, this.#starts[this.length]! - 8);
  }

  *[Symbol.iterator](): Generator<string> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }
}

/**
 * A GGUF file's metadata by key. The getters give `undefined` for an absent key and refuse a value of another type with a
 * FormatError that names the key; `require…` refuses an absent key too.
 */
export class Metadata extends Map<string, MetadataValue> {
  /** The file, for messages. */
  readonly file: string;
  /** Where each key begins in the file; empty for metadata that was put together in memory. */
  readonly offsets: ReadonlyMap<string, number>;
  constructor(file: string, entries: Iterable<readonly [string, MetadataValue]> = [], offsets: ReadonlyMap<string, number> = new Map()) {
    super(entries);
    this.file = file;
    this.offsets = offsets;
  }

  /** A FormatError about one key, with the byte at which it stands. */
  error(key: string, message: string): FormatError {
    const offset = this.offsets.get(key);
    return new FormatError(this.file, `${key}: ${message}`, offset === undefined ? {} : { offset });
  }

  getString(key: string): string | undefined {
    const entry = this.get(key);
    if (entry === undefined) return undefined;
    if (entry.type !== "string") throw this.#wrongType(key, "a string", entry);
    return entry.value;
  }

  getBoolean(key: string): boolean | undefined {
    const entry = this.get(key);
    if (entry === undefined) return undefined;
    if (entry.type !== "bool") throw this.#wrongType(key, "a boolean", entry);
    return entry.value;
  }

  /** Any numeric scalar as a finite number. */
  getNumber(key: string): number | undefined {
    const entry = this.get(key);
    if (entry === undefined) return undefined;
    if (entry.type === "array" || entry.type === "string" || entry.type === "bool") throw this.#wrongType(key, "a number", entry);
    const value = Number(entry.value);
    if (!Number.isFinite(value)) throw this.error(key, `is ${value}, expected a finite number`);
    return value;
  }

  /** A count, size or id: an integer in [min, max], by default [0, 2^53). */
  getInteger(key: string, range: { min?: number; max?: number } = {}): number | undefined {
    const value = this.getNumber(key);
    if (value === undefined) return undefined;
    const { min = 0, max = Number.MAX_SAFE_INTEGER } = range;
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw this.error(key, `is ${value}, expected an integer in [${min}, ${max}]`);
    }
    return value;
  }

  getStrings(key: string): StringArray | undefined {
    const entry = this.get(key);
    if (entry === undefined) return undefined;
    if (entry.type !== "array" || entry.of !== "string") throw this.#wrongType(key, "an array of strings", entry);
    return entry.value;
  }

  getNumbers(key: string): NumberArray | undefined {
    const entry = this.get(key);
    if (entry === undefined) return undefined;
    if (entry.type !== "array" || entry.of === "string" || entry.of === "bool") throw this.#wrongType(key, "an array of numbers", entry);
    return entry.value;
  }

  requireString(key: string): string {
    return this.getString(key) ?? this.#missing(key);
  }

  requireNumber(key: string): number {
    return this.getNumber(key) ?? this.#missing(key);
  }

  requireInteger(key: string, range?: { min?: number; max?: number }): number {
    return this.getInteger(key, range) ?? this.#missing(key);
  }

  requireStrings(key: string): StringArray {
    return this.getStrings(key) ?? this.#missing(key);
  }

  #missing(key: string): never {
    throw new FormatError(this.file, `the metadata lack the key ${key}`);
  }

  #wrongType(key: string, expected: string, actual: MetadataValue): FormatError {
    return this.error(key, `is ${actual.type === "array" ? `an array of ${actual.of}` : actual.type}, expected ${expected}`);
  }
}
