import { FormatError } from "../errors.ts";
import { alignUp, type Device, type DeviceBuffer, Owner, TensorContext, type TensorPointer } from "../ggml/index.ts";
import { leaf, type Shape, type Storage, sameShape, type Tensor, toNe } from "../tensor/index.ts";
import { readRows } from "./dequantize.ts";
import type { GgufFile, TensorInfo } from "./gguf-reader.ts";
import { Parameters } from "./parameters.ts";
import { toFloat } from "./quantize.ts";

/** A tensor that stays as the file has it. */
interface Frozen {
  readonly info: TensorInfo;
  readonly storage: Storage & { transposed?: Storage };
  readonly tensor: Tensor;
}

export interface TrainingWeightsOptions {
  /** By tensor name; default none: the whole model stays frozen. */
  readonly isTrained?: (name: string) => boolean;
  /** What frozen matrices are kept as. Products with f32 take two thirds of the time of those with q4_1 on AVX-512, and round no activations; default "file". */
  readonly frozen?: "file" | "f32";
  /** Whether gradients go through the frozen matrices, which takes the transposed copies; default true. */
  readonly transposed?: boolean;
}

/**
 * A model file's tensors for training. What is trained is f32 and may be written in place ({@link parameters}); the rest keeps the file's
 * type and layout, never repacked, and each matrix has a transposed f32 copy beside it: the gradient by a layer's input is a product with
 * that copy. (In f16 it would not do: products round the other side to the weight's type, and small gradients would become 0.)
 *
 * ```ts
 * using weights = TrainingWeights.open(device, file, { isTrained: (name) => name.startsWith("blk.") });
 * const model = family.build(file.metadata, weights);
 * await weights.load();
 * ```
 */
export class TrainingWeights extends Owner {
  readonly parameters: Parameters;
  readonly #device: Device;
  readonly #file: GgufFile;
  readonly #context: TensorContext;
  readonly #frozen = new Map<string, Frozen>();
  readonly #options: TrainingWeightsOptions;
  #buffer: DeviceBuffer | undefined;

  static open(device: Device, file: GgufFile, options: TrainingWeightsOptions = {}): TrainingWeights {
    return new TrainingWeights(device, file, options);
  }

  private constructor(device: Device, file: GgufFile, options: TrainingWeightsOptions) {
    super(`the weights of ${file.path}, for training`);
    this.#device = device;
    this.#file = file;
    this.#options = options;
    const { isTrained = () => false } = options;
    this.parameters = Parameters.create(
      device,
      [...file.tensors.values()].filter(({ name }) => isTrained(name)),
    );
    this.#context = TensorContext.create(device.native, 3 * file.tensors.size + 1);
  }

