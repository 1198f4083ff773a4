import { basename } from "node:path";
import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { FormatError } from "../errors.ts";
import { type ArchiveLimits, archiveLimits, type Extraction, fromArchive } from "./archive.ts";

/**
 * Takes one member from a zip file. Names that would leave a folder, links and encrypted members are refused, though no name is used.
 *
 * @returns the member's name
 * @throws FormatError a broken or hostile archive, or none or several members that are wanted
 */
export async function extractFromZip(path: string, options: Extraction): Promise<string> {
  const archive = basename(path); // what errors call it: the folder it lies in is nobody's business and soon gone
  const limits = options.limits ?? archiveLimits;
  const zip = await fromArchive(archive, () => openPromise(path, { autoClose: false }));
  try {
    if (zip.entryCount > limits.maxEntries) {
      throw new FormatError(archive, `holds ${zip.entryCount} members, more than ${limits.maxEntries}`);
    }
    const found: Entry[] = [];
    await fromArchive(archive, async () => {
      for await (const entry of zip.eachEntry()) if (options.isWanted(entry.fileName)) found.push(entry);
    });
    const [entry] = found;
    if (entry === undefined) throw new FormatError(archive, `holds no ${options.wanted}`);
    if (found.length > 1) throw new FormatError(archive, `holds ${found.length} candidates for the one ${options.wanted}`);
    checkMember(archive, entry, limits);
    await extract(archive, zip, entry, options);
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

async function extract(archive: string, zip: ZipFile, entry: Entry, { write, signal }: Extraction): Promise<void> {
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
