import { minimizeInBox } from "./box-newton.ts";
import { criteria } from "./criteria.ts";
import { type EtsForm, isMultiplicative } from "./ets-form.ts";
import { EtsRecursion } from "./ets-recursion.ts";
import { startStates } from "./ets-start.ts";
import { isWorse, seasonalNaiveErrors, windowErrors } from "./ets-windows.ts";

/** Smoothing parameters as the unknowns of `EtsRecursion`: β and γ as shares of their largest value. */
export interface HeldSmoothing {
  readonly alpha?: number;
  readonly betaShare?: number;
  readonly gammaShare?: number;
  readonly phi?: number;
}

/** A form with its maximum-likelihood unknowns (in the order of `EtsRecursion`). */
export interface EtsCandidate {
  readonly recursion: EtsRecursion;
  readonly x: Float64Array;
  /** -2 log-likelihood without its constant, of the values divided by their magnitude. */
  readonly deviance: number;
  /** Estimated numbers: smoothing parameters and start states that aren't held, and the error's variance. */
  readonly numParameters: number;
  readonly aicc: number;
}

const smallest = 1e-4;
const largest = 0.9999;
/** Range of φ: below it a trend is over before it counts, above it can't be told from an undamped one (as in R's forecast). */
const phiRange = [0.8, 0.98] as const;
/** Longer seasons start as the decomposition says: estimating them costs the square of their length per value and step. */
const longestEstimatedSeason = 24;

/**
 * Maximizes the likelihood of one form over smoothing parameters and start states.
 *
 * @param values  [N], divided by their magnitude; N > period where the form has a season
 * @param climbs  how many hills of the likelihood are climbed: 0 and 1 the best start, more the next ones too
 */
export function fitForm(form: EtsForm, values: Float64Array, period: number, held: HeldSmoothing = {}, climbs = 1): EtsCandidate {
  const start = startStates(form, values, period);
  const givenSeason = period > longestEstimatedSeason && form.season !== "N" ? start.season : undefined;
  const recursion = new EtsRecursion(form, values, period, givenSeason);
  const { size, iBeta, iGamma, iPhi, iLevel, iGrowth, iSeason } = recursion;
  const lower = new Float64Array(size).fill(Number.NEGATIVE_INFINITY);
  const upper = new Float64Array(size).fill(Number.POSITIVE_INFINITY);
  const bound = (index: number, low: number, high: number, value: number | undefined) => {
    if (index < 0) return;
    lower[index] = value ?? low;
    upper[index] = value ?? high;
  };
  bound(0, smallest, largest, held.alpha);
  bound(iBeta, smallest, largest, held.betaShare);
  bound(iGamma, smallest, largest, held.gammaShare);
  bound(iPhi, ...phiRange, held.phi);

  const origin = new Float64Array(size);
  origin[iLevel] = start.level;
  if (iGrowth >= 0) origin[iGrowth] = start.growth;
  if (iSeason >= 0) origin.set(start.season.subarray(1), iSeason);
  let deviance = Number.POSITIVE_INFINITY;
  let x: Float64Array = origin;
  for (const corner of corners(recursion, origin, lower, upper).slice(0, climbs)) {
    const value = minimizeInBox(recursion, corner, lower, upper, { tolerance: 1e-5, maxSteps: 200 });
    if (value < deviance) [deviance, x] = [value, corner];
  }

  let numParameters = size + 1 + (givenSeason === undefined ? 0 : period - 1);
  for (let i = 0; i < size; i++) if (lower[i] === upper[i]) numParameters--;
  return { recursion, x, deviance, numParameters, aicc: criteria(deviance, numParameters, values.length).aicc };
}

/** Starts for the optimizer, best first: for every α of a few the best of a few β, γ. The likelihood may have several hills. */
function corners(recursion: EtsRecursion, origin: Float64Array, lower: Float64Array, upper: Float64Array): Float64Array[] {
  const { iBeta, iGamma, iPhi } = recursion;
  const choices = (index: number, values: readonly number[]) => {
    if (index < 0) return [Number.NaN];
    return lower[index] === upper[index] ? [lower[index]!] : values;
  };
  const found = choices(0, [0.05, 0.2, 0.5, 0.85]).map((alpha) => {
    let value = Number.POSITIVE_INFINITY;
    let best: Float64Array = origin.slice();
    best[0] = alpha;
    for (const beta of choices(iBeta, [0.02, 0.3])) {
      for (const gamma of choices(iGamma, [0.02, 0.3])) {
        for (const phi of choices(iPhi, [0.97])) {
          const corner = origin.slice();
          corner[0] = alpha;
          if (iBeta >= 0) corner[iBeta] = beta;
          if (iGamma >= 0) corner[iGamma] = gamma;
          if (iPhi >= 0) corner[iPhi] = phi;
          const trial = recursion.value(corner);
          if (trial < value) [value, best] = [trial, corner];
        }
      }
    }
    return { value, best };
  });
  return found
    .filter(({ value }) => value < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.value - b.value)
    .map(({ best }) => best);
}

