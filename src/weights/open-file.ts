import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { DisposedError, FormatError, NotFoundError } from "../errors.ts";

const maxReadBytes = 2 ** 30; // one read call takes a 32-bit length

/**
 * One file opened once: what was validated is what is read later, whatever happens to the path. Size and time at opening are
 * kept, so that a file changed in between is noticed.
 */
export class OpenFile implements Disposable {
  readonly path: string;
  readonly sizeBytes: number;
  #descriptor: number | undefined;
  readonly #atOpening: BigIntStats;

  /** @throws NotFoundError if there is no such file, FormatError if it is no regular file */
  constructor(path: string) {
    this.path = path;
    const descriptor = openReadOnly(path);
    this.#descriptor = descriptor;
    this.#atOpening = fstatSync(descriptor, { bigint: true });
    if (!this.#atOpening.isFile()) {
      this[Symbol.dispose]();
      throw new FormatError(path, "is not a regular file");
    }
    this.sizeBytes = Number(this.#atOpening.size);
  }

  get descriptor(): number {
    if (this.#descriptor === undefined) throw new DisposedError(`the file ${this.path}`);
    return this.#descriptor;
  }

  /** Fills `target` from byte `offset` on. @throws FormatError if the file ends before that */
  readInto(target: Uint8Array, offset: number): void {
    for (let filled = 0; filled < target.length; ) {
      const count = readSync(this.descriptor, target, filled, Math.min(target.length - filled, maxReadBytes), offset + filled);
      if (count === 0) throw new FormatError(this.path, "the file shrank while it was read", { offset: offset + filled });
      filled += count;
    }
  }

  /** @throws FormatError if the file's size or time of modification is another than when it was opened */
  checkUnchanged(): void {
    const now = fstatSync(this.descriptor, { bigint: true });
    if (now.size !== this.#atOpening.size || now.mtimeNs !== this.#atOpening.mtimeNs) {
      throw new FormatError(this.path, "the file was changed while it was read");
    }
  }

  [Symbol.dispose](): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

function openReadOnly(path: string): number {
  try {
    // Without O_NONBLOCK (absent on Windows) opening a named pipe would wait for a writer.
    return openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") throw new NotFoundError(`${path}: there is no such file`, { cause: error });
    throw error;
  }
}

/** A typed array or array buffer as bytes, without a copy. */
export function asBytes(target: ArrayBufferView | ArrayBufferLike): Uint8Array {
  return ArrayBuffer.isView(target) ? new Uint8Array(target.buffer, target.byteOffset, target.byteLength) : new Uint8Array(target);
}
