import { UnsupportedError } from "../errors.ts";
import type { GgufFile } from "./gguf-reader.ts";
import { type TensorType, tensorBytes, tensorTypes } from "./gguf-types.ts";

/** Turns `rows` x `columns` elements of a tensor type into float32, row-major. */
export type ToFloat = (type: TensorType, bytes: Uint8Array, rows: number, columns: number) => Float32Array;

/** Fills `out` with the values of one block that begins at byte `at`. */
type Dequantize = (bytes: DataView, at: number, out: Float32Array, start: number) => void;

/**
 * The types read without native code. Products of a 16-bit scale and a small integer are exact in float32, and a sum is rounded
 * once, as in ggml: the values are ggml's bit for bit.
 */
const dequantizers: Partial<Record<TensorType, Dequantize>> = {
  f32: (bytes, at, out, start) => {
    out[start] = bytes.getFloat32(at, true);
  },
  f16: (bytes, at, out, start) => {
    out[start] = float16(bytes.getUint16(at, true));
  },
  bf16: (bytes, at, out, start) => {
    out[start] = bfloat16(bytes.getUint16(at, true));
  },
  q4_0: (bytes, at, out, start) => {
    const scale = float16(bytes.getUint16(at, true));
    for (let i = 0; i < 16; i++) {
      const pair = bytes.getUint8(at + 2 + i);
      out[start + i] = ((pair & 15) - 8) * scale;
      out[start + i + 16] = ((pair >> 4) - 8) * scale;
    }
  },
  q4_1: (bytes, at, out, start) => {
    const scale = float16(bytes.getUint16(at, true));
    const minimum = float16(bytes.getUint16(at + 2, true));
    for (let i = 0; i < 16; i++) {
      const pair = bytes.getUint8(at + 4 + i);
      out[start + i] = (pair & 15) * scale + minimum;
      out[start + i + 16] = (pair >> 4) * scale + minimum;
    }
  },
  q5_0: (bytes, at, out, start) => {
    const scale = float16(bytes.getUint16(at, true));
    const fifthBits = bytes.getUint32(at + 2, true);
    for (let i = 0; i < 16; i++) {
      const pair = bytes.getUint8(at + 6 + i);
      out[start + i] = (((pair & 15) | (((fifthBits >>> i) & 1) << 4)) - 16) * scale;
      out[start + i + 16] = (((pair >> 4) | (((fifthBits >>> (i + 16)) & 1) << 4)) - 16) * scale;
    }
  },
  q5_1: (bytes, at, out, start) => {
    const scale = float16(bytes.getUint16(at, true));
    const minimum = float16(bytes.getUint16(at + 2, true));
    const fifthBits = bytes.getUint32(at + 4, true);
    for (let i = 0; i < 16; i++) {
      const pair = bytes.getUint8(at + 8 + i);
      out[start + i] = ((pair & 15) | (((fifthBits >>> i) & 1) << 4)) * scale + minimum;
      out[start + i + 16] = ((pair >> 4) | (((fifthBits >>> (i + 16)) & 1) << 4)) * scale + minimum;
    }
  },
  q8_0: (bytes, at, out, start) => {
    const scale = float16(bytes.getUint16(at, true));
    for (let i = 0; i < 32; i++) out[start + i] = bytes.getInt8(at + 2 + i) * scale;
  },
};

/**
 * {@link ToFloat} in TypeScript, for f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 and q8_0.
 * @throws UnsupportedError for every other type: ggml's own conversion reads those. RangeError if `bytes` has another size than
 *         the shape says
 */
export const dequantize: ToFloat = (type, bytes, rows, columns) => {
  const one = dequantizers[type];
  if (one === undefined) {
    throw new UnsupportedError(`tensors of type ${type} are not read in TypeScript; these are: ${Object.keys(dequantizers).join(", ")}`);
  }
  const expected = tensorBytes(type, rows, columns);
  if (bytes.length !== expected) throw new RangeError(`${rows} x ${columns} of ${type} take ${expected} bytes, not ${bytes.length}`);
  const { blockSize, blockBytes } = tensorTypes[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = new Float32Array(rows * columns);
  for (let at = 0, start = 0; start < out.length; at += blockBytes, start += blockSize) one(view, at, out, start);
  return out;
};

/**
 * Rows of a tensor as float32, read from the file: what the weights are, whatever buffer an engine keeps them in.
 *
 * @param rows     range [from, to) of rows, all axes but the last taken together; default all
 * @param toFloat  default {@link dequantize}; ggml's conversion reads every type
 * @returns [to - from, columns]
 * @throws RangeError if the range is not inside the tensor; FormatError, DisposedError as {@link GgufFile.readInto}
 */
export function readRows(file: GgufFile, name: string, rows?: readonly [from: number, to: number], toFloat = dequantize): Float32Array {
  const { type, shape, sizeBytes } = file.tensor(name);
  const columns = shape.at(-1)!;
  const rowCount = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const [from, to] = rows ?? [0, rowCount];
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to < from || to > rowCount) {
    throw new RangeError(`rows [${from}, ${to}) of ${name}, which has ${rowCount}`);
  }
  const rowBytes = sizeBytes / rowCount;
  const bytes = new Uint8Array((to - from) * rowBytes);
  file.readInto(name, bytes, from * rowBytes);
  return toFloat(type, bytes, to - from, columns);
}

const word = new DataView(new ArrayBuffer(4));

/** @see IEEE 754-2008, binary16 */
export function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The upper half of a float32. */
export function bfloat16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}
