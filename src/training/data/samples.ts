import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { extname } from "node:path";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { Message } from "../../chat/index.ts";
import { FormatError, OptionError } from "../../errors.ts";
import { conversationForms, readConversation } from "./conversation.ts";
import { isPreference, type Preference, readPreference } from "./preferences.ts";

/** A stretch of a sample; the model learns to write those that are learned, and reads the others. */
export interface Segment {
  readonly text: string;
  readonly isLearned: boolean;
}

export type Sample =
  | {
      readonly kind: "sample" /** Line or row, from 1. */;
      readonly line: number;
      readonly segments: readonly Segment[] /** Ends with an end token. */;
      readonly isWhole: boolean;
    }
  | { readonly kind: "chat"; readonly line: number; readonly messages: readonly Message[] }
  | { readonly kind: "pair"; readonly line: number; readonly preference: Preference }
  | { readonly kind: "bad"; readonly line: number; readonly reason: string };

/** What rows are read as: texts and conversations, or pairs of answers of which one is preferred. */
export type RowKind = "texts" | "pairs";

export const dataFormats = ["text", "jsonl", "parquet"] as const;
export type DataFormat = (typeof dataFormats)[number];

/** By the file's name. @throws OptionError */
export function formatOf(path: string): DataFormat {
  const known: Record<string, DataFormat> = { ".txt": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet" };
  const format = known[extname(path).toLowerCase()];
  if (format === undefined) throw new OptionError("format", `can't be told from the name ${path}; it is one of ${dataFormats.join(", ")}`);
  return format;
}

/**
 * The samples of a file of any size, one after the other. JSON lines and Parquet rows have `text`, or `prompt` and `completion`, of which the
 * completion is learned, or a conversation, of which the answers are; or else pairs of answers. A text is divided at line ends into parts of
 * about 8 KiB. What can't be used comes as `bad` with its line and reason.
 *
 * @throws OptionError for pairs in a text
 */
export function readSamples(path: string, format: DataFormat, rows: RowKind = "texts"): AsyncGenerator<Sample> {
  const toSample = rows === "pairs" ? toPair : toText;
  if (format === "jsonl") return readJsonLines(path, toSample);
  if (format === "parquet") return readParquet(path, toSample);
  if (rows === "pairs") throw new OptionError("format", "a text has no pairs of answers: give JSON lines or Parquet");
  return readText(path);
}

type ToSample = (row: Readonly<Record<string, unknown>>, line: number) => Sample;

const partBytes = 8192; // of a text: a few contexts, so that parts can be shuffled and some be held out
const maxLineBytes = 64 << 20;

async function* readText(path: string): AsyncGenerator<Sample> {
  let part: string[] = [];
  let size = 0;
  let first = 1;
  const sample = (): Sample => ({ kind: "sample", line: first, segments: [{ text: part.join("\n"), isLearned: true }], isWhole: false });
  for await (const { line, bytes } of lines(path)) {
    const fault = encodingFault(bytes);
    if (fault !== undefined) {
      yield { kind: "bad", line, reason: fault };
      continue;
    }
    if (part.length === 0) first = line;
    part.push(bytes.toString());
    size += bytes.length + 1;
    if (size < partBytes) continue;
    part.push(""); // the line's end belongs to it
    yield sample();
    part = [];
    size = 0;
  }
  if (part.some((line) => line !== "")) yield sample();
}

async function* readJsonLines(path: string, toSample: ToSample): AsyncGenerator<Sample> {
  for await (const { line, bytes } of lines(path)) {
    if (bytes.every((byte) => byte <= 0x20)) continue; // a blank line separates
    const fault = encodingFault(bytes);
    if (fault !== undefined) {
      yield { kind: "bad", line, reason: fault };
      continue;
    }
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString());
    } catch (error) {
      yield { kind: "bad", line, reason: `is not valid JSON (${(error as Error).message})` };
      continue;
    }
    yield fromRow(value, line, toSample);
  }
}

/** Rows of a group are read in parts of about this many bytes: a group may be larger than memory. */
const parquetPartBytes = 8 << 20;
/** Stands where a Parquet file has text that is none, which a decoder would change unnoticed. */
const notUtf8 = Symbol("not UTF-8");
const parsers = { stringFromBytes: (bytes?: Uint8Array) => bytes && (isUtf8(bytes) ? Buffer.from(bytes).toString() : notUtf8) };