/**
 * Fits every form that the values allow and returns the one with the smallest AICc (the simplest of equals) of those whose forecasts over
 * `horizon` steps, from places inside the series, are no worse than the seasonal naive ones; where all are, of those that are no worse than
 * the best of them. The likelihood knows errors of one step only: a growth of many times the level within a day can raise it. Forms that come
 * close are climbed again from other starts.
 *
 * @param forms  simplest first; not empty
 * @returns undefined if no form can be fitted
 */
export function chooseForm(forms: readonly EtsForm[], values: Float64Array, period: number, horizon: number): EtsCandidate | undefined {
  const isPositive = values.every((value) => value > 0);
  let fits = forms
    .filter((form) => (isPositive || !isMultiplicative(form)) && (form.season === "N" || values.length > period))
    .map((form) => fitForm(form, values, period))
    .filter((fit) => fit.deviance < Number.POSITIVE_INFINITY && isForecastable(fit, period));
  const least = Math.min(...fits.map((fit) => fit.aicc));
  fits = fits.map((fit) => {
    if (!(fit.aicc < least + closeCall)) return fit;
    const again = fitForm(fit.recursion.form, values, period, {}, 4);
    return again.deviance < fit.deviance && isForecastable(again, period) ? again : fit;
  });
  fits.sort((a, b) => (a.aicc === b.aicc ? 0 : a.aicc - b.aicc)); // Infinity - Infinity is no order
  return fits.length < 2 ? fits[0] : firstGood(fits, values, period, horizon);
}

/** @param fits  best first, at least one */
function firstGood(fits: readonly EtsCandidate[], values: Float64Array, period: number, horizon: number): EtsCandidate {
  const naive = seasonalNaiveErrors(values, period, horizon);
  const beaten: { readonly fit: EtsCandidate; readonly errors: Float64Array }[] = [];
  for (const fit of fits) {
    const errors = windowErrors(fit.recursion, fit.x, values, period, horizon);
    if (!isWorse(errors, naive, horizon)) return fit;
    beaten.push({ fit, errors });
  }
  const total = (errors: Float64Array) => errors.reduce((sum, error) => sum + error, 0);
  const closest = beaten.reduce((a, b) => (total(b.errors) < total(a.errors) ? b : a));
  return (beaten.find(({ errors }) => !isWorse(errors, closest.errors, horizon)) ?? closest).fit;
}

/** Difference in AICc up to which another hill may change the choice. */
const closeCall = 4;

/**
 * Whether old values lose their weight in the forecasts: all roots of the characteristic polynomial are in the unit circle. The
 * usual region implies it except for some forms with trend and season.
 *
 * @see Hyndman, Akram & Archibald 2008, The admissible parameter space for exponential smoothing models, https://doi.org/10.1007/s10463-006-0109-x
 */
export function isForecastable({ recursion, x }: Pick<EtsCandidate, "recursion" | "x">, period: number): boolean {
  const { form, iBeta, iGamma, iPhi } = recursion;
  if (form.season === "N" || form.trend === "N") return true;
  const alpha = x[0]!;
  const beta = alpha * x[iBeta]!;
  const gamma = (1 - alpha) * x[iGamma]!;
  const phi = iPhi >= 0 ? x[iPhi]! : 1;
  const polynomial = new Float64Array(period + 2).fill(alpha + beta - alpha * phi); // lowest power first
  polynomial[0] = phi * (1 - alpha - gamma);
  polynomial[1] = alpha + beta - alpha * phi + gamma - 1;
  polynomial[period] = alpha + beta - phi;
  polynomial[period + 1] = 1;
  return rootsAreWithin(polynomial, 1 + 1e-6);
}

/** Schur-Cohn test: whether all roots of Σ c_k z^k satisfy |z| < radius. */
export function rootsAreWithin(coefficients: Float64Array, radius: number): boolean {
  let a = coefficients.map((c, k) => c * radius ** k);
  for (let degree = a.length - 1; degree > 0; degree--) {
    const first = a[0]! / a[degree]!;
    if (!(Math.abs(first) < 1)) return false;
    a = Float64Array.from({ length: degree }, (_, k) => a[k + 1]! - first * a[degree - 1 - k]!);
  }
  return true;
}
