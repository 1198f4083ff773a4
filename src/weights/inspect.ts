import { OptionError } from "../errors.ts";
import { type GgufFile, openGguf } from "./gguf-reader.ts";
import { type MetadataValue, StringArray } from "./metadata.ts";
import { OpenFile } from "./open-file.ts";
import { openSafetensors } from "./safetensors.ts";

/** A value of a file's metadata; of an array its length and first values. 64-bit integers beyond 2^53 are decimal strings. */
export type InspectedValue =
  | string
  | number
  | boolean
  | { readonly of: string; readonly length: number; readonly first: readonly (string | number | boolean)[] };

/** What a model file holds, as plain data. */
export interface Inspection {
  readonly path: string;
  readonly format: "gguf" | "safetensors";
  readonly sizeBytes: number;
  /** Of GGUF only. */
  readonly version?: number;
  readonly alignment?: number;
  /** @see GgufFile.fingerprint */
  readonly fingerprint?: string;
  readonly metadata: Readonly<Record<string, { readonly type: string; readonly value: InspectedValue }>>;
  /** Elements of all tensors together. */
  readonly elementCount: number;
  readonly types: readonly { readonly type: string; readonly tensors: number; readonly elements: number; readonly sizeBytes: number }[];
  readonly tensors: readonly {
    readonly name: string;
    readonly type: string;
    /** Outermost axis first. */
    readonly shape: readonly number[];
    readonly offset: number;
    readonly sizeBytes: number;
  }[];
  readonly memory?: MemoryPlan;
}

/** What running a model takes at least, apart from scratch memory. */
export interface MemoryPlan {
  readonly weightsBytes: number;
  /** Tokens the cache is planned for. */
  readonly context: number;
  /** Keys and values of one token in all blocks. */
  readonly cacheBytesPerToken: number;
  readonly cacheBytes: number;
  readonly cacheType: "f16";
}

/**
 * Describes a GGUF or safetensors file without reading its tensors.
 *
 * @param options.memory   add a plan of the memory that running it takes; GGUF only
 * @param options.context  tokens to plan for; default the context length the file names
 * @throws FormatError, NotFoundError as {@link openGguf}; OptionError for a plan of a file that does not say its architecture
 */
export function inspectFile(path: string, options: { memory?: boolean; context?: number } = {}): Inspection {
  if (options.context !== undefined && options.memory !== true) throw new OptionError("context", "is for the memory plan only");
  if (!looksLikeSafetensors(path)) {
    using file = openGguf(path);
    return inspectGguf(file, options);
  }
  if (options.memory === true) throw new OptionError("memory", "a safetensors file does not say what architecture it is for");
  using file = openSafetensors(path);
  const metadata = Object.fromEntries([...file.metadata].map(([key, value]) => [key, { type: "string", value }]));
  return { path, format: "safetensors", sizeBytes: file.sizeBytes, metadata, ...summarize([...file.tensors.values()]) };
}

function looksLikeSafetensors(path: string): boolean {
  using file = new OpenFile(path);
  const start = Buffer.alloc(Math.min(9, file.sizeBytes));
  file.readInto(start, 0);
  return start.toString("latin1", 0, 4) !== "GGUF" && start[8] === 0x7b; // the JSON after the header's length
}

function inspectGguf(file: GgufFile, options: { memory?: boolean; context?: number }): Inspection {
  const metadata = Object.fromEntries(
    [...file.metadata].map(([key, value]) => [
      key,
      { type: value.type === "array" ? `array of ${value.of}` : value.type, value: plainValue(value) },
    ]),
  );
  return {
    path: file.path,
    format: "gguf",
    sizeBytes: file.sizeBytes,
    version: file.version,
    alignment: file.alignment,
    fingerprint: file.fingerprint(),
    metadata,
    ...summarize([...file.tensors.values()]),
    ...(options.memory === true ? { memory: planMemory(file, options.context) } : {}),
  };
}

const shownValues = 5;

