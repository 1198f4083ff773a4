import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { validateFileName } from "yauzl";
import { FormatError } from "../errors.ts";
import { archiveLimits, type Extraction, fromArchive } from "./archive.ts";

const blockBytes = 512;
/** Of one extended header. The tar libraries on npm that our licences allow hold these in memory whatever their length. */
const maxExtendedBytes = 2 ** 20;
/** A tarball of a few small files is mostly padding: below this the ratio says nothing. */
const ratioFreeBytes = 2 ** 20;

/**
 * Takes one member from a gzipped tar file: POSIX ustar with extended headers (pax) and GNU long names, as npm, GNU tar and bsdtar write.
 * It is read once, from front to back, so that a second wanted member shows only after the first has been written.
 *
 * @returns the member's name
 * @throws FormatError a broken or hostile archive, or none or several members that are wanted
 * @see IEEE Std 1003.1 (POSIX), pax, "ustar Interchange Format" and "pax Extended Header"
 */
export async function extractFromTarball(tarball: string, options: Extraction): Promise<string> {
  const archive = basename(tarball); // what errors call it: the folder it lies in is nobody's business and soon gone
  const limits = options.limits ?? archiveLimits;
  const maxBytes = Math.max(ratioFreeBytes, (await stat(tarball)).size * limits.maxRatio);
  const input = createReadStream(tarball);
  const gunzip = pipeline(input, createGunzip(), () => {}); // an error of either is what reading from gunzip then throws
  const bytes = new ByteReader(archive, gunzip, maxBytes, options.signal);
  let extended: Extended = {};
  let found: string | undefined;
  let entryCount = 0;
  try {
    for (;;) {
      const block = await bytes.take(blockBytes);
      if (block.every((byte) => byte === 0)) break; // the end of the archive
      if (++entryCount > limits.maxEntries) throw new FormatError(archive, `holds more than ${limits.maxEntries} members`);
      const header = parseHeader(archive, block);
      const isExtended = "xgLK".includes(header.type);
      if (isExtended) {
        if (header.size > maxExtendedBytes) throw new FormatError(archive, `has an extended header of ${header.size} bytes`);
        const body = await bytes.take(header.size);
        await bytes.skip(paddingOf(header.size));
        if (header.type === "x") extended = { ...extended, ...parsePax(archive, body) };
        if (header.type === "L") extended = { ...extended, path: untilNul(body) };
        if (header.type === "g" && Object.keys(parsePax(archive, body)).length > 0) {
          throw new FormatError(archive, "has a global header that sets the path or the size of every member");
        }
        continue;
      }
      const { path = header.name, size = header.size } = extended;
      extended = {};
      const hostile = validateFileName(path);
      if (hostile !== null) throw new FormatError(archive, hostile);
      const hasBody = !"123456".includes(header.type); // links, devices, folders and pipes have none, whatever their size field says
      if (!options.isWanted(path) || header.type === "5") {
        await bytes.skip(hasBody ? size + paddingOf(size) : 0);
        continue;
      }
      if (header.type !== "0" && header.type !== "7") throw new FormatError(archive, `${path} is not an ordinary file`);
      if (found !== undefined) throw new FormatError(archive, `holds ${found} and ${path}, two candidates for the one ${options.wanted}`);
      if (size > limits.maxMemberBytes) throw new FormatError(archive, `${path} has ${size} bytes, more than ${limits.maxMemberBytes}`);
      await bytes.pass(size, options.write);
      await bytes.skip(paddingOf(size));
      found = path;
    }
    await bytes.drain(); // gzip's checksum comes last
    if (found === undefined) throw new FormatError(archive, `holds no ${options.wanted}`);
    return found;
  } finally {
    input.destroy();
    gunzip.destroy();
  }
}

/** What an extended header says of the member after it, of what matters here. */
interface Extended {
  readonly path?: string;
  readonly size?: number;
}

