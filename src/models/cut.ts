import { resolve } from "node:path";
import { OptionError, UnsupportedError } from "../errors.ts";
import { Metadata, type MetadataValue, openGguf, type TensorInfo, writeGguf } from "../weights/index.ts";
import { familyOf } from "./families/index.ts";
import type { ModelConfig } from "./model.ts";

export interface CutOptions {
  /** How many of the first blocks stay, or which: indices, ascending, each once. */
  readonly blocks: number | readonly number[];
  readonly signal?: AbortSignal | undefined;
}

export interface CutReport {
  /** Indices, in the model that was cut, of the blocks that stayed. */
  readonly blocks: readonly number[];
  /** How many it had. */
  readonly of: number;
}

/** Keys that say in a file's metadata what it was cut from. */
const cutKey = "chainrule.cut.blocks";
const cutOfKey = "chainrule.cut.of";

const chunkBytes = 4 * 2 ** 20;

/**
 * Writes a GGUF file with some of a model's blocks and everything else of it, vocabulary, embedding and head included, bytes unchanged: a
 * small draft model with the same vocabulary. Its name and its metadata (`chainrule.cut.blocks`, `chainrule.cut.of`) say that it is a cut.
 *
 * @throws OptionError for blocks that the model has not, UnsupportedError where a block would get another shape of attention in its new
 *         place (a pattern of windows that counts from the first block), FormatError for the file, the signal's reason
 */
export async function cutModel(input: string, output: string, options: CutOptions): Promise<CutReport> {
  if (resolve(input) === resolve(output)) throw new OptionError("output", "is the input file");
  using file = openGguf(input);
  const architecture = file.metadata.requireString("general.architecture");
  const family = familyOf(architecture);
  const before = family.configure(file.metadata);
  const of = before.blocks.length;
  const blocks = chooseBlocks(options.blocks, of);
  const metadata = new Metadata(output, metadataOf(file.metadata, architecture, blocks, of));
  checkShapes(before, family.configure(metadata), blocks);
  const places = new Map(blocks.map((block, place) => [block, place]));
  const tensors: (TensorInfo & { readonly newName: string })[] = [];
  for (const info of file.tensors.values()) {
    const [, index, rest] = /^blk\.(\d+)\.(.+)$/.exec(info.name) ?? [];
    const place = index === undefined ? undefined : places.get(Number(index));
    if (index === undefined) tensors.push({ ...info, newName: info.name });
    else if (place !== undefined) tensors.push({ ...info, newName: `blk.${place}.${rest}` });
  }
  await writeGguf(output, {
    metadata,
    tensors: tensors.map(({ name, newName, type, shape, sizeBytes }) => ({
      ...{ name: newName, type, shape },
      async *data() {
        for (let from = 0; from < sizeBytes; from += chunkBytes) {
          await new Promise((done) => setImmediate(done));
          options.signal?.throwIfAborted();
          const bytes = new Uint8Array(Math.min(chunkBytes, sizeBytes - from));
          file.readInto(name, bytes, from);
          yield bytes;
        }
      },
    })),
  });
  file.checkUnchanged();
  return { blocks, of };
}

function chooseBlocks(blocks: number | readonly number[], of: number): readonly number[] {
  const list = typeof blocks === "number" ? Array.from({ length: blocks }, (_, index) => index) : [...blocks];
  if (typeof blocks === "number" ? !(Number.isInteger(blocks) && blocks >= 1 && blocks <= of) : list.length === 0)
    throw new OptionError("blocks", `must be a number of blocks in [1, ${of}] or a list of their indices, got ${String(blocks)}`);
  list.forEach((block, place) => {
    if (!Number.isInteger(block) || block < 0 || block >= of)
      throw new OptionError("blocks", `there is no block ${block}: the model has blocks 0 to ${of - 1}`);
    if (place > 0 && block <= list[place - 1]!)
      throw new OptionError("blocks", `must ascend, each block once; ${block} comes after ${list[place - 1]}`);
  });
  return list;
}

/** Of lists with a value per block those of the blocks that stay; a name that says what was cut. */
function metadataOf(
  metadata: Iterable<readonly [string, MetadataValue]>,
  architecture: string,
  blocks: readonly number[],
  of: number,
): Map<string, MetadataValue> {
  const isFirst = blocks.every((block, place) => block === place);
  const which = isFirst ? `the first ${blocks.length}` : `blocks ${blocks.join(", ")}`;
  const cut = new Map<string, MetadataValue>();
  for (const [key, entry] of metadata) {
    const isPerBlock = key.startsWith(`${architecture}.`) && entry.type === "array" && entry.of !== "string" && entry.value.length === of;
    if (key === `${architecture}.block_count`) cut.set(key, { type: "uint32", value: blocks.length });
    else if (key === "general.name" && entry.type === "string")
      cut.set(key, { type: "string", value: `${entry.value} (cut: ${which} of ${of} blocks)` });
    else if (isPerBlock)
      cut.set(key, { ...entry, value: entry.value.filter((_: number | bigint, block: number) => blocks.includes(block)) } as MetadataValue);
    else cut.set(key, entry);
  }
  if (!cut.has("general.name")) cut.set("general.name", { type: "string", value: `a cut: ${which} of ${of} blocks` });
  cut.set(cutKey, { type: "array", of: "uint32", value: Uint32Array.from(blocks) });
  cut.set(cutOfKey, { type: "uint32", value: of });
  return cut;
}

function checkShapes(before: ModelConfig, after: ModelConfig, blocks: readonly number[]): void {
  for (const [place, block] of blocks.entries()) {
    const [was, is] = [before.blocks[block]!, after.blocks[place]!];
    if (was.slidingWindow === is.slidingWindow && was.numHeads === is.numHeads && was.numKvHeads === is.numKvHeads) continue;
    const window = (value: number | undefined) => (value === undefined ? "no window" : `a window of ${value}`);
    throw new UnsupportedError(
      `block ${block} attends with ${window(was.slidingWindow)}; as block ${place} this architecture would give it ${window(is.slidingWindow)}: choose blocks that keep their pattern`,
    );
  }
}
