import { FormatError } from "../errors.ts";
import { alignUp, type BufferType, type Device, Owner, TensorContext } from "../ggml/index.ts";
import { leaf, type Shape, type Storage, sameShape, type Tensor, toNe, weightTypes } from "../tensor/index.ts";
import { readRows } from "./dequantize.ts";
import type { GgufFile, TensorInfo } from "./gguf-reader.ts";
import { toFloat } from "./quantize.ts";

const yieldMs = 8; // reading goes on this long before the event loop gets a turn

/** What a model asked for: one tensor of the file in one kind of buffer. */
interface Wanted {
  readonly info: TensorInfo;
  readonly storage: Storage;
  readonly tensor: Tensor;
  readonly type: BufferType;
}

/**
 * A model file's tensors in device memory. A model first says which it needs and for what ({@link get}, {@link table}), then
 * {@link load} reads them straight from the checked file into the buffers that suit them: where the device keeps a type in a
 * rearranged form that multiplies faster, matrices are given so.
 */
export class Weights extends Owner {
  readonly #device: Device;
  readonly #file: GgufFile;
  readonly #repackTypes: readonly BufferType[];
  readonly #context: TensorContext;
  readonly #wanted = new Map<string, Wanted>(); // by name and kind of buffer
  readonly #buffers: Disposable[] = [];
  #isLoaded = false;
  #sizeBytes = 0;

  /** @param options.repack  rearrange matrices wherever the device can read them so; default true */
  static open(device: Device, file: GgufFile, options: { readonly repack?: boolean } = {}): Weights {
    return new Weights(device, file, options.repack ?? true);
  }

  private constructor(device: Device, file: GgufFile, repack: boolean) {
    super(`the weights of ${file.path}`);
    this.#device = device;
    this.#file = file;
    this.#repackTypes = repack ? device.extraBufferTypes() : [];
    this.#context = TensorContext.create(device.native, 2 * file.tensors.size);
  }

  /** Bytes of device memory. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** What is loaded, a tensor kept in two forms twice. */
  get storages(): Storage[] {
    return [...this.#wanted.values()].map(({ storage }) => storage);
  }

  /** A tensor to be multiplied with or added. @throws FormatError where it is missing or has another shape */
  get(name: string, shape: Shape): Tensor {
    return this.find(name, shape) ?? this.#missing(name);
  }

  /** {@link get}, or undefined where the file lacks it. */
  find(name: string, shape: Shape): Tensor | undefined {
    const info = this.#info(name, shape);
    if (info === undefined) return undefined;
    const repackType = info.shape.length === 2 ? this.#repackTypes.find((type) => multipliesIn(this.#device, type, info)) : undefined;
    return this.#want(info, repackType ?? this.#device.bufferType());
  }

  /** A tensor whose rows are looked up, which only the file's layout allows. @throws FormatError */
  table(name: string, shape: Shape): Tensor {
    const info = this.#info(name, shape) ?? this.#missing(name);
    return this.#want(info, this.#device.bufferType());
  }

  /**
   * Rows [from, to) of any tensor of the file as float32, row-major: from the file, whatever buffers the engine keeps it in.
   * @throws FormatError where it is missing, RangeError for rows it has not
   */
  read(name: string, rows?: readonly [from: number, to: number]): Float32Array {
    this.assertAlive();
    if (!this.#file.tensors.has(name)) this.#missing(name);
    return readRows(this.#file, name, rows, toFloat);
  }

  /**
   * Reads what was asked for. Yields to the event loop now and then.
   * @throws FormatError if the file changed meanwhile, MemoryError, the signal's reason
   */
  async load(
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onProgress?: ((loadedBytes: number, totalBytes: number) => void) | undefined;
    } = {},
  ): Promise<void> {
    this.assertAlive();
    if (this.#isLoaded) throw new RangeError("internal: weights are loaded once");
    this.#isLoaded = true;
    const { native } = this.#device;
    const plainType = this.#device.bufferType();
    const all = [...this.#wanted.values()];
    const totalBytes = all.reduce((sum, { info }) => sum + info.sizeBytes, 0);
    let loadedBytes = 0;
    let nextYield = performance.now() + yieldMs;
    for (const type of new Set(all.map((wanted) => wanted.type))) {
      const group = all.filter((wanted) => wanted.type === type);
      const alignment = native.ggml_backend_buft_get_alignment(type);
      const sizes = group.map(({ storage }) => alignUp(native.ggml_backend_buft_get_alloc_size(type, storage.pointer), alignment));
      const buffer = this.#device.allocate(
        sizes.reduce((sum, bytes) => sum + bytes, 0),
        type,
      );
      this.#buffers.push(buffer);
      this.#sizeBytes += buffer.sizeBytes;
      native.ggml_backend_buffer_set_usage(buffer.pointer, 1 /* weights */);
      const isDirect = type === plainType && native.ggml_backend_buft_is_host(type);
      let offset = 0;
      for (const [index, { info, storage }] of group.entries()) {
        options.signal?.throwIfAborted();
        buffer.place(storage.pointer, offset, sizes[index]!);
        if (isDirect) this.#file.readInto(info.name, buffer.view(offset, info.sizeBytes));
        else {
          const staging = new Uint8Array(info.sizeBytes);
          this.#file.readInto(info.name, staging);
          native.ggml_backend_tensor_set(storage.pointer, staging, 0, info.sizeBytes);
        }
        offset += sizes[index]!;
        loadedBytes += info.sizeBytes;
        options.onProgress?.(loadedBytes, totalBytes);
        if (performance.now() > nextYield) {
          await new Promise((resolve) => setImmediate(resolve));
          nextYield = performance.now() + yieldMs;
        }
      }
    }
    this.#file.checkUnchanged();
  }

  #info(name: string, shape: Shape): TensorInfo | undefined {
    this.assertAlive();
    const info = this.#file.tensors.get(name);
    if (info !== undefined && !sameShape(info.shape, shape)) {
      throw new FormatError(this.#file.path, `${name} has shape [${info.shape.join(", ")}], expected [${shape.join(", ")}]`);
    }
    if (info !== undefined && !weightTypes.includes(info.type))
      throw new FormatError(this.#file.path, `${name} has type ${info.type}, which no weight may have`);
    return info;
  }

  #missing(name: string): never {
    throw new FormatError(this.#file.path, `has no tensor ${name}`);
  }

  #want(info: TensorInfo, type: BufferType): Tensor {
    const key = `${info.name}|${type}`;
    const known = this.#wanted.get(key);
    if (known !== undefined) return known.tensor;
    const pointer = this.#context.tensor(info.type, toNe(info.shape));
    const storage: Storage = {
      name: info.name,
      dtype: info.type,
      shape: info.shape,
      pointer,
      repacked: type !== this.#device.bufferType(),
    };
    const tensor = leaf(storage);
    this.#wanted.set(key, { info, storage, tensor, type });
    return tensor;
  }

  protected release(): void {
    for (const buffer of this.#buffers.reverse()) buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}

/** Whether the device multiplies with a matrix of this type and shape kept in a buffer of `type`. */
export function multipliesIn(device: Device, type: BufferType, info: Pick<TensorInfo, "type" | "shape">): boolean {
  using probe = TensorContext.create(device.native, 3);
  const weight = probe.tensor(info.type, toNe(info.shape));
  using buffer = device.allocate(0, type); // the device decides by the buffer's type; nothing is stored in it
  probe.attach(weight, buffer);
  const x = probe.tensor("f32", [info.shape[1]!, 1]);
  return device.supports(device.native.ggml_mul_mat(probe.reserve(), weight, x));
}