  /** Bytes of device memory: trained, frozen and transposed tensors. */
  get sizeBytes(): number {
    return this.parameters.sizeBytes + (this.#buffer?.sizeBytes ?? 0);
  }

  /** A tensor to be multiplied with or added. @throws FormatError where it is missing or has another shape */
  get(name: string, shape: Shape): Tensor {
    return this.find(name, shape) ?? this.#missing(name);
  }

  /** {@link get}, or undefined where the file lacks it. */
  find(name: string, shape: Shape): Tensor | undefined {
    const info = this.#info(name, shape);
    if (info === undefined) return undefined;
    if (this.parameters.has(name)) return this.parameters.tensor(name);
    const isMatrix = info.shape.length === 2;
    const frozen = this.#want(info, isMatrix && this.#options.frozen === "f32" ? "f32" : info.type);
    if (isMatrix && this.#options.transposed !== false) {
      const [rows, columns] = info.shape as [number, number];
      frozen.storage.transposed ??= this.#storage(`${name} (transposed)`, "f32", [columns, rows]);
    }
    return frozen.tensor;
  }

  /** A tensor whose rows are looked up. @throws FormatError */
  table(name: string, shape: Shape): Tensor {
    const info = this.#info(name, shape) ?? this.#missing(name);
    return this.parameters.has(name) ? this.parameters.tensor(name) : this.#want(info, info.type).tensor;
  }

  /** Reads what was asked for. Yields to the event loop after each tensor. @throws FormatError, MemoryError, the signal's reason */
  async load(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    for (const _ of this.#read()) {
      await new Promise((resolve) => setImmediate(resolve));
      options.signal?.throwIfAborted();
    }
  }

  /** {@link load} without a turn of the event loop. */
  loadSync(): void {
    for (const _ of this.#read());
  }

  /** Reads what was asked for, tensor by tensor. */
  *#read(): Generator<void> {
    this.assertAlive();
    if (this.#buffer !== undefined) throw new RangeError("internal: weights are loaded once");
    const all = [...this.#frozen.values()];
    const storages = all.flatMap(({ storage }) => (storage.transposed === undefined ? [storage] : [storage, storage.transposed]));
    const { native } = this.#device;
    const bytesOf = (pointer: TensorPointer) => alignUp(native.ggml_nbytes(pointer), 64);
    const buffer = this.#device.allocate(storages.reduce((sum, { pointer }) => sum + bytesOf(pointer), 0));
    this.#buffer = buffer;
    let offset = 0;
    const place = ({ pointer }: Storage): Uint8Array<ArrayBuffer> => {
      const bytes = native.ggml_nbytes(pointer);
      buffer.place(pointer, offset, bytes);
      const view = buffer.view(offset, bytes);
      offset += bytesOf(pointer);
      return view;
    };
    const asFloats = (view: Uint8Array<ArrayBuffer>) => new Float32Array(view.buffer, view.byteOffset, view.byteLength / 4);
    for (const { info, storage } of all) {
      const view = place(storage);
      const isTurned = storage.dtype !== info.type;
      const floats = isTurned || storage.transposed !== undefined ? this.#floats(info.name) : undefined;
      if (isTurned) asFloats(view).set(floats!);
      else this.#file.readInto(info.name, view);
      if (storage.transposed !== undefined) {
        const [rows, columns] = info.shape as [number, number];
        transpose(floats!, rows, columns, asFloats(place(storage.transposed)));
      }
      yield;
    }
    for (const name of this.parameters.names) {
      this.parameters.values(name).set(this.#floats(name));
      yield;
    }
    this.#file.checkUnchanged();
  }

  #floats(name: string): Float32Array {
    const { shape } = this.#file.tensor(name);
    return readRows(this.#file, name, [0, shape.slice(0, -1).reduce((product, size) => product * size, 1)], toFloat);
  }

  #info(name: string, shape: Shape): TensorInfo | undefined {
    this.assertAlive();
    const info = this.#file.tensors.get(name);
    if (info !== undefined && !sameShape(info.shape, shape))
      throw new FormatError(this.#file.path, `${name} has shape [${info.shape.join(", ")}], expected [${shape.join(", ")}]`);
    return info;
  }

  #missing(name: string): never {
    throw new FormatError(this.#file.path, `has no tensor ${name}`);
  }

  #want(info: TensorInfo, dtype: Storage["dtype"]): Frozen {
    const key = `${info.name}|${dtype}`; // a table and the matrix of a shared embedding may be kept in two forms
    const known = this.#frozen.get(key);
    if (known !== undefined) return known;
    const storage: Frozen["storage"] = this.#storage(info.name, dtype, info.shape);
    const frozen = { info, storage, tensor: leaf(storage) };
    this.#frozen.set(key, frozen);
    return frozen;
  }

  #storage(name: string, dtype: Storage["dtype"], shape: Shape): Storage {
    return { name, dtype, shape, pointer: this.#context.tensor(dtype, toNe(shape)), repacked: false };
  }

  protected release(): void {
    this.#buffer?.[Symbol.dispose]();
    this.#context[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}

/** `to[c, r] = from[r, c]`, in tiles so that both sides stay in the cache. */
function transpose(from: Float32Array, rows: number, columns: number, to: Float32Array): void {
  const tile = 32;
  for (let top = 0; top < rows; top += tile) {
    const bottom = Math.min(rows, top + tile);
    for (let left = 0; left < columns; left += tile) {
      const right = Math.min(columns, left + tile);
      for (let r = top; r < bottom; r += 1) for (let c = left; c < right; c += 1) to[c * rows + r] = from[r * columns + c]!;
    }
  }
}
