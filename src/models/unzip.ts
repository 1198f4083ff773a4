import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
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

/**
 * Writes the one member of a zip file that `isWanted` to `write`, piece by piece. No name in the archive ever becomes a path: the caller
 * owns the place the bytes go to. Names that would leave a folder, links and encrypted members are refused all the same.
 *
 * @param isWanted asked with every member's name; exactly one may be wanted
 * @param wanted   what that is, for the error message: "GGUF file"
 * @returns the member's name
 * @throws FormatError a broken or hostile archive, or none or several members that are wanted
 */
export async function extractFromZip(
  archive: string,
  options: {
    isWanted: (name: string) => boolean;
    wanted: string;
    write: (chunk: Uint8Array) => Promise<void>;
    limits?: ArchiveLimits;
    signal?: AbortSignal | undefined;
  },
): Promise<string> {
  const limits = options.limits ?? archiveLimits;
  const zip = await fromArchive(archive, () => openPromise(archive, { autoClose: false }));
  try {
    if (zip.entryCount > limits.maxEntries) {
      throw new FormatError(archive, `the zip file holds ${zip.entryCount} members, more than ${limits.maxEntries}`);
    }
    const found: Entry[] = [];
    await fromArchive(archive, async () => {
      for await (const entry of zip.eachEntry()) if (options.isWanted(entry.fileName)) found.push(entry);
    });
    const [entry, another] = found;
    if (entry === undefined) throw new FormatError(archive, `holds no ${options.wanted}`);
    if (another !== undefined) throw new FormatError(archive, `holds ${found.length} candidates for the one ${options.wanted}`);
    checkMember(archive, entry, limits);
    await extract(archive, zip, entry, options.write, options.signal);
    return entry.fileName;
  } finally {
    zip.close();
  }
}

function checkMember(archive: string, entry: Entry, limits: ArchiveLimits): void {
  const unixMode = entry.externalFileAttributes >>> 16;
  const fileType = unixMode & 0o170000;
  if (fileType !== 0 && fileType !== 0o100000) throw new FormatError(archive, `${entry.fileName} is not an ordinary file`);
  if (entry.isEncrypted()) throw new FormatError(archive, `${entry.fileName} is encrypted`);
  if (entry.uncompressedSize > limits.maxMemberBytes) {
    throw new FormatError(archive, `${entry.fileName} has ${entry.uncompressedSize} bytes, more than ${limits.maxMemberBytes}`);
  }
  if (entry.uncompressedSize > limits.maxRatio * entry.compressedSize) {
    throw new FormatError(archive, `${entry.fileName} unpacks to more than ${limits.maxRatio} times its packed size`);
  }
}

async function extract(
  archive: string,
  zip: ZipFile,
  entry: Entry,
  write: (chunk: Uint8Array) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stream = await fromArchive(archive, () => zip.openReadStreamPromise(entry));
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>;
  let checksum = 0;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await fromArchive(archive, () => chunks.next()); // the reader holds the count of bytes to the declared one
      if (next.done) break;
      checksum = crc32(next.value, checksum);
      await write(next.value);
    }
  } finally {
    stream.destroy();
  }
  if (checksum !== entry.crc32) throw new FormatError(archive, `${entry.fileName} has another checksum than the zip file says`);
}

/** Whatever the zip reader finds wrong is the archive's fault. */
async function fromArchive<T>(archive: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Error && !("syscall" in error) && error.name !== "AbortError") {
      throw new FormatError(archive, error.message, { cause: error });
    }
    throw error;
  }
}
