import { MemoryError } from "../errors.ts";
import type { DeviceBuffer } from "./buffer.ts";
import type { Native } from "./native.ts";
import { Owner } from "./owner.ts";
import { pin } from "./pin.ts";
import type { Pointer, TensorPointer } from "./pointer.ts";
import { bufferField } from "./structs.ts";
import { type DType, typeIds } from "./types.ts";

/** Headers of tensors and graphs (no tensor data). Its size is fixed when made: ggml aborts when it runs out. */
export class TensorContext extends Owner {
  readonly native: Native;
  readonly pointer: Pointer<"ggml_context">;
  #tensorsLeft: number;

  static create(native: Native, maxTensors: number, graphNodes = 0): TensorContext {
    const size = maxTensors * pin.tensorOverhead + (graphNodes > 0 ? native.ggml_graph_overhead_custom(graphNodes, false) : 0) + 1024;
    const pointer = native.ggml_init({ mem_size: size, mem_buffer: null, no_alloc: true });
    if (pointer === null) throw new MemoryError("a tensor context could not be made", { neededBytes: size, availableBytes: 0 });
    return new TensorContext(native, pointer, maxTensors);
  }

  private constructor(native: Native, pointer: Pointer<"ggml_context">, maxTensors: number) {
    super("a tensor context");
    this.native = native;
    this.pointer = pointer;
    this.#tensorsLeft = maxTensors;
  }

  /** Counts a header that the next native call will take. */
  reserve(tensors = 1): Pointer<"ggml_context"> {
    this.assertAlive();
    this.#tensorsLeft -= tensors;
    if (this.#tensorsLeft < 0) throw new RangeError("internal: a tensor context ran out of headers");
    return this.pointer;
  }

  /** A tensor header; `ne` innermost axis first, as ggml writes shapes. */
  tensor(type: DType, ne: readonly number[]): TensorPointer {
    const context = this.reserve();
    return this.native.ggml_new_tensor(context, typeIds[type], ne.length, BigInt64Array.from(ne, BigInt));
  }

  /** Says in which buffer a tensor would lie, without placing it: for asking a device what it supports. */
  attach(tensor: TensorPointer, buffer: DeviceBuffer): void {
    this.assertAlive();
    bufferField(tensor)[0] = buffer.pointer;
  }

  protected release(): void {
    this.native.ggml_free(this.pointer);
  }
}