function parseHeader(archive: string, block: Buffer): { name: string; size: number; type: string } {
  let sum = 8 * 0x20; // the checksum's own field counts as spaces
  for (const [index, byte] of block.entries()) if (index < 148 || index >= 156) sum += byte;
  if (sum !== parseNumber(archive, block.subarray(148, 156))) throw new FormatError(archive, "a tar header has a wrong checksum");
  const type = block[156] === 0 ? "0" : String.fromCharCode(block[156]!);
  const size = parseNumber(archive, block.subarray(124, 136));
  // GNU tar's own format ends the magic in a space and has other things where POSIX has the name's prefix.
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? untilNul(block.subarray(345, 500)) : "";
  const name = untilNul(block.subarray(0, 100));
  return { name: prefix === "" ? name : `${prefix}/${name}`, size, type };
}

/** Octal digits, or, with the highest bit set, GNU's big-endian binary. */
function parseNumber(archive: string, field: Buffer): number {
  let value: number;
  if (field[0]! & 0x80) {
    value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0]! & 0x7f);
  } else {
    const digits = untilNul(field).trim();
    if (!/^[0-7]*$/.test(digits)) throw new FormatError(archive, "a tar header has a number that isn't octal");
    value = Number.parseInt(digits || "0", 8);
  }
  if (!Number.isSafeInteger(value)) throw new FormatError(archive, "a tar header has a number beyond 2^53");
  return value;
}

/** Records are `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record in bytes. */
function parsePax(archive: string, body: Buffer): Extended {
  let extended: Extended = {};
  for (let offset = 0; offset < body.length; ) {
    const [digits] = /^[1-9][0-9]{0,6}(?= )/.exec(body.toString("latin1", offset, offset + 8)) ?? [];
    const end = offset + Number(digits);
    if (digits === undefined || end > body.length || body[end - 1] !== 0x0a) throw new FormatError(archive, "has a broken extended header");
    const record = body.toString("utf8", offset + digits.length + 1, end - 1);
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(record) ?? [];
    if (key === "path") extended = { ...extended, path: value! };
    if (key === "size") {
      if (!/^[0-9]{1,15}$/.test(value!)) throw new FormatError(archive, "has an extended header whose size is no number");
      extended = { ...extended, size: Number(value) };
    }
    offset = end;
  }
  return extended;
}

function untilNul(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? field.length : end);
}

function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

/** Exact counts of bytes from a stream of chunks, and never more than `maxBytes` in all. */
class ByteReader {
  readonly #archive: string;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #signal: AbortSignal | undefined;
  #bytesLeft: number;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(archive: string, stream: AsyncIterable<Buffer>, maxBytes: number, signal: AbortSignal | undefined) {
    this.#archive = archive;
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#bytesLeft = maxBytes;
    this.#signal = signal;
  }

  /** `size` must be small: the bytes are held in memory. */
  async take(size: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    await this.pass(size, async (piece) => void pieces.push(piece));
    return Buffer.concat(pieces);
  }

  async skip(size: number): Promise<void> {
    await this.pass(size, async () => {});
  }

  async pass(size: number, write: (chunk: Uint8Array) => Promise<void>): Promise<void> {
    for (let left = size; left > 0; ) {
      if (this.#chunk.length === 0) {
        const next = await this.#next();
        if (next === undefined) throw new FormatError(this.#archive, "ends in the middle");
        this.#chunk = next;
      }
      const piece = this.#chunk.subarray(0, left);
      this.#chunk = this.#chunk.subarray(piece.length);
      left -= piece.length;
      await write(piece);
    }
  }

  /** Reads what is left, to its very end. */
  async drain(): Promise<void> {
    while ((await this.#next()) !== undefined);
  }

  async #next(): Promise<Buffer | undefined> {
    this.#signal?.throwIfAborted();
    const { done, value } = await fromArchive(this.#archive, () => this.#chunks.next());
    if (done) return undefined;
    this.#bytesLeft -= value.length;
    if (this.#bytesLeft < 0) throw new FormatError(this.#archive, "unpacks to too many times its packed size");
    return value;
  }
}
