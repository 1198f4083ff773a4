import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { DownloadError } from "../errors.ts";

/** What a finished file turned out to be. */
export interface FileFacts {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** A file while it is received: hashed, counted and bounded as it is written. */
export class StagedFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #hash: Hash;
  readonly #maxBytes: number;
  #sizeBytes: number;

  private constructor(path: string, handle: FileHandle, hash: Hash, sizeBytes: number, maxBytes: number) {
    this.path = path;
    this.#handle = handle;
    this.#hash = hash;
    this.#sizeBytes = sizeBytes;
    this.#maxBytes = maxBytes;
  }

  /** Opens a new, empty file; one that is there is emptied. */
  static async create(path: string, maxBytes: number): Promise<StagedFile> {
    return new StagedFile(path, await open(path, "w"), createHash("sha256"), 0, maxBytes);
  }

  /** Opens a file to write on at its end, having hashed what is there; one that isn't there is created. */
  static async resume(path: string, maxBytes: number): Promise<StagedFile> {
    const handle = await open(path, "a");
    try {
      const hash = createHash("sha256");
      for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
      return new StagedFile(path, handle, hash, (await handle.stat()).size, maxBytes);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @throws DownloadError if the file would grow beyond its bound */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#sizeBytes + chunk.byteLength > this.#maxBytes) {
      throw new DownloadError(`more than the ${this.#maxBytes} bytes that were expected`);
    }
    await this.#handle.appendFile(chunk);
    this.#hash.update(chunk);
    this.#sizeBytes += chunk.byteLength;
  }

  /** Brings the bytes to the disk, so that the rename that follows can't outlive them. The file is to be closed after. */
  async finish(): Promise<FileFacts> {
    await this.#handle.sync();
    return { path: this.path, sizeBytes: this.#sizeBytes, sha256: this.#hash.digest("hex") };
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** The SHA-256 of a file, in hexadecimal. */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
