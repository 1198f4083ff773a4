import { UnsupportedError } from "../errors.ts";
import { alignUp, type Device, type DeviceBuffer, Owner, TensorContext } from "../ggml/index.ts";
import { elementCount, leaf, type Shape, type Tensor, toNe } from "../tensor/index.ts";

interface Place {
  readonly tensor: Tensor;
  readonly offset: number;
  readonly count: number;
}

/**
 * Trainable tensors: f32 in device memory, where programs read them and optimizers change them in place. Zeros at first.
 *
 * ```ts
 * using parameters = Parameters.create(device, [{ name: "w", shape: [4, 8] }]);
 * parameters.values("w").fill(1);
 * const y = linear(x, parameters.tensor("w"));
 * ```
 */
export class Parameters extends Owner {
  readonly #context: TensorContext;
  readonly #buffer: DeviceBuffer;
  readonly #places = new Map<string, Place>();

  /** @throws UnsupportedError on a device whose memory can't be seen from here, MemoryError, RangeError for a name that stands twice */
  static create(device: Device, shapes: Iterable<{ readonly name: string; readonly shape: Shape }>): Parameters {
    if (!device.native.ggml_backend_buft_is_host(device.bufferType()))
      throw new UnsupportedError(`training runs on the CPU: the memory of ${device.name} can't be written in place`);
    return new Parameters(device, [...shapes]);
  }

  private constructor(device: Device, shapes: readonly { readonly name: string; readonly shape: Shape }[]) {
    super("trainable parameters");
    this.#context = TensorContext.create(device.native, shapes.length + 1);
    try {
      let sizeBytes = 0;
      const pointers = shapes.map(({ name, shape }) => {
        if (this.#places.has(name)) throw new RangeError(`two parameters have the name ${name}`);
        const pointer = this.#context.tensor("f32", toNe(shape));
        const place = {
          tensor: leaf({ name, dtype: "f32", shape, pointer, repacked: false }),
          offset: sizeBytes,
          count: elementCount(shape),
        };
        this.#places.set(name, place);
        sizeBytes = alignUp(sizeBytes + place.count * 4, 64);
        return pointer;
      });
      this.#buffer = device.allocate(sizeBytes);
      for (const [index, { offset, count }] of [...this.#places.values()].entries())
        this.#buffer.place(pointers[index]!, offset, count * 4);
      if (sizeBytes > 0) this.#buffer.view(0, sizeBytes).fill(0);
    } catch (error) {
      this.#context[Symbol.dispose]();
      throw error;
    }
  }

  get names(): string[] {
    return [...this.#places.keys()];
  }

  /** Number of trainable values. */
  get count(): number {
    return [...this.#places.values()].reduce((sum, { count }) => sum + count, 0);
  }

  get sizeBytes(): number {
    return this.#buffer.sizeBytes;
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** The parameter in a graph. */
  tensor(name: string): Tensor {
    return this.#place(name).tensor;
  }

  /** The parameter's memory, row-major, to be read and written between runs; not to be kept across a dispose. */
  values(name: string): Float32Array<ArrayBuffer> {
    const { offset, count } = this.#place(name);
    const { buffer, byteOffset } = this.#buffer.view(offset, count * 4);
    return new Float32Array(buffer, byteOffset, count);
  }

  #place(name: string): Place {
    this.assertAlive();
    const place = this.#places.get(name);
    if (place === undefined) throw new RangeError(`there is no parameter ${name}`);
    return place;
  }

  protected release(): void {
    this.#buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}
