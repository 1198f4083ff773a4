import { functionAt, loadNative, readPointer } from "./native.ts";
import { typeTraitsToFloat } from "./structs.ts";

type ToFloatRow = (from: Uint8Array, to: Float32Array, count: number) => void;

const toFloatRows = new Map<number, ToFloatRow | undefined>(); // by type; the functions stay as long as the library

function toFloatRow(typeId: number): ToFloatRow | undefined {
  if (toFloatRows.has(typeId)) return toFloatRows.get(typeId);
  const address = readPointer(loadNative().ggml_get_type_traits(typeId), typeTraitsToFloat);
  const row =
    address === 0n
      ? undefined
      : (functionAt(address, `to_float_${typeId}`, "void", ["void *", "void *", "int64_t"]) as unknown as ToFloatRow);
  toFloatRows.set(typeId, row);
  return row;
}

/** ggml's conversion of `count` elements to float32; undefined for types it has none for (float32 itself, integers). */
export function toFloatNative(typeId: number, bytes: Uint8Array, count: number): Float32Array | undefined {
  const row = toFloatRow(typeId);
  if (row === undefined) return undefined;
  checkSize(typeId, bytes.length, count);
  const values = new Float32Array(count);
  row(bytes, values, count);
  return values;
}

/**
 * `rows` x `columns` values in a ggml type; `columns` is a multiple of its block size.
 * @throws RangeError for a type that needs an importance matrix, or values of another number
 */
export function quantizeRows(typeId: number, values: Float32Array, rows: number, columns: number): Uint8Array {
  const native = loadNative();
  if (native.ggml_quantize_requires_imatrix(typeId)) throw new RangeError(`ggml type ${typeId} needs an importance matrix`);
  if (values.length !== rows * columns) throw new RangeError(`${values.length} values for ${rows} rows of ${columns}`);
  if (columns % native.ggml_blck_size(typeId) !== 0) throw new RangeError(`rows of ${columns} are not whole blocks of ggml type ${typeId}`);
  const bytes = new Uint8Array(rows * native.ggml_row_size(typeId, columns));
  const written = native.ggml_quantize_chunk(typeId, values, bytes, 0, rows, columns, null);
  if (written !== bytes.length) throw new RangeError(`internal: ggml type ${typeId} wrote ${written} bytes of ${bytes.length}`);
  return bytes;
}

function checkSize(typeId: number, length: number, count: number): void {
  const native = loadNative();
  const expected = (count / native.ggml_blck_size(typeId)) * native.ggml_type_size(typeId);
  if (length !== expected) throw new RangeError(`${count} elements of ggml type ${typeId} take ${expected} bytes, not ${length}`);
}
