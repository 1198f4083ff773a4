import { normal } from "./random.ts";

/**
 * Rows of a matrix in fewer columns: their coordinates along the directions in which they vary most, found by orthogonal iteration. Scalar
 * products between rows stay as near as so few columns allow.
 *
 * @param rows   [R, C], row-major
 * @param sample every so many rows is looked at to find the directions; all rows are projected
 * @returns [R, count], row-major, scaled to a deviation of `deviation`
 * @see Eckart & Young 1936; Golub & Van Loan, Matrix Computations, 8.2.4 for the iteration
 */
export function principalComponents(
  rows: Float32Array,
  columns: number,
  count: number,
  { sample = 1, iterations = 30, deviation }: { readonly sample?: number; readonly iterations?: number; readonly deviation: number },
): Float32Array {
  const numRows = rows.length / columns;
  const products = new Float64Array(columns * columns); // Σ x xᵀ
  for (let row = 0; row < numRows; row += sample) {
    const x = rows.subarray(row * columns, (row + 1) * columns);
    for (let i = 0; i < columns; i += 1) {
      const xi = x[i]!;
      for (let j = 0; j <= i; j += 1) products[i * columns + j]! += xi * x[j]!;
    }
  }
  for (let i = 0; i < columns; i += 1) for (let j = 0; j < i; j += 1) products[j * columns + i] = products[i * columns + j]!;

  const basis = Array.from({ length: count }, (_, k) => Float64Array.from({ length: columns }, (_, i) => normal(0, "weights", k, i)));
  for (let iteration = 0; iteration < iterations; iteration += 1) {
    for (const [k, vector] of basis.entries()) basis[k] = product(products, vector);
    orthonormalize(basis);
  }

  const result = new Float32Array(numRows * count);
  let squares = 0;
  for (let row = 0; row < numRows; row += 1) {
    const x = rows.subarray(row * columns, (row + 1) * columns);
    for (const [k, vector] of basis.entries()) {
      let sum = 0;
      for (let i = 0; i < columns; i += 1) sum += x[i]! * vector[i]!;
      result[row * count + k] = sum;
      squares += sum * sum;
    }
  }
  const scale = deviation / Math.sqrt(squares / result.length || 1);
  return result.map((value) => value * scale);
}

function product(matrix: Float64Array, vector: Float64Array): Float64Array<ArrayBuffer> {
  const size = vector.length;
  return Float64Array.from({ length: size }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < size; j += 1) sum += matrix[i * size + j]! * vector[j]!;
    return sum;
  });
}

/** Gram and Schmidt, in the order of the vectors. */
function orthonormalize(vectors: readonly Float64Array[]): void {
  for (const [k, vector] of vectors.entries()) {
    for (const earlier of vectors.slice(0, k)) {
      let along = 0;
      for (let i = 0; i < vector.length; i += 1) along += vector[i]! * earlier[i]!;
      for (let i = 0; i < vector.length; i += 1) vector[i]! -= along * earlier[i]!;
    }
    const length = Math.hypot(...vector);
    for (let i = 0; i < vector.length; i += 1) vector[i]! /= length;
  }
}