async function* readParquet(path: string, toSample: ToSample): AsyncGenerator<Sample> {
  const broken = (cause: unknown): never => {
    throw new FormatError(path, `is not a readable Parquet file (${(cause as Error).message})`, { cause });
  };
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file).catch(broken);
  let start = 0;
  for (const group of metadata.row_groups) {
    const [rowCount, sizeBytes] = [Number(group.num_rows), Number(group.total_byte_size)];
    const partRows = Math.max(1, Math.floor(rowCount / Math.ceil(Math.max(1, sizeBytes) / parquetPartBytes)));
    const end = start + rowCount;
    while (start < end) {
      const part = { rowStart: start, rowEnd: Math.min(start + partRows, end) };
      const rows = await parquetReadObjects({ file, metadata, compressors, parsers, useOffsetIndex: true, ...part }).catch(broken);
      for (const [index, row] of rows.entries()) {
        const line = start + index + 1;
        yield hasNotUtf8(row) ? { kind: "bad", line, reason: "is not UTF-8" } : fromRow(row, line, toSample);
      }
      start = part.rowEnd;
    }
  }
}

function hasNotUtf8(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return value === notUtf8;
  return !ArrayBuffer.isView(value) && Object.values(value).some(hasNotUtf8);
}

function fromRow(value: unknown, line: number, toSample: ToSample): Sample {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { kind: "bad", line, reason: "is no object" };
  return toSample(value as Record<string, unknown>, line);
}

function toPair(row: Readonly<Record<string, unknown>>, line: number): Sample {
  const preference = readPreference(row);
  return "reason" in preference ? { kind: "bad", line, reason: preference.reason } : { kind: "pair", line, preference };
}

function toText(row: Readonly<Record<string, unknown>>, line: number): Sample {
  const bad = (reason: string): Sample => ({ kind: "bad", line, reason });
  const { text, prompt, completion } = row;
  const isText = typeof text === "string";
  const isPair = typeof prompt === "string" && typeof completion === "string";
  const forms = [...conversationForms(row), ...(isText ? ["text"] : []), ...(isPair ? ["prompt and completion"] : [])];
  if (forms.length > 1 && forms.some((form) => form !== "text" && form !== "prompt and completion"))
    return bad(`mixes forms (${forms.join("; ")}): keep the fields of one`);
  const conversation = readConversation(row);
  if (conversation !== undefined)
    return "reason" in conversation ? bad(conversation.reason) : { kind: "chat", line, messages: conversation.messages };
  if (isText) {
    if (text === "") return bad("has an empty text");
    return { kind: "sample", line, segments: [{ text, isLearned: true }], isWhole: true };
  }
  if (isPair) {
    if (completion === "") return bad("has an empty completion");
    const segments = [
      { text: prompt, isLearned: false },
      { text: completion, isLearned: true },
    ];
    return { kind: "sample", line, segments, isWhole: true };
  }
  if (isPreference(row)) return bad("is a pair of answers: objectives that learn from those are reward and dpo");
  return bad('has neither "text", nor "prompt" and "completion", nor a conversation');
}

function encodingFault(bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return "is not UTF-8";
  return bytes.includes(0) ? "has a zero byte, as UTF-16 has: it must be UTF-8" : undefined;
}

const byteOrderMark = Buffer.from("\ufeff");

/** Lines without their ends (\n or \r\n) and without a mark at the file's start that says it is UTF-8, numbered from 1. */
async function* lines(path: string): AsyncGenerator<{ line: number; bytes: Buffer }> {
  let line = 0;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const finish = (last: Buffer): { line: number; bytes: Buffer } => {
    const bytes = Buffer.concat([...pending, last]);
    pending = [];
    pendingBytes = 0;
    line += 1;
    const from = line === 1 && bytes.subarray(0, 3).equals(byteOrderMark) ? 3 : 0;
    return { line, bytes: bytes.subarray(from, bytes.at(-1) === 0x0d ? -1 : undefined) };
  };
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      yield finish(chunk.subarray(start, end));
      start = end + 1;
    }
    pending.push(Buffer.from(chunk.subarray(start)));
    pendingBytes += chunk.length - start;
    if (pendingBytes > maxLineBytes) throw new FormatError(path, `line ${line + 1} is longer than ${maxLineBytes} bytes`);
  }
  if (pendingBytes > 0) yield finish(Buffer.alloc(0));
}
