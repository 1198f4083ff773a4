import { MemoryError } from "../errors.ts";
import { alignUp, type Device, type DeviceBuffer, Owner, TensorContext } from "../ggml/index.ts";
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
  /** Byte views of all cells, row after row; host memory. */
  readonly rows: readonly { readonly bytes: Uint8Array; readonly rowBytes: number }[];
}

/**
 * Keys and values of every block: one tensor [streams · cells + 1, K·D] each. Stream s has rows [s · cells, (s + 1) · cells); the
 * last row is scratch, where padding rows of a pass write. Pages of memory are touched only as cells are written.
 */
export class KvCache extends Owner {
  readonly shape: CacheShape;
  readonly sizeBytes: number;
  readonly #blocks: readonly BlockCache[];
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
      let offset = 0;
      const blocks = config.blocks.map(({ numKvHeads, headDim }, index) => {
        const width = numKvHeads * headDim;
        const rowBytes = sizes[index]!;
        const bytes = rows * rowBytes;
        const place = (name: string) => {
          const pointer = context.tensor(shape.dtype, [width, rows]);
          owned.place(pointer, offset, bytes);
          const tensor = leaf({ name, dtype: shape.dtype, shape: [rows, width], pointer, repacked: false });
          const view = { bytes: owned.view(offset, bytes), rowBytes };
          offset += alignUp(bytes, 128);
          return { tensor, view };
        };
        const keys = place(`cache.${index}.keys`);
        const values = place(`cache.${index}.values`);
        return { keys: keys.tensor, values: values.tensor, rows: [keys.view, values.view] };
      });
      return new KvCache(shape, total, blocks, context, owned);
    } catch (error) {
      buffer?.[Symbol.dispose]();
      context[Symbol.dispose]();
      if (error instanceof MemoryError) {
        throw new MemoryError(`the key-value cache needs ${error.neededBytes} bytes; set a smaller context or cacheBytes`, error);
      }
      throw error;
    }
  }

  private constructor(shape: CacheShape, sizeBytes: number, blocks: readonly BlockCache[], context: TensorContext, buffer: DeviceBuffer) {
    super("the key-value cache");
    this.shape = shape;
    this.sizeBytes = sizeBytes;
    this.#blocks = blocks;
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

  /** Copies cells within one stream or between two, in the order given; `from[i]` -> `to[i]`. Rows, not cells: stream · cells + cell. */
  copyRows(from: readonly number[], to: readonly number[]): void {
    this.assertAlive();
    for (const { rows } of this.#blocks) {
      for (const { bytes, rowBytes } of rows) {
        eachRun(from, to, (source, target, count) => bytes.copyWithin(target * rowBytes, source * rowBytes, (source + count) * rowBytes));
      }
    }
  }

  /** The content of rows, for keeping a preempted stream in host memory. */
  save(rowIndices: readonly number[]): Uint8Array {
    this.assertAlive();
    const perRow = this.#blocks.reduce((sum, { rows }) => sum + rows.reduce((bytes, row) => bytes + row.rowBytes, 0), 0);
    const saved = new Uint8Array(perRow * rowIndices.length);
    let offset = 0;
    for (const { rows } of this.#blocks) {
      for (const { bytes, rowBytes } of rows) {
        eachRun(rowIndices, rowIndices, (source, _target, count) => {
          saved.set(bytes.subarray(source * rowBytes, (source + count) * rowBytes), offset);
          offset += count * rowBytes;
        });
      }
    }
    return saved;
  }

  /** Puts back what {@link save} returned, into rows that may be others. */
  restore(saved: Uint8Array, rowIndices: readonly number[]): void {
    this.assertAlive();
    let offset = 0;
    for (const { rows } of this.#blocks) {
      for (const { bytes, rowBytes } of rows) {
        eachRun(rowIndices, rowIndices, (target, _same, count) => {
          bytes.set(saved.subarray(offset, offset + count * rowBytes), target * rowBytes);
          offset += count * rowBytes;
        });
      }
    }
  }

  protected release(): void {
    this.#buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}

/** Calls `run` for stretches in which both lists count up by one. */
function eachRun(from: readonly number[], to: readonly number[], run: (from: number, to: number, count: number) => void): void {
  let start = 0;
  for (let i = 1; i <= from.length; i += 1) {
    if (i < from.length && from[i] === from[i - 1]! + 1 && to[i] === to[i - 1]! + 1) continue;
    run(from[start]!, to[start]!, i - start);
    start = i;
  }
}
