/** A smooth function with an approximation of its curvature that is never indefinite, as Gauss-Newton gives. Letters: P unknowns. */
export interface CurvedFunction {
  /** The value at `x` [P]; Infinity outside the domain. Called often: cheap. */
  value(x: Float64Array): number;
  /** Writes gradient [P] and curvature [P, P] at `x` (the lower triangle is read) and returns the value. */
  linearize(x: Float64Array, gradient: Float64Array, curvature: Float64Array): number;
}

export interface BoxNewtonOptions {
  /** Ends when a step promises or brings less than this. */
  readonly tolerance: number;
  /** Steps that are tried at most. */
  readonly maxSteps: number;
}

/**
 * Minimizes a function inside a box by damped Newton steps (Levenberg-Marquardt with Marquardt's scaling and Nielsen's damping).
 * Unknowns that a step would carry out of the box are put on its border and the step is computed again for the others, so that
 * a minimum on the border is found as fast as one inside.
 *
 * @param x  [P] start, inside the box; changed in place to the minimum
 * @param lower, upper  [P] borders, infinite where there is none; equal borders hold an unknown
 * @returns the value at the minimum; Infinity if the start is outside the domain
 * @see Madsen, Nielsen & Tingleff 2004, Methods for Non-Linear Least Squares Problems, 3.2, http://www2.imm.dtu.dk/pubdb/p.php?3215
 */
export function minimizeInBox(
  f: CurvedFunction,
  x: Float64Array,
  lower: Float64Array,
  upper: Float64Array,
  { tolerance, maxSteps }: BoxNewtonOptions,
): number {
  const size = x.length;
  const gradient = new Float64Array(size);
  const curvature = new Float64Array(size * size);
  const factor = new Float64Array(size * size);
  const step = new Float64Array(size);
  const trial = new Float64Array(size);
  const free = new Uint8Array(size);
  let value = f.linearize(x, gradient, curvature);
  let damping = 1e-3;
  let growth = 2;
  let numSmall = 0;
  for (let tried = 0; tried < maxSteps && value < Number.POSITIVE_INFINITY; tried++) {
    const isCut = boxStep(x, lower, upper, gradient, curvature, damping, free, factor, step);
    const promised = promisedDecrease(gradient, curvature, step);
    if (!(promised > tolerance)) {
      // A step that was cut at the border may have lost its descent; more damping turns it towards the gradient.
      if (!isCut || damping > 1e6) break;
      damping *= 10;
      continue;
    }
    for (let i = 0; i < size; i++) trial[i] = Math.max(lower[i]!, Math.min(upper[i]!, x[i]! + step[i]!));
    const trialValue = f.value(trial);
    const ratio = (value - trialValue) / promised;
    if (!(ratio > 1e-4)) {
      damping *= growth;
      growth *= 2;
      if (damping > 1e12) break;
      continue;
    }
    const decrease = value - trialValue;
    x.set(trial);
    damping = Math.max(1e-12, damping * Math.max(1 / 3, 1 - (2 * ratio - 1) ** 3));
    growth = 2;
    numSmall = decrease < tolerance ? numSmall + 1 : 0;
    if (numSmall === 2) return trialValue;
    value = f.linearize(x, gradient, curvature);
  }
  return value;
}

/** -(g·d + ½ d'Hd): what the quadratic model says the step brings. */
function promisedDecrease(gradient: Float64Array, curvature: Float64Array, step: Float64Array): number {
  const size = step.length;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    let row = 0.5 * curvature[i * size + i]! * step[i]!;
    for (let j = 0; j < i; j++) row += curvature[i * size + j]! * step[j]!;
    sum += step[i]! * (gradient[i]! + row);
  }
  return -sum;
}

/** Writes the damped step that stays inside the box; true if the border cut it. */
function boxStep(
  x: Float64Array,
  lower: Float64Array,
  upper: Float64Array,
  gradient: Float64Array,
  curvature: Float64Array,
  damping: number,
  free: Uint8Array,
  factor: Float64Array,
  step: Float64Array,
): boolean {
  const size = x.length;
  for (let i = 0; i < size; i++) {
    const held = lower[i] === upper[i] || (x[i]! <= lower[i]! && gradient[i]! > 0) || (x[i]! >= upper[i]! && gradient[i]! < 0);
    free[i] = held ? 0 : 1;
    step[i] = 0;
  }
  let isCut = false;
  for (let round = 0; round < 4; round++) {
    solveFree(gradient, curvature, damping, free, factor, step);
    let hit = false;
    for (let i = 0; i < size; i++) {
      if (free[i] === 0) continue;
      const inside = Math.max(lower[i]!, Math.min(upper[i]!, x[i]! + step[i]!)) - x[i]!;
      if (inside !== step[i]) {
        step[i] = inside;
        free[i] = 0;
        hit = true;
      }
    }
    if (!hit) break;
    isCut = true;
  }
  return isCut;
}

/**
 * Solves (H + damping · diag H) d = -g for the free unknowns, the others keeping their d, by Cholesky. An unknown whose pivot
 * vanishes doesn't matter to the function and stays where it is.
 */
function solveFree(
  gradient: Float64Array,
  curvature: Float64Array,
  damping: number,
  free: Uint8Array,
  factor: Float64Array,
  step: Float64Array,
): void {
  const size = step.length;
  const at = (i: number, j: number) => (i >= j ? curvature[i * size + j]! : curvature[j * size + i]!);
  for (let i = 0; i < size; i++) {
    if (free[i] === 0) continue;
    let right = -gradient[i]!;
    for (let j = 0; j < size; j++) if (free[j] === 0 && step[j] !== 0) right -= at(i, j) * step[j]!;
    for (let j = 0; j < i; j++) {
      if (free[j] === 0) continue;
      let sum = curvature[i * size + j]!;
      for (let k = 0; k < j; k++) if (free[k] === 1) sum -= factor[i * size + k]! * factor[j * size + k]!;
      const entry = sum * factor[j * size + j]!; // the diagonal holds reciprocals
      factor[i * size + j] = entry;
      right -= entry * step[j]!; // forward substitution along the way
    }
    const diagonal = curvature[i * size + i]! * (1 + damping);
    let pivot = diagonal;
    for (let k = 0; k < i; k++) if (free[k] === 1) pivot -= factor[i * size + k]! ** 2;
    const reciprocal = pivot > 1e-14 * diagonal ? 1 / Math.sqrt(pivot) : 0;
    factor[i * size + i] = reciprocal;
    step[i] = right * reciprocal;
  }
  for (let i = size - 1; i >= 0; i--) {
    if (free[i] === 0) continue;
    let sum = step[i]!;
    for (let k = i + 1; k < size; k++) if (free[k] === 1) sum -= factor[k * size + i]! * step[k]!;
    step[i] = sum * factor[i * size + i]!;
  }
}