function plainValue(entry: MetadataValue): InspectedValue {
  if (entry.type !== "array") return plain(entry.value);
  const { of, value } = entry;
  const count = Math.min(shownValues, value.length);
  const first = Array.from({ length: count }, (_, index) => {
    if (value instanceof StringArray) return value.at(index);
    return of === "bool" ? value[index] === 1 : plain(value[index]!);
  });
  return { of, length: value.length, first };
}

/** JSON has neither large integers nor infinities. */
function plain<T extends string | number | boolean>(value: T | bigint): T | string {
  return typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value)) ? String(value) : value;
}

function summarize<T extends Inspection["tensors"][number]>(tensors: readonly T[]) {
  const byType = new Map<string, { type: string; tensors: number; elements: number; sizeBytes: number }>();
  let elementCount = 0;
  for (const { type, shape, sizeBytes } of tensors) {
    const elements = shape.reduce((product, size) => product * size, 1);
    const total = byType.get(type) ?? { type, tensors: 0, elements: 0, sizeBytes: 0 };
    byType.set(type, {
      type,
      tensors: total.tensors + 1,
      elements: total.elements + elements,
      sizeBytes: total.sizeBytes + sizeBytes,
    });
    elementCount += elements;
  }
  const types = [...byType.values()].sort((a, b) => b.sizeBytes - a.sizeBytes);
  return { elementCount, types, tensors };
}

const cacheElementBytes = 2; // f16
const maxSize = 2 ** 31 - 1; // sizes of models, far above any real one

/**
 * Weights as they lie in the file, and a key-value cache in f16 in which every block keeps every token (what a sliding window
 * would let go of is counted).
 *
 * @throws FormatError if the metadata lack a size of the architecture or have an impossible one
 */
export function planMemory(file: GgufFile, context?: number): MemoryPlan {
  const { metadata } = file;
  const key = (name: string) => `${metadata.requireString("general.architecture")}.${name}`;
  const size = (name: string) => metadata.requireInteger(key(name), { min: 1, max: maxSize });
  const optionalSize = (name: string) => metadata.getInteger(key(name), { min: 1, max: maxSize });

  const tokens = context ?? size("context_length");
  if (!Number.isSafeInteger(tokens) || tokens < 1 || tokens > maxSize) throw new OptionError("context", `${tokens} is no number of tokens`);
  const blockCount = size("block_count");
  if (blockCount > 65_536) throw metadata.error(key("block_count"), `is ${blockCount}`);
  const heads = perBlock(file, key("attention.head_count"), blockCount);
  if (heads === undefined) metadata.requireInteger(key("attention.head_count"));
  const kvHeads = perBlock(file, key("attention.head_count_kv"), blockCount) ?? heads!;
  const headSize = () => Math.floor(size("embedding_length") / Math.max(...heads!, 1));
  const keySize = optionalSize("attention.key_length") ?? headSize();
  const valueSize = optionalSize("attention.value_length") ?? headSize();

  const allKvHeads = kvHeads.reduce((sum, count) => sum + count, 0);
  const cacheBytesPerToken = allKvHeads * (keySize + valueSize) * cacheElementBytes;
  const cacheBytes = cacheBytesPerToken * tokens;
  if (!Number.isSafeInteger(cacheBytes)) throw metadata.error(key("block_count"), "with the other sizes gives a cache beyond 2^53 bytes");
  const weightsBytes = [...file.tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { weightsBytes, context: tokens, cacheBytesPerToken, cacheBytes, cacheType: "f16" };
}

/** A count that a file gives once for all blocks or for each: blocks of some families have no attention. */
function perBlock({ metadata }: GgufFile, key: string, blockCount: number): readonly number[] | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (entry.type !== "array") return Array.from({ length: blockCount }, () => metadata.requireInteger(key, { max: maxSize }));
  const counts = [...(metadata.getNumbers(key) ?? [])].map(Number);
  if (counts.length !== blockCount) throw metadata.error(key, `has ${counts.length} values for ${blockCount} blocks`);
  const bad = counts.find((count) => !Number.isSafeInteger(count) || count < 0 || count > maxSize);
  if (bad !== undefined) throw metadata.error(key, `has the value ${bad}`);
  return counts;
}
