/**
 * Least squares by Householder's orthogonal triangularization, for all leading column counts at once: after one factorization
 * of [N, K], `solve(k)` and `residualSumOfSquares(k)` answer for the first k columns, which is what choosing an order needs.
 * Well-conditioned: the condition number is not squared, as it is by the normal equations. A column that depends linearly on
 * those before it gets the coefficient 0.
 *
 * @see Golub & Van Loan, Matrix Computations, 4th edition, 5.2.2
 */
export class LeastSquares {
  readonly numRows: number;
  readonly numColumns: number;
  /** Column-major; on and above the staircase R, below it nothing of interest. */
  readonly #r: Float64Array;
  readonly #rotated: Float64Array; // Q'y
  /** Row of the pivot of each column, -1 for dependent ones. */
  readonly #pivotRow: Int32Array;

  /**
   * @param columns  [K, N]: one column of the design matrix after the other; overwritten
   * @param target  [N]; overwritten
   * @throws RangeError if the lengths don't fit
   */
  constructor(columns: Float64Array, target: Float64Array) {
    const numRows = target.length;
    const numColumns = columns.length / numRows;
    if (!Number.isInteger(numColumns)) throw new RangeError(`LeastSquares: ${columns.length} entries are no columns of ${numRows}`);
    this.numRows = numRows;
    this.numColumns = numColumns;
    this.#r = columns;
    this.#rotated = target;
    this.#pivotRow = new Int32Array(numColumns).fill(-1);
    let row = 0;
    for (let j = 0; j < numColumns && row < numRows; j++) {
      const column = columns.subarray(j * numRows, (j + 1) * numRows);
      const whole = norm(column, 0);
      const below = norm(column, row);
      if (below <= numRows * Number.EPSILON * whole || below === 0) continue;
      const pivot = column[row]! > 0 ? -below : below;
      const first = column[row]! - pivot; // v = column - pivot·e, kept in place while it is applied
      column[row] = first;
      const scale = -1 / (pivot * first); // 2 / v'v
      for (let k = j + 1; k < numColumns; k++) reflect(column, columns.subarray(k * numRows, (k + 1) * numRows), row, scale);
      reflect(column, target, row, scale);
      column[row] = pivot;
      this.#pivotRow[j] = row++;
    }
  }

  /** Coefficients [k] of the first k columns. */
  solve(k: number): Float64Array {
    const coefficients = new Float64Array(k);
    for (let j = k - 1; j >= 0; j--) {
      const row = this.#pivotRow[j]!;
      if (row < 0) continue;
      let sum = this.#rotated[row]!;
      for (let i = j + 1; i < k; i++) sum -= this.#r[i * this.numRows + row]! * coefficients[i]!;
      coefficients[j] = sum / this.#r[j * this.numRows + row]!;
    }
    return coefficients;
  }

  /** What the first k columns leave of the target's sum of squares. */
  residualSumOfSquares(k: number): number {
    let row = 0;
    for (let j = 0; j < k; j++) row = Math.max(row, this.#pivotRow[j]! + 1);
    let sum = 0;
    for (let i = row; i < this.numRows; i++) sum += this.#rotated[i]! ** 2;
    return sum;
  }
}

function norm(vector: Float64Array, from: number): number {
  let sum = 0;
  for (let i = from; i < vector.length; i++) sum += vector[i]! * vector[i]!;
  return Math.sqrt(sum);
}

/** vector -= v · scale · (v'vector), from row `from` on. */
function reflect(v: Float64Array, vector: Float64Array, from: number, scale: number): void {
  let dot = 0;
  for (let i = from; i < v.length; i++) dot += v[i]! * vector[i]!;
  dot *= scale;
  for (let i = from; i < v.length; i++) vector[i]! -= dot * v[i]!;
}
