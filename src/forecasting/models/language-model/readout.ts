import { solvePositiveDefinite } from "../cholesky.ts";

/** A linear map: [S, C] and [S]. */
export interface LinearMap {
  readonly weights: Float32Array;
  readonly bias: Float32Array;
}

/** Penalties that held-out windows choose among. */
const penalties = [1e-4, 1e-2, 1e-1, 1];

/** Of the maps that the penalties give the one with the smallest error on held-out windows. */
export async function bestReadout(
  solver: Readout,
  errorOf: (map: LinearMap) => number | Promise<number>,
): Promise<{ readonly map: LinearMap; readonly error: number }> {
  let best: { map: LinearMap; error: number } | undefined;
  for (const penalty of penalties) {
    const map = solver.solve(penalty);
    const error = await errorOf(map);
    if (best === undefined || error < best.error) best = { map, error };
  }
  return best!;
}

/** How many penalties are tried, for reckoning what a solving costs. */
export const penaltyCount = penalties.length;

/**
 * The linear map from a frozen model's states to targets that has the smallest squared error, in closed form: what training by small steps
 * would come to, given the states. Letters: C features, S targets.
 */
export class Readout {
  readonly #features: number;
  readonly #targets: number;
  /** The first row: sums are of differences to it, so that features that hardly vary lose no digits. */
  #origin: Float32Array | undefined;
  /** [C + 1, C + 1], the lower triangle; the last feature is 1. */
  readonly #gram: Float64Array;
  /** [C + 1, S] */
  readonly #cross: Float64Array;
  #mass = 0;

  constructor(features: number, targets: number) {
    this.#features = features;
    this.#targets = targets;
    this.#gram = new Float64Array((features + 1) ** 2);
    this.#cross = new Float64Array((features + 1) * targets);
  }

  /**
   * @param features  [rows, C]
   * @param targets   [rows, S]
   * @param weights   [rows] how much a row's squared errors count; rows of 0 are passed over
   */
  add(features: Float32Array, targets: Float32Array, weights: Float32Array): void {
    const size = this.#features + 1;
    const row = new Float64Array(size).fill(1);
    for (const [index, weight] of weights.entries()) {
      if (weight === 0) continue;
      this.#mass += weight;
      const values = features.subarray(index * this.#features, (index + 1) * this.#features);
      this.#origin ??= values.slice();
      for (const [i, value] of values.entries()) row[i] = value - this.#origin[i]!;
      for (let i = 0; i < size; i++) {
        const scaled = weight * row[i]!;
        const at = i * size;
        for (let j = 0; j <= i; j++) this.#gram[at + j]! += scaled * row[j]!;
        const to = i * this.#targets;
        const from = index * this.#targets;
        for (let j = 0; j < this.#targets; j++) this.#cross[to + j]! += scaled * targets[from + j]!;
      }
    }
  }

  /**
   * @param penalty  on the squared coefficients of features brought to variance 1, per unit of weight; > 0
   * @returns `weights` [S, C] and `bias` [S]
   */
  solve(penalty: number): LinearMap {
    const [features, targets, size] = [this.#features, this.#targets, this.#features + 1];
    const mean = Float64Array.from({ length: size }, (_, i) => this.#gram[features * size + i]! / this.#mass);
    // below a hundred-thousandth of its size a feature's variation is what rounding left
    const scale = Float64Array.from({ length: features }, (_, i) => {
      const variance = this.#gram[i * size + i]! / this.#mass - mean[i]! ** 2;
      return Math.sqrt(Math.max(variance, 1e-10 * this.#origin![i]! ** 2, 1e-100));
    });
    const centred = new Float64Array(features * features);
    const right = new Float64Array(features * targets);
    for (let i = 0; i < features; i++) {
      for (let j = 0; j <= i; j++)
        centred[i * features + j] = (this.#gram[i * size + j]! / this.#mass - mean[i]! * mean[j]!) / (scale[i]! * scale[j]!);
      centred[i * features + i]! += penalty;
      for (let j = 0; j < targets; j++)
        right[i * targets + j] = (this.#cross[i * targets + j]! - mean[i]! * this.#cross[features * targets + j]!) / this.#mass / scale[i]!;
    }
    solvePositiveDefinite(centred, right, features);
    const weights = new Float32Array(targets * features);
    const bias = new Float32Array(targets);
    for (let j = 0; j < targets; j++) {
      let offset = this.#cross[features * targets + j]! / this.#mass;
      for (let i = 0; i < features; i++) {
        const coefficient = right[i * targets + j]! / scale[i]!;
        weights[j * features + i] = coefficient;
        offset -= coefficient * (this.#origin![i]! + mean[i]!);
      }
      bias[j] = offset;
    }
    return { weights, bias };
  }
}
