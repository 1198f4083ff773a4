/**
 * The four models of the theta family in state space form. A series is the sum of its trend line and of a theta line, the latter forecast
 * by simple exponential smoothing:
 *
 *   μ_t = ℓ_(t-1) + w (A_t (1-α)^(t-1) + B_t (1 - (1-α)^t) / α),  w = 1 - 1/θ      ℓ_t = α y_t + (1-α) ℓ_(t-1)
 *
 * S: θ = 2, O: θ estimated; with D the line (A, B) is fitted to the values up to t - 1 only, without it to all of them.
 *
 * @see Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler 2016, Models for optimising the theta method and their relationship
 *   to state space models, https://doi.org/10.1016/j.ijforecast.2016.02.005
 */
export type ThetaModel = "STM" | "OTM" | "DSTM" | "DOTM";
export const thetaModels: readonly ThetaModel[] = ["STM", "OTM", "DSTM", "DOTM"];

/** State after `count` values. */
export interface ThetaState {
  readonly level: number;
  readonly mean: number;
  readonly intercept: number;
  readonly slope: number;
  readonly count: number;
}

export function isDynamic(model: ThetaModel): boolean {
  return model.startsWith("D");
}

/** Least squares line through all values: value at time t (1-based) is intercept + slope · t. */
function trendLine(values: Float64Array): { intercept: number; slope: number } {
  const n = values.length;
  let sum = 0;
  let weighted = 0;
  for (let t = 0; t < n; t++) {
    sum += values[t]!;
    weighted += (t + 1) * values[t]!;
  }
  const slope = (6 * ((2 * weighted) / n - ((n + 1) * sum) / n)) / (n * n - 1);
  return { intercept: sum / n - ((n + 1) * slope) / 2, slope };
}

/** One step ahead of a state: the trend's part of μ, to be weighted with w. */
function trendPart(intercept: number, slope: number, alpha: number, decay: number): number {
  return intercept * decay + (slope * (1 - decay * (1 - alpha))) / alpha;
}

/** The line of the dynamic models after one more value; `count` values came before it. */
function movedLine(slope: number, mean: number, count: number, value: number): { mean: number; slope: number; intercept: number } {
  const nextMean = (count * mean + value) / (count + 1);
  const nextSlope = ((count - 1) * slope + (6 * (value - mean)) / (count + 1)) / (count + 2);
  return { mean: nextMean, slope: nextSlope, intercept: nextMean - (nextSlope * (count + 2)) / 2 };
}

/**
 * Runs a model over a series from the start level ℓ₀.
 *
 * @param fitted  [N], receives the one-step forecasts
 */
export function runTheta(
  model: ThetaModel,
  values: Float64Array,
  alpha: number,
  weight: number,
  startLevel: number,
  fitted: Float64Array,
): ThetaState {
  const line = isDynamic(model) ? { intercept: values[0]!, slope: 0 } : trendLine(values);
  fitted[0] = isDynamic(model) ? values[0]! : startLevel + weight * (line.intercept + line.slope);
  const first: ThetaState = { level: alpha * values[0]! + (1 - alpha) * startLevel, mean: values[0]!, ...line, count: 1 };
  return advanceTheta(model, alpha, weight, first, values.subarray(1), fitted.subarray(1));
}

/** Continues from a state over more values. */
export function advanceTheta(
  model: ThetaModel,
  alpha: number,
  weight: number,
  state: ThetaState,
  values: Float64Array,
  fitted: Float64Array,
): ThetaState {
  let { level, mean, intercept, slope, count } = state;
  let decay = (1 - alpha) ** count;
  for (let t = 0; t < values.length; t++) {
    const y = values[t]!;
    fitted[t] = level + weight * trendPart(intercept, slope, alpha, decay);
    level = alpha * y + (1 - alpha) * level;
    if (isDynamic(model)) ({ mean, slope, intercept } = movedLine(slope, mean, count, y));
    else mean = (count * mean + y) / (count + 1);
    decay *= 1 - alpha;
    count++;
  }
  return { level, mean, intercept, slope, count };
}

/** Point forecasts [H]: each takes the place of the value that isn't known yet. */
export function thetaForecasts(model: ThetaModel, alpha: number, weight: number, state: ThetaState, horizon: number): Float64Array {
  let { level, mean, intercept, slope, count } = state;
  let decay = (1 - alpha) ** count;
  return Float64Array.from({ length: horizon }, () => {
    const y = level + weight * trendPart(intercept, slope, alpha, decay);
    level = alpha * y + (1 - alpha) * level;
    if (isDynamic(model)) ({ mean, slope, intercept } = movedLine(slope, mean, count, y));
    decay *= 1 - alpha;
    count++;
    return y;
  });
}

