/**
 * Tables as a stream of rows, whatever they are stored in. Two small readers without native code instead of a database: Papa Parse
 * (RFC 4180 with its deviations, guessed delimiters) and hyparquet (reads only the column chunks asked for). Together 1 MB where
 * DuckDB's package is 60 MB and more per platform; a forecast needs no SQL. Memory is one chunk of the file.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pipeline, Readable } from "node:stream";
import { pipeline as pipelineEnd } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { FormatError, NotFoundError, OptionError } from "../../errors.ts";
import { readDelimited } from "./read-delimited.ts";
import { readJsonLines } from "./read-jsonl.ts";
import { readParquet } from "./read-parquet.ts";

/** One value of a table. A `Date` is an instant. */
export type Cell = string | number | boolean | Date | null;

export interface Batch {
  /** Number of the first row as an editor or spreadsheet counts: the first line of a file is 1, a header counts. */
  readonly firstRow: number;
  readonly rows: readonly (readonly Cell[])[];
}

export interface TableReader {
  /** Name of the file for messages. */
  readonly name: string;
  readonly format: "csv" | "tsv" | "jsonl" | "parquet" | "rows";
  readonly delimiter?: string;
  /** Names of the columns, all different; from the header, or column1, column2 … where the file has none. */
  readonly columns: readonly string[];
  /** False where the file has no header line. */
  readonly hasHeader: boolean;
  /** The rows, once. A row may have another length than `columns` (CSV). */
  readonly batches: AsyncIterable<Batch>;
}

/** A path, "-" for standard input, a stream of bytes, or the rows themselves. */
export type TableSource = string | NodeJS.ReadableStream | Iterable<Readonly<Record<string, unknown>>>;

export type TableFormat = "csv" | "tsv" | "jsonl" | "parquet";

export interface ReadOptions {
  /** What messages and `understood` call the table; default: the file's name, "standard input" or "table". */
  readonly name?: string;
  /** Default: by the first bytes, then by the name. */
  readonly format?: TableFormat;
  /** One character; default: guessed among comma, tab, semicolon and bar. */
  readonly delimiter?: string;
  readonly signal?: AbortSignal;
  /** Called with the bytes read so far and, of a file, its size. */
  readonly onBytes?: (done: number, total: number | undefined) => void;
}

/**
 * Opens a table. gzip is undone. Parquet on standard input is spooled to a temporary file first: its index stands at its end.
 *
 * @throws NotFoundError for a missing file, FormatError for an empty or broken one
 */
export async function openTable(source: TableSource, options: ReadOptions = {}): Promise<TableReader> {
  if (options.delimiter !== undefined && (options.delimiter.length !== 1 || /["\r\n]/.test(options.delimiter))) {
    throw new OptionError("delimiter", `must be one character other than a quote or line break, got ${JSON.stringify(options.delimiter)}`);
  }
  if (typeof source !== "string" && Symbol.iterator in source)
    return readObjects(source as Iterable<Record<string, unknown>>, options.name ?? "table");
  const path = typeof source === "string" && source !== "-" ? source : undefined;
  const name = options.name ?? (path === undefined ? "standard input" : basename(path));
  const size = path === undefined ? undefined : await fileSize(path);
  const { head, stream } =
    path === undefined ? await peek(source === "-" ? process.stdin : (source as NodeJS.ReadableStream)) : await peekFile(path);
  if (head.length === 0) {
    stream.destroy();
    throw new FormatError(name, "is empty");
  }
  const zipped = head[0] === 0x1f && head[1] === 0x8b;
  const format = options.format ?? (zipped ? formatOfName(name.replace(/\.gz$/i, "")) : formatOfBytes(head, name));
  if (format === "parquet") {
    if (path !== undefined && !zipped) {
      stream.destroy();
      return readParquet(path, name, options);
    }
    return spooled(stream, name, zipped, options);
  }
  const text = decode(stream, name, zipped, (done) => options.onBytes?.(done, size));
  if (format === "jsonl") return readJsonLines(text, name);
  return readDelimited(text, name, options.delimiter ?? (format === "tsv" ? "\t" : undefined));
}

/** The text of a stream of bytes, without its byte order mark. */
async function* decode(stream: Readable, name: string, zipped: boolean, onBytes: (done: number) => void): AsyncGenerator<string> {
  async function* counted() {
    let done = 0;
    for await (const bytes of stream as AsyncIterable<Buffer>) {
      done += bytes.length;
      onBytes(done);
      yield bytes;
    }
  }
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const bytes = zipped ? pipeline(Readable.from(counted()), createGunzip(), () => {}) : counted();
  try {
    for await (const chunk of bytes as AsyncIterable<Buffer>) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") throw new FormatError(name, "is not UTF-8 text; convert it first", { cause });
    if (code?.startsWith("Z_") === true) throw new FormatError(name, `its gzip data is broken (${(cause as Error).message})`, { cause });
    throw cause;
  }
}

async function fileSize(path: string): Promise<number> {
  try {
    const facts = await stat(path);
    if (facts.isDirectory()) throw new NotFoundError(`${path} is a folder, not a table`);
    return facts.size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw new NotFoundError(`there is no file ${path}`, { cause: error });
    throw error;
  }
}

async function peekFile(path: string): Promise<{ head: Buffer; stream: Readable }> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(512);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return { head: head.subarray(0, bytesRead), stream: createReadStream(path, { highWaterMark: 1 << 20 }) };
  } finally {
    await file.close();
  }
}

