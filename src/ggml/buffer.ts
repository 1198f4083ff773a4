import { MemoryError } from "../errors.ts";
import { type Native, viewMemory } from "./native.ts";
import { Owner } from "./owner.ts";
import type { Pointer, TensorPointer } from "./pointer.ts";

/** A region of device memory. Tensors are placed in it one after the other. */
export class DeviceBuffer extends Owner {
  readonly native: Native;
  readonly pointer: Pointer<"ggml_backend_buffer">;
  readonly sizeBytes: number;
  /** Address of the first byte; for host buffers it may be read and written through {@link view}. */
  readonly base: bigint;
  readonly alignment: number;

  /** @throws MemoryError */
  static create(native: Native, type: Pointer<"ggml_backend_buffer_type">, sizeBytes: number): DeviceBuffer {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      throw new RangeError(`a buffer's size must be a whole number of bytes, got ${sizeBytes}`);
    const pointer = native.ggml_backend_buft_alloc_buffer(type, Math.max(sizeBytes, 1));
    if (pointer === null)
      throw new MemoryError(`${sizeBytes} bytes of device memory could not be had`, { neededBytes: sizeBytes, availableBytes: 0 });
    return new DeviceBuffer(native, pointer, sizeBytes, native.ggml_backend_buft_get_alignment(type));
  }

  private constructor(native: Native, pointer: Pointer<"ggml_backend_buffer">, sizeBytes: number, alignment: number) {
    super("a device buffer");
    this.native = native;
    this.pointer = pointer;
    this.sizeBytes = sizeBytes;
    this.base = sizeBytes === 0 ? 0n : (native.ggml_backend_buffer_get_base(pointer) as bigint);
    this.alignment = alignment;
  }

  /** Gives a tensor its place at `offset`. @throws RangeError if it does not fit or is not aligned */
  place(tensor: TensorPointer, offset: number, tensorBytes: number): void {
    this.assertAlive();
    if (offset % this.alignment !== 0 || offset < 0 || offset + tensorBytes > this.sizeBytes) {
      throw new RangeError(
        `internal: a tensor of ${tensorBytes} bytes at offset ${offset} does not fit a buffer of ${this.sizeBytes} bytes`,
      );
    }
    const status = this.native.ggml_backend_tensor_alloc(this.pointer, tensor, (this.base + BigInt(offset)) as Pointer<"memory">);
    if (status !== 0)
      throw new MemoryError("a tensor could not be placed in its buffer", {
        neededBytes: tensorBytes,
        availableBytes: this.sizeBytes - offset,
      });
  }

  /** The bytes [offset, offset + sizeBytes) without a copy. Host buffers only; not to be kept across a dispose. */
  view(offset: number, sizeBytes: number): Uint8Array<ArrayBuffer> {
    this.assertAlive();
    if (offset < 0 || sizeBytes < 0 || offset + sizeBytes > this.sizeBytes)
      throw new RangeError(`internal: view [${offset}, +${sizeBytes}) is outside a buffer of ${this.sizeBytes} bytes`);
    return new Uint8Array(viewMemory(this.base + BigInt(offset), sizeBytes));
  }

  protected release(): void {
    this.native.ggml_backend_buffer_free(this.pointer);
  }
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
