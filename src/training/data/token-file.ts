import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { FormatError } from "../../errors.ts";
import { Owner } from "../../ggml/index.ts";
import { AtomicFile } from "../../weights/index.ts";
import type { Documents } from "./batches.ts";
import { type EncodeOptions, encodeSample, notLearned } from "./encode.ts";
import { type DataFormat, type RowKind, readSamples } from "./samples.ts";

export interface PrepareOptions extends EncodeOptions {
  readonly format: DataFormat;
  /** Default "texts". */
  readonly rows?: RowKind;
  /** Tells one vocabulary, and its chat template, from another. */
  readonly vocabulary: string;
  /** What happens to a sample that can't be used: end with an error that names it, or go on and report it. */
  readonly bad: "stop" | "skip";
  readonly onBad?: (bad: { readonly line: number; readonly reason: string }) => void;
  readonly onTokens?: (tokens: number) => void;
  readonly signal?: AbortSignal | undefined;
}

interface Description {
  readonly version: 1;
  readonly source: { readonly path: string; readonly sizeBytes: number; readonly modifiedMs: number };
  readonly vocabulary: string;
  readonly contextLength: number;
  /** Absent: texts. */
  readonly rows?: RowKind;
  readonly tokens: number;
  readonly documents: number;
  readonly bad: number;
}

/**
 * A data file as tokens on disk, so that data may be larger than memory: `tokens.bin`, and of each document its length in `documents.bin`,
 * which alone is held in memory (4 bytes each).
 */
export class TokenFile extends Owner implements Documents {
  readonly description: Description;
  /** Tokens of each document. */
  readonly lengths: Uint32Array;
  readonly #descriptor: number;
  readonly #starts: Float64Array;

  /**
   * Tokenizes a data file into `folder`, or opens what an earlier run made there of the same file and vocabulary.
   * @throws FormatError for the first bad sample (with `bad: "stop"`), or a file without any sample
   */
  static async prepare(path: string, folder: string, options: PrepareOptions): Promise<TokenFile> {
    const { size: sizeBytes, mtimeMs: modifiedMs } = statSync(path);
    const source = { path, sizeBytes, modifiedMs };
    const known = readDescription(folder);
    const isSame =
      known !== undefined &&
      JSON.stringify([known.source, known.vocabulary, known.contextLength, known.rows]) ===
        JSON.stringify([source, options.vocabulary, options.contextLength, options.rows]);
    return TokenFile.#open(folder, isSame ? known : await write(folder, source, options));
  }

  static #open(folder: string, description: Description): TokenFile {
    const wrong = (name: string) =>
      new FormatError(join(folder, name), "has another size than its description says; remove the folder to make it again");
    const bytes = readFileSync(join(folder, "documents.bin"));
    if (bytes.length !== description.documents * 4) throw wrong("documents.bin");
    const lengths = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    if (lengths.reduce((sum, length) => sum + length, 0) !== description.tokens) throw wrong("documents.bin");
    if (statSync(join(folder, "tokens.bin")).size !== description.tokens * 4) throw wrong("tokens.bin");
    return new TokenFile(description, lengths, openSync(join(folder, "tokens.bin"), "r"));
  }

  private constructor(description: Description, lengths: Uint32Array, descriptor: number) {
    super(`the tokens of ${description.source.path}`);
    this.description = description;
    this.lengths = lengths;
    this.#descriptor = descriptor;
    this.#starts = new Float64Array(lengths.length);
    let start = 0;
    for (const [index, length] of lengths.entries()) {
      this.#starts[index] = start;
      start += length;
    }
  }

  get identity(): Readonly<Record<string, unknown>> {
    const { source, vocabulary, contextLength, rows } = this.description;
    return {
      ...{ sizeBytes: source.sizeBytes, modifiedMs: source.modifiedMs, vocabulary, contextLength },
      ...(rows === undefined ? {} : { rows }),
    };
  }

  /** Tokens [from, from + ids.length) of a document, and whether each is learned. */
  read(document: number, from: number, ids: Int32Array, isLearned: Uint8Array): void {
    this.assertAlive();
    const stored = new Uint32Array(ids.length);
    const bytes = new Uint8Array(stored.buffer);
    const position = (this.#starts[document]! + from) * 4;
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(this.#descriptor, bytes, done, bytes.length - done, position + done);
      if (count === 0) throw new FormatError("tokens.bin", "was cut short while it was read");
      done += count;
    }
    for (const [i, token] of stored.entries()) {
      ids[i] = token % notLearned;
      isLearned[i] = token < notLearned ? 1 : 0;
    }
  }

  protected release(): void {
    closeSync(this.#descriptor);
  }
}

/** Undefined also for a description that is cut: all of the folder can be made again. */
function readDescription(folder: string): Description | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, "description.json"), "utf8")) as Description;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The description is taken away first and written last: where it stands, the other files are complete, on the disk too. */
async function write(folder: string, source: Description["source"], options: PrepareOptions): Promise<Description> {
  rmSync(join(folder, "description.json"), { force: true });
  for (const name of readdirSync(folder)) if (name.endsWith(".partial")) rmSync(join(folder, name)); // what a killed run was writing
  using file = new AtomicFile(join(folder, "tokens.bin"));
  const lengths: number[] = [];
  let tokens = 0;
  let bad = 0;
  for await (const sample of readSamples(source.path, options.format, options.rows)) {
    options.signal?.throwIfAborted();
    const encoded = sample.kind === "bad" ? sample : await encodeSample(sample, options);
    if ("reason" in encoded) {
      if (options.bad === "stop") throw new FormatError(source.path, `line ${sample.line} ${encoded.reason}`);
      bad += 1;
      options.onBad?.({ line: sample.line, reason: encoded.reason });
      continue;
    }
    file.write(bytesOf(encoded.ids));
    lengths.push(encoded.ids.length);
    tokens += encoded.ids.length;
    options.onTokens?.(tokens);
  }
  if (lengths.length === 0) throw new FormatError(source.path, "has no sample that can be used");
  file.commit();
  writeAtomically(join(folder, "documents.bin"), bytesOf(Uint32Array.from(lengths)));
  const { vocabulary, contextLength, rows } = options;
  const description: Description = {
    ...{ version: 1, source, vocabulary, contextLength, tokens, documents: lengths.length, bad },
    ...(rows === undefined ? {} : { rows }),
  };
  writeAtomically(join(folder, "description.json"), Buffer.from(`${JSON.stringify(description)}\n`));
  return description;
}

function writeAtomically(path: string, bytes: Uint8Array): void {
  using file = new AtomicFile(path);
  file.write(bytes);
  file.commit();
}

const bytesOf = (words: Uint32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
