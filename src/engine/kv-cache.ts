import { MemoryError } from "../errors.ts";
import { alignUp, type Device, type DeviceBuffer, Owner, TensorContext, type TensorPointer } from "../ggml/index.ts";
import type { ModelConfig } from "../models/index.ts";
import { leaf, type Tensor } from "../tensor/index.ts";

export interface CacheShape {
  /** Streams: each holds one family of sequences. */
  readonly streams: number;
  /** Cells per stream, a multiple of 256. */
  readonly cells: number;
  readonly dtype: "f16" | "f32";
}

interface BlockCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** One tensor of the cache, row after row. */
interface Rows {
  readonly pointer: TensorPointer;
  readonly rowBytes: number;
}

/**
 * Keys and values of every block: one tensor [streams · cells + 1, K·D] each. Stream s has rows [s · cells, (s + 1) · cells); the
 * last row is scratch, where padding rows of a pass write. Pages of memory are touched only as cells are written.
 */
export class KvCache extends Owner {
  readonly shape: CacheShape;
  readonly sizeBytes: number;
  readonly #blocks: readonly BlockCache[];
  readonly #tensors: readonly Rows[];
  readonly #context: TensorContext;
  readonly #buffer: DeviceBuffer;

  /** Bytes one cell takes over all blocks. */
  static cellBytes(config: ModelConfig, dtype: "f16" | "f32"): number {
    return config.blocks.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * headDim * (dtype === "f16" ? 2 : 4), 0);
  }

  /** @throws MemoryError */
  static create(device: Device, config: ModelConfig, shape: CacheShape): KvCache {
    const context = TensorContext.create(device.native, 2 * config.blocks.length);
    let buffer: DeviceBuffer | undefined;
    try {
      const rows = shape.streams * shape.cells + 1;
      const element = shape.dtype === "f16" ? 2 : 4;
      const sizes = config.blocks.map(({ numKvHeads, headDim }) => numKvHeads * headDim * element);
      const total = sizes.reduce((sum, rowBytes) => sum + 2 * alignUp(rows * rowBytes, 128), 0);
      const owned = device.allocate(total);
      buffer = owned;
      // masked cells are read by the prompt kernel, so none may hold what is no number. Linux hands out large regions zeroed (and touched
      // only when written); smaller ones may have been used before, and other systems promise nothing
      if (process.platform !== "linux" || total < 2 ** 26) device.native.ggml_backend_buffer_clear(owned.pointer, 0);
      let offset = 0;
      const tensors: Rows[] = [];
      const blocks = config.blocks.map(({ numKvHeads, headDim }, index) => {
        const width = numKvHeads * headDim;
        const rowBytes = sizes[index]!;
        const bytes = rows * rowBytes;
        const place = (name: string) => {
          const pointer = context.tensor(shape.dtype, [width, rows]);
          owned.place(pointer, offset, bytes);
          offset += alignUp(bytes, 128);
          tensors.push({ pointer, rowBytes });
          return leaf({ name, dtype: shape.dtype, shape: [rows, width], pointer, repacked: false });
        };
        return { keys: place(`cache.${index}.keys`), values: place(`cache.${index}.values`) };
      });
      return new KvCache(shape, total, blocks, tensors, context, owned);
    } catch (error) {
      buffer?.[Symbol.dispose]();
      context[Symbol.dispose]();
      if (error instanceof MemoryError) {
        throw new MemoryError(`the key-value cache needs ${error.neededBytes} bytes; set a smaller context or cacheBytes`, error);
      }
      throw error;
    }
  }

  private constructor(
    shape: CacheShape,
    sizeBytes: number,
    blocks: readonly BlockCache[],
    tensors: readonly Rows[],
    context: TensorContext,
    buffer: DeviceBuffer,
  ) {
    super("the key-value cache");
    this.shape = shape;
    this.sizeBytes = sizeBytes;
    this.#blocks = blocks;
    this.#tensors = tensors;
    this.#context = context;
    this.#buffer = buffer;
  }

  /** Where padding rows write. */
  get scratchRow(): number {
    return this.shape.streams * this.shape.cells;
  }

  block(index: number): { keys: Tensor; values: Tensor } {
    this.assertAlive();
    return this.#blocks[index]!;
  }

  /** Copies cells within one stream or between two; `from[i]` -> `to[i]`. Rows, not cells: stream · cells + cell. */
  copyRows(from: readonly number[], to: readonly number[]): void {
    this.restore(this.save(from), to);
  }

  /** The content of rows, for keeping a preempted stream in host memory. */
  save(rowIndices: readonly number[]): Uint8Array {
    const saved = new Uint8Array(rowIndices.length * this.#tensors.reduce((sum, { rowBytes }) => sum + rowBytes, 0));
    this.#transfer("ggml_backend_tensor_get", saved, rowIndices);
    return saved;
  }

  /** Puts back what {@link save} returned, into rows that may be others. */
  restore(saved: Uint8Array, rowIndices: readonly number[]): void {
    this.#transfer("ggml_backend_tensor_set", saved, rowIndices);
  }

  #transfer(direction: "ggml_backend_tensor_get" | "ggml_backend_tensor_set", saved: Uint8Array, rowIndices: readonly number[]): void {
    this.assertAlive();
    const last = this.shape.streams * this.shape.cells;
    for (const row of rowIndices)
      if (!Number.isInteger(row) || row < 0 || row >= last) throw new RangeError(`internal: the cache has no row ${row}`);
    const transfer = this.#buffer.native[direction];
    let at = 0;
    for (const { pointer, rowBytes } of this.#tensors) {
      for (const { start, count } of runsOf(rowIndices)) {
        const bytes = count * rowBytes;
        transfer(pointer, saved.subarray(at, at + bytes), start * rowBytes, bytes);
        at += bytes;
      }
    }
  }

  protected release(): void {
    this.#buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}

/** Stretches of rows that follow one another. */
function runsOf(rows: readonly number[]): { start: number; count: number }[] {
  const runs: { start: number; count: number }[] = [];
  for (const row of rows) {
    const run = runs.at(-1);
    if (run !== undefined && row === run.start + run.count) run.count += 1;
    else runs.push({ start: row, count: 1 });
  }
  return runs;
}
