import type { DType } from "../ggml/index.ts";

/** How a tensor type lays out a row: `blockSize` elements take `blockBytes` bytes. */
export interface TensorTypeLayout {
  /** Number in the file, ggml's `enum ggml_type`. */
  readonly id: number;
  readonly blockSize: number;
  readonly blockBytes: number;
}

/** Every tensor type of the pinned ggml build, by ggml's name in lower case. */
export type TensorType = DType;

/** @see ggml/include/ggml.h and ggml/src/ggml-common.h of the pinned build; fixtures/tensor-types.py reads gguf-py's copy of them */
export const tensorTypes = {
  f32: { id: 0, blockSize: 1, blockBytes: 4 },
  f16: { id: 1, blockSize: 1, blockBytes: 2 },
  q4_0: { id: 2, blockSize: 32, blockBytes: 18 },
  q4_1: { id: 3, blockSize: 32, blockBytes: 20 },
  q5_0: { id: 6, blockSize: 32, blockBytes: 22 },
  q5_1: { id: 7, blockSize: 32, blockBytes: 24 },
  q8_0: { id: 8, blockSize: 32, blockBytes: 34 },
  q8_1: { id: 9, blockSize: 32, blockBytes: 36 },
  q2_k: { id: 10, blockSize: 256, blockBytes: 84 },
  q3_k: { id: 11, blockSize: 256, blockBytes: 110 },
  q4_k: { id: 12, blockSize: 256, blockBytes: 144 },
  q5_k: { id: 13, blockSize: 256, blockBytes: 176 },
  q6_k: { id: 14, blockSize: 256, blockBytes: 210 },
  q8_k: { id: 15, blockSize: 256, blockBytes: 292 },
  iq2_xxs: { id: 16, blockSize: 256, blockBytes: 66 },
  iq2_xs: { id: 17, blockSize: 256, blockBytes: 74 },
  iq3_xxs: { id: 18, blockSize: 256, blockBytes: 98 },
  iq1_s: { id: 19, blockSize: 256, blockBytes: 50 },
  iq4_nl: { id: 20, blockSize: 32, blockBytes: 18 },
  iq3_s: { id: 21, blockSize: 256, blockBytes: 110 },
  iq2_s: { id: 22, blockSize: 256, blockBytes: 82 },
  iq4_xs: { id: 23, blockSize: 256, blockBytes: 136 },
  i8: { id: 24, blockSize: 1, blockBytes: 1 },
  i16: { id: 25, blockSize: 1, blockBytes: 2 },
  i32: { id: 26, blockSize: 1, blockBytes: 4 },
  i64: { id: 27, blockSize: 1, blockBytes: 8 },
  f64: { id: 28, blockSize: 1, blockBytes: 8 },
  iq1_m: { id: 29, blockSize: 256, blockBytes: 56 },
  bf16: { id: 30, blockSize: 1, blockBytes: 2 },
  tq1_0: { id: 34, blockSize: 256, blockBytes: 54 },
  tq2_0: { id: 35, blockSize: 256, blockBytes: 66 },
  mxfp4: { id: 39, blockSize: 32, blockBytes: 17 },
  nvfp4: { id: 40, blockSize: 64, blockBytes: 36 },
  q1_0: { id: 41, blockSize: 128, blockBytes: 18 },
  q2_0: { id: 42, blockSize: 64, blockBytes: 18 },
} as const satisfies Record<TensorType, TensorTypeLayout>;

export const tensorTypeById: ReadonlyMap<number, TensorType> = new Map(
  Object.entries(tensorTypes).map(([name, { id }]) => [id, name as TensorType]),
);

/** Types that older files may carry and ggml no longer reads. */
export const removedTensorTypes: ReadonlyMap<number, string> = new Map([
  [4, "Q4_2"],
  [5, "Q4_3"],
  [31, "Q4_0_4_4"],
  [32, "Q4_0_4_8"],
  [33, "Q4_0_8_8"],
  [36, "IQ4_NL_4_4"],
  [37, "IQ4_NL_4_8"],
  [38, "IQ4_NL_8_8"],
]);

/**
 * Bytes of `rows` rows of `columns` elements each.
 * @throws RangeError if `columns` is no multiple of the type's block size
 */
export function tensorBytes(type: TensorType, rows: number, columns: number): number {
  const { blockSize, blockBytes } = tensorTypes[type];
  if (columns % blockSize !== 0) throw new RangeError(`a row of ${columns} elements is no multiple of ${type}'s block of ${blockSize}`);
  return rows * (columns / blockSize) * blockBytes;
}

/** Metadata types by their number in the file, with the bytes of one value (0: of variable length). */
export const metadataTypes = {
  uint8: { id: 0, bytes: 1 },
  int8: { id: 1, bytes: 1 },
  uint16: { id: 2, bytes: 2 },
  int16: { id: 3, bytes: 2 },
  uint32: { id: 4, bytes: 4 },
  int32: { id: 5, bytes: 4 },
  float32: { id: 6, bytes: 4 },
  bool: { id: 7, bytes: 1 },
  string: { id: 8, bytes: 0 },
  array: { id: 9, bytes: 0 },
  uint64: { id: 10, bytes: 8 },
  int64: { id: 11, bytes: 8 },
  float64: { id: 12, bytes: 8 },
} as const satisfies Record<string, { id: number; bytes: number }>;

export type MetadataType = keyof typeof metadataTypes;

export const metadataTypeById: ReadonlyMap<number, MetadataType> = new Map(
  Object.entries(metadataTypes).map(([name, { id }]) => [id, name as MetadataType]),
);
