import {
  alignUp,
  type Device,
  type DeviceBuffer,
  type DType,
  functionAt,
  type Native,
  readPointer,
  TensorContext,
  typeIds,
  typeTraitsToFloat,
} from "../../ggml/index.ts";
import { leaf } from "../operations.ts";
import { elementCount, type Shape, toNe } from "../shape.ts";
import type { Storage, Tensor } from "../tensor.ts";
import { f16Bits, f16Value } from "./round.ts";

export interface LeafData {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Row-major; converted to the type, quantized if need be. */
  readonly data: Float32Array;
}

const bound = new Map<DType, (...args: unknown[]) => unknown>(); // a C prototype may be declared once

/** ggml's own conversion of a type to float32. */
function toFloat(native: Native, dtype: DType): (...args: unknown[]) => unknown {
  const known = bound.get(dtype);
  if (known !== undefined) return known;
  const address = readPointer(native.ggml_get_type_traits(typeIds[dtype]), typeTraitsToFloat);
  const fn = functionAt(address, `test_to_float_${dtype}`, "void", ["void *", "void *", "int64_t"]);
  bound.set(dtype, fn);
  return fn;
}

/** Weights and caches with native memory, for tests. */
export class Leaves implements Disposable {
  readonly #context: TensorContext;
  readonly #buffer: DeviceBuffer;
  readonly #places = new Map<string, { storage: Storage; offset: number; bytes: number }>();
  readonly #device: Device;

  constructor(device: Device, leaves: Readonly<Record<string, LeafData>>) {
    const { native } = device;
    const entries = Object.entries(leaves);
    this.#device = device;
    this.#context = TensorContext.create(native, entries.length + 1);
    let sizeBytes = 0;
    const placed = entries.map(([name, { dtype, shape }]) => {
      const pointer = this.#context.tensor(dtype, toNe(shape));
      const bytes = native.ggml_nbytes(pointer);
      const offset = sizeBytes;
      sizeBytes = alignUp(sizeBytes + bytes, 64);
      return { storage: { name, dtype, shape, pointer, repacked: false }, offset, bytes };
    });
    this.#buffer = device.allocate(sizeBytes);
    for (const place of placed) {
      this.#buffer.place(place.storage.pointer, place.offset, place.bytes);
      this.#places.set(place.storage.name, place);
      this.write(place.storage.name, leaves[place.storage.name]!.data);
    }
  }

  get(name: string): Tensor {
    return leaf(this.#place(name).storage);
  }

  write(name: string, data: Float32Array): void {
    const { storage, offset, bytes } = this.#place(name);
    const view = this.#buffer.view(offset, bytes);
    const { dtype, shape } = storage;
    if (data.length !== elementCount(shape)) throw new Error(`${name}: ${data.length} numbers for [${shape.join(", ")}]`);
    if (dtype === "f32") new Float32Array(view.buffer, view.byteOffset).set(data);
    else if (dtype === "f16") new Uint16Array(view.buffer, view.byteOffset).set(Array.from(data, f16Bits));
    else {
      const columns = shape.at(-1)!;
      const rows = data.length / columns;
      this.#device.native.ggml_quantize_chunk(typeIds[dtype], data, view, 0, rows, columns, null);
    }
  }

  /** What the leaf's bytes stand for. */
  read(name: string): Float64Array {
    const { storage, offset, bytes } = this.#place(name);
    const view = this.#buffer.view(offset, bytes);
    const { dtype, shape } = storage;
    if (dtype === "f32") return Float64Array.from(new Float32Array(view.buffer, view.byteOffset, bytes / 4));
    if (dtype === "f16") return Float64Array.from(new Uint16Array(view.buffer, view.byteOffset, bytes / 2), f16Value);
    const result = new Float32Array(elementCount(shape));
    toFloat(this.#device.native, dtype)(view, result, result.length);
    return Float64Array.from(result);
  }

  /** Numbers of all leaves, as the reference interpreter wants them. */
  values(): Record<string, Float64Array> {
    return Object.fromEntries([...this.#places.keys()].map((name) => [name, this.read(name)]));
  }

  #place(name: string) {
    const place = this.#places.get(name);
    if (place === undefined) throw new Error(`no leaf ${name}`);
    return place;
  }

  [Symbol.dispose](): void {
    this.#buffer[Symbol.dispose]();
    this.#context[Symbol.dispose]();
  }
}
