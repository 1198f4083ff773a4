/**
 * Solves A X = B for a symmetric positive definite A, in place: A's lower triangle becomes its Cholesky factor, B becomes X.
 *
 * @param a  [P, P], the lower triangle is read
 * @param b  [P, H]
 * @throws RangeError if A is not positive definite
 * @see Golub & Van Loan, Matrix Computations, 4th edition, 4.2
 */
export function solvePositiveDefinite(a: Float64Array, b: Float64Array, size: number): void {
  const width = b.length / size;
  for (let i = 0; i < size; i++) {
    const rowI = a.subarray(i * size, i * size + i + 1);
    for (let j = 0; j <= i; j++) {
      const rowJ = a.subarray(j * size, j * size + j + 1);
      let sum = rowI[j]!;
      for (let k = 0; k < j; k++) sum -= rowI[k]! * rowJ[k]!;
      if (j < i) rowI[j] = sum / rowJ[j]!;
      else if (sum > 0) rowI[i] = Math.sqrt(sum);
      else throw new RangeError(`solvePositiveDefinite: pivot ${i} is ${sum}`);
    }
  }
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < i; k++) subtract(b, i, k, width, a[i * size + k]!);
    divide(b, i, width, a[i * size + i]!);
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) subtract(b, i, k, width, a[k * size + i]!);
    divide(b, i, width, a[i * size + i]!);
  }
}

/** Row i of b minus factor times row k. */
function subtract(b: Float64Array, i: number, k: number, width: number, factor: number): void {
  if (factor === 0) return;
  const to = i * width;
  const from = k * width;
  for (let h = 0; h < width; h++) b[to + h]! -= factor * b[from + h]!;
}

function divide(b: Float64Array, i: number, width: number, by: number): void {
  for (let h = i * width; h < (i + 1) * width; h++) b[h]! /= by;
}
