import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { DisposedError } from "../errors.ts";

/**
 * A file that appears under its name only when it is complete: written beside it, flushed to the disk and then renamed. Disposing
 * of it without {@link commit} leaves nothing behind and an older file of that name untouched.
 */
export class AtomicFile implements Disposable {
  readonly #path: string;
  readonly #partial: string;
  #descriptor: number | undefined;

  constructor(path: string) {
    this.#path = path;
    this.#partial = `${path}.${randomBytes(6).toString("hex")}.partial`;
    this.#descriptor = openSync(this.#partial, "wx");
  }

  write(bytes: Uint8Array): void {
    const descriptor = this.#open();
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(descriptor, bytes, written, Math.min(bytes.length - written, 2 ** 30)); // a call takes a 32-bit length
    }
  }

  commit(): void {
    const descriptor = this.#open();
    fsyncSync(descriptor);
    closeSync(descriptor);
    this.#descriptor = undefined;
    try {
      renameSync(this.#partial, this.#path);
    } catch (error) {
      rmSync(this.#partial, { force: true });
      throw error;
    }
    syncDirectory(dirname(this.#path));
  }

  #open(): number {
    if (this.#descriptor === undefined) throw new DisposedError(`the file being written to ${this.#path}`);
    return this.#descriptor;
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    rmSync(this.#partial, { force: true });
  }
}

/** Makes a rename last through a power failure. Windows can't open directories and needs no such call. */
function syncDirectory(path: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