/**
 * Variances [H] of the forecast errors for one-step errors of variance 1. The recursion is linear in the values, so the reaction
 * to an error is the forecast from a state that is zero but for it.
 */
export function thetaVariances(model: ThetaModel, alpha: number, weight: number, count: number, horizon: number): Float64Array {
  if (!isDynamic(model)) return Float64Array.from({ length: horizon }, (_, h) => 1 + h * alpha * alpha);
  const variances = new Float64Array(horizon).fill(1);
  for (let j = 0; j + 1 < horizon; j++) {
    const shocked: ThetaState = { level: alpha, ...movedLine(0, 0, count + j, 1), count: count + j + 1 };
    const reaction = thetaForecasts(model, alpha, weight, shocked, horizon - j - 1);
    for (let h = 0; h < reaction.length; h++) variances[j + 1 + h]! += reaction[h]! ** 2;
  }
  return variances;
}

/**
 * Given α, the errors are linear in ℓ₀ and in w, so both follow in closed form, and the sum of squares becomes a function of α
 * alone. The first three errors don't count (as in the reference implementation of Fiorucci et al.).
 */
export class ThetaProfile {
  readonly #values: Float64Array;
  readonly #line: { intercept: number; slope: number };
  /** [N] of the line before each value; dynamic models only */
  readonly #intercepts: Float64Array | undefined;
  readonly #slopes: Float64Array | undefined;
  readonly #startLevel: number | undefined;
  readonly #weight: number | undefined;

  /** @param held  the start level and the weight w, where they are not to be estimated */
  constructor(
    model: ThetaModel,
    values: Float64Array,
    held: { readonly startLevel?: number | undefined; readonly weight?: number | undefined },
  ) {
    this.#values = values;
    this.#startLevel = held.startLevel;
    this.#weight = held.weight;
    this.#line = trendLine(values);
    if (!isDynamic(model)) return;
    this.#intercepts = new Float64Array(values.length);
    this.#slopes = new Float64Array(values.length);
    let line = { mean: values[0]!, slope: 0, intercept: values[0]! };
    for (let t = 1; t < values.length; t++) {
      this.#intercepts[t] = line.intercept;
      this.#slopes[t] = line.slope;
      line = movedLine(line.slope, line.mean, t, values[t]!);
    }
  }

  at(alpha: number): { readonly sumSquares: number; readonly startLevel: number; readonly weight: number } {
    const values = this.#values;
    // error = e - carried · ℓ₀ - trend · w
    let carried = 1 - alpha;
    let level = alpha * values[0]!;
    let ee = 0;
    let ec = 0;
    let et = 0;
    let cc = 0;
    let ct = 0;
    let tt = 0;
    for (let t = 1; t < values.length; t++) {
      if (t >= numUncounted) {
        const intercept = this.#intercepts === undefined ? this.#line.intercept : this.#intercepts[t]!;
        const slope = this.#slopes === undefined ? this.#line.slope : this.#slopes[t]!;
        const e = values[t]! - level;
        const trend = trendPart(intercept, slope, alpha, carried); // (1-α)^t is what ℓ₀ carries, too
        ee += e * e;
        ec += e * carried;
        et += e * trend;
        cc += carried * carried;
        ct += carried * trend;
        tt += trend * trend;
      }
      level = alpha * values[t]! + (1 - alpha) * level;
      carried *= 1 - alpha;
    }
    const levelFor = (weight: number) => this.#startLevel ?? (cc > 0 ? (ec - weight * ct) / cc : 0);
    let weight = this.#weight;
    if (weight === undefined) {
      const best = this.#startLevel === undefined ? (et * cc - ec * ct) / (tt * cc - ct * ct) : (et - this.#startLevel * ct) / tt;
      weight = Number.isFinite(best) ? Math.max(0, Math.min(largestWeight, best)) : 0.5;
    }
    const startLevel = levelFor(weight);
    const sumSquares =
      ee - 2 * startLevel * ec - 2 * weight * et + startLevel * startLevel * cc + 2 * startLevel * weight * ct + weight * weight * tt;
    return { sumSquares: Math.max(0, sumSquares), startLevel, weight };
  }
}

export const numUncounted = 3;
/** θ = 1e10, in effect a theta line that is all trend */
const largestWeight = 1 - 1e-10;
