import { readSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { type ByteSource, StringArray } from "./metadata.ts";

const firstRead = 4 << 20; // holds the whole header of a file with 50,000 tokens
/** Real headers reach 40 MB; the limit also bounds what a sparse file costs. Offsets into the header are kept in 32 bits. */
export const maxHeaderBytes = 2 ** 28;

/**
 * Reads a header from front to back out of an open file, checking every step against the file's size before it allocates.
 * Only the part that was walked over is held in memory (at most twice, while it grows).
 */
export class HeaderCursor implements ByteSource {
  readonly file: string;
  readonly sizeBytes: number;
  position = 0;
  bytes: Buffer = Buffer.alloc(0);
  readonly #descriptor: number;
  #view = new DataView(new ArrayBuffer(0));

  constructor(descriptor: number, file: string, sizeBytes: number) {
    this.#descriptor = descriptor;
    this.file = file;
    this.sizeBytes = sizeBytes;
  }

  error(message: string, offset = this.position): FormatError {
    return new FormatError(this.file, message, { offset });
  }

  /** Makes the bytes up to `end` available. `what` is what they belong to, for the message. */
  load(end: number, what: string): void {
    if (end <= this.bytes.length) return;
    if (end > this.sizeBytes) throw this.error(`the file ends inside ${what}; it has ${this.sizeBytes} bytes`);
    if (end > maxHeaderBytes) throw this.error(`the header is longer than ${maxHeaderBytes} bytes`);
    const grown = Buffer.allocUnsafeSlow(Math.min(this.sizeBytes, Math.max(end, firstRead, 2 * this.bytes.length)));
    this.bytes.copy(grown);
    for (let filled = this.bytes.length; filled < grown.length; ) {
      const count = readSync(this.#descriptor, grown, filled, grown.length - filled, filled);
      if (count === 0) throw this.error(`the file shrank to ${filled} bytes while it was read`);
      filled += count;
    }
    this.bytes = grown;
    this.#view = new DataView(grown.buffer, grown.byteOffset, grown.length);
  }

  /** Steps over `count` bytes and returns where they begin. */
  skip(count: number, what: string): number {
    const start = this.position;
    this.load(start + count, what);
    this.position = start + count;
    return start;
  }

  view(count: number, what: string): { view: DataView; at: number } {
    const at = this.skip(count, what);
    return { view: this.#view, at };
  }

  uint32(what: string): number {
    const at = this.skip(4, what);
    return this.#view.getUint32(at, true);
  }

  /** A 64-bit count, length or offset; none can be right that is larger than `max`. */
  uint64(what: string, max: number): number {
    const at = this.skip(8, what);
    const low = this.#view.getUint32(at, true);
    const high = this.#view.getUint32(at + 4, true);
    const value = high * 2 ** 32 + low;
    if (value > max) throw this.error(`${what} is ${(BigInt(high) << 32n) | BigInt(low)}, more than ${max}`, at);
    return value;
  }

  /** Length and bytes of a string; returns where the bytes lie. */
  string(what: string, maxBytes = this.sizeBytes): { start: number; end: number } {
    const length = this.uint64(`the length of ${what}`, maxBytes);
    const start = this.skip(length, what);
    return { start, end: start + length };
  }

  /** Steps over `count` strings, keeping only where they lie. */
  strings(count: number, what: string): StringArray {
    const starts = new Uint32Array(count + 1);
    let position = this.position;
    for (let index = 0; index < count; index++) {
      if (position + 8 > this.bytes.length) {
        this.position = position;
        this.load(position + 8, `${what}[${index}]`);
      }
      const length = this.#view.getUint32(position, true) + this.#view.getUint32(position + 4, true) * 2 ** 32;
      if (length > this.sizeBytes - position - 8) {
        throw this.error(`${what}[${index}] has a length of ${length} bytes; the file has ${this.sizeBytes}`, position);
      }
      position += 8;
      starts[index] = position;
      position += length;
      if (position > maxHeaderBytes) throw this.error(`the header is longer than ${maxHeaderBytes} bytes`);
    }
    starts[count] = position + 8;
    this.load(position, what);
    this.position = position;
    return new StringArray(this, starts);
  }
}