/** The first chunk of a stream, and a stream that starts with it. */
async function peek(source: NodeJS.ReadableStream): Promise<{ head: Buffer; stream: Readable }> {
  const iterator = source[Symbol.asyncIterator]();
  const first = await iterator.next();
  const head = first.done ? Buffer.alloc(0) : Buffer.from(first.value);
  async function* whole() {
    yield head;
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return;
      yield Buffer.from(value);
    }
  }
  return { head, stream: Readable.from(first.done ? [] : whole(), { objectMode: false, highWaterMark: 1 << 20 }) };
}

function formatOfBytes(head: Buffer, name: string): TableFormat {
  if (head.subarray(0, 4).toString("latin1") === "PAR1") return "parquet";
  if (head.includes(0)) throw new FormatError(name, "holds binary data; expected CSV, TSV, JSON lines or Parquet as UTF-8");
  const text = head
    .toString("utf8")
    .replace(/^\uFEFF/, "")
    .trimStart();
  if (text.startsWith("{")) return "jsonl";
  if (/^\[\s*[{\]]/.test(text)) throw new FormatError(name, "is a JSON array; write one object per line (JSON lines) instead");
  return formatOfName(name);
}

function formatOfName(name: string): TableFormat {
  if (/\.(jsonl|ndjson)$/i.test(name)) return "jsonl";
  if (/\.parquet$/i.test(name)) return "parquet";
  return /\.(tsv|tab)$/i.test(name) ? "tsv" : "csv";
}

async function spooled(stream: Readable, name: string, zipped: boolean, options: ReadOptions): Promise<TableReader> {
  const folder = await mkdtemp(join(tmpdir(), "chainrule-"));
  const file = join(folder, "table.parquet");
  try {
    const out = createWriteStream(file);
    await (zipped ? pipelineEnd(stream, createGunzip(), out) : pipelineEnd(stream, out));
    const reader = await readParquet(file, name, options);
    async function* untilRead() {
      try {
        yield* reader.batches;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    }
    return { ...reader, batches: untilRead() };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function readObjects(rows: Iterable<Readonly<Record<string, unknown>>>, name: string): TableReader {
  const list = [...rows];
  if (list.length === 0) throw new FormatError(name, "has no rows");
  const columns = [...new Set(list.flatMap((row) => Object.keys(row)))];
  async function* batches(): AsyncGenerator<Batch> {
    yield { firstRow: 1, rows: list.map((row, index) => columns.map((column) => toCell(row[column], name, index + 1, column))) };
  }
  return { name, format: "rows", columns, hasHeader: true, batches: batches() };
}

/** A value of JSON, of Parquet or of a program as a cell; throws FormatError for lists and objects. */
export function toCell(value: unknown, file: string, row: number, column: string): Cell {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean" || value instanceof Date) return value;
  throw new FormatError(
    file,
    `row ${row}, column "${column}": expected a number, text, date or null, got ${Array.isArray(value) ? "a list" : typeof value}`,
  );
}

/** Header cells as column names: trimmed, unnamed ones numbered, repeated ones refused. */
export function columnNames(header: readonly string[], file: string): string[] {
  const names = header.map((cell, index) => cell.trim() || `column${index + 1}`);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw new FormatError(file, `two columns are named "${repeated}"`);
  return names;
}
