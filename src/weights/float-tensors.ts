import { alignUp, type Device, type DeviceBuffer, Owner, TensorContext } from "../ggml/index.ts";
import { leaf, type Shape, type Tensor, toNe } from "../tensor/index.ts";

/** Constant f32 tensors in device memory, by name: what is made of files and not read from them as it lies. */
export class FloatTensors extends Owner {
  readonly #context: TensorContext;
  readonly #buffer: DeviceBuffer;
  readonly #tensors = new Map<string, Tensor>();

  /** @throws MemoryError; RangeError for values of another number than the shape has, or a name that stands twice */
  static create(
    device: Device,
    tensors: readonly { readonly name: string; readonly shape: Shape; readonly values: Float32Array }[],
  ): FloatTensors {
    return new FloatTensors(device, tensors);
  }

  private constructor(device: Device, tensors: Parameters<typeof FloatTensors.create>[1]) {
    super("constant tensors");
    const { native } = device;
    this.#context = TensorContext.create(native, tensors.length + 1);
    let buffer: DeviceBuffer | undefined;
    try {
      const placed = tensors.map(({ name, shape, values }) => {
        const pointer = this.#context.tensor("f32", toNe(shape));
        const sizeBytes = native.ggml_nbytes(pointer);
        if (sizeBytes !== values.byteLength || this.#tensors.has(name))
          throw new RangeError(`internal: ${name} of ${values.length} values is no new tensor [${shape.join(", ")}]`);
        this.#tensors.set(name, leaf({ name, dtype: "f32", shape, pointer, repacked: false }));
        return { pointer, values, sizeBytes };
      });
      buffer = device.allocate(placed.reduce((sum, { sizeBytes }) => sum + alignUp(sizeBytes, 64), 0));
      let offset = 0;
      for (const { pointer, values, sizeBytes } of placed) {
        buffer.place(pointer, offset, sizeBytes);
        native.ggml_backend_tensor_set(pointer, values, 0, sizeBytes);
        offset += alignUp(sizeBytes, 64);
      }
      this.#buffer = buffer;
    } catch (error) {
      buffer?.[Symbol.dispose]();
      this.#context[Symbol.dispose]();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#buffer.sizeBytes;
  }

  /** The tensor in a graph. */
  tensor(name: string): Tensor {
    this.assertAlive();
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new RangeError(`there is no tensor ${name}`);
    return tensor;
  }

  protected release(): void {
    this.#buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}
