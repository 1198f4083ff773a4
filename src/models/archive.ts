import { FormatError } from "../errors.ts";

/** Bounds on an archive from outside. */
export interface ArchiveLimits {
  readonly maxEntries: number;
  /** of the one member that is taken, unpacked */
  readonly maxMemberBytes: number;
  /** unpacked to packed size. Quantized weights hardly shrink; a bomb of zeros reaches 1,000. */
  readonly maxRatio: number;
}

export const archiveLimits: ArchiveLimits = { maxEntries: 10_000, maxMemberBytes: 64 * 2 ** 30, maxRatio: 50 };

/** The one member to take from an archive. */
export interface Extraction {
  /** asked with every member's name; exactly one may be wanted */
  readonly isWanted: (name: string) => boolean;
  /** what that is, for the error message: "GGUF file" */
  readonly wanted: string;
  /** takes the member's bytes, piece by piece. No name in an archive ever becomes a path: the place they go to is the caller's. */
  readonly write: (chunk: Uint8Array) => Promise<void>;
  readonly limits?: ArchiveLimits;
  readonly signal?: AbortSignal | undefined;
}

/** What a reader of archives finds wrong is the archive's fault; errors of the file system and aborts stay what they are. */
export async function fromArchive<T>(archive: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof Error) || "syscall" in error || error.name === "AbortError") throw error;
    throw new FormatError(archive, error.message, { cause: error });
  }
}
