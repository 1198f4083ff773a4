import type { EtsForm } from "./ets-form.ts";
import { LeastSquares } from "./householder-qr.ts";
import { seasonalIndices } from "./seasonal-decomposition.ts";

/** Start states [l₀, b₀, s₀ … s₍ₘ₋₁₎] of a form, those it has. */
export interface EtsStart {
  readonly level: number;
  readonly growth: number;
  readonly season: Float64Array;
}

/**
 * Start seasons by classical decomposition (by one harmonic and a line for less than two seasons of data), start level and growth by the
 * line through the first max(10, 2m) seasonally adjusted values.
 *
 * @param values  [N], N >= 2; with a season N > period
 * @see Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing, 2.6.1
 */
export function startStates(form: EtsForm, values: Float64Array, period: number): EtsStart {
  const season = startSeason(form.season, values, period);
  const m = season.length;
  const numFirst = Math.min(values.length, Math.max(10, 2 * m));
  const adjusted = new Float64Array(numFirst);
  for (let t = 0; t < numFirst; t++) {
    adjusted[t] = form.season === "N" ? values[t]! : form.season === "A" ? values[t]! - season[t % m]! : values[t]! / season[t % m]!;
  }
  let mean = 0;
  for (const value of adjusted) mean += value / numFirst;
  if (form.trend === "N") return { level: mean, growth: 0, season };
  let slope = 0;
  let spread = 0;
  for (let t = 0; t < numFirst; t++) {
    slope += (t - (numFirst - 1) / 2) * adjusted[t]!;
    spread += (t - (numFirst - 1) / 2) ** 2;
  }
  slope /= spread;
  const intercept = mean - (slope * (numFirst + 1)) / 2; // the line's value one step before the first
  if (form.trend === "A") return { level: intercept, growth: slope, season };
  // a ratio per step, from the line where it is positive at both ends of the first step
  if (intercept > 0 && intercept + slope > 0) return { level: intercept, growth: (intercept + slope) / intercept, season };
  return { level: Math.max(mean, 1e-3), growth: 1, season };
}

function startSeason(kind: EtsForm["season"], values: Float64Array, period: number): Float64Array {
  if (kind === "N") return new Float64Array(0);
  const isAdditive = kind === "A";
  const raw =
    values.length >= 2 * period
      ? seasonalIndices(values, period, isAdditive ? "additive" : "multiplicative")
      : harmonicSeason(values, period, isAdditive);
  if (isAdditive) return raw;
  // far from zero, so that the first steps of the optimizer stay legal
  const positive = raw.map((index) => Math.max(index, 0.05));
  const total = positive.reduce((sum, index) => sum + index, 0);
  return positive.map((index) => (index * period) / total);
}

/** A line and one sine wave through the values; the season is the wave, or its ratio to the line. */
function harmonicSeason(values: Float64Array, period: number, isAdditive: boolean): Float64Array {
  const numValues = values.length;
  const columns = new Float64Array(4 * numValues);
  for (let t = 0; t < numValues; t++) {
    columns[t] = 1;
    columns[numValues + t] = t + 1;
    columns[2 * numValues + t] = Math.cos((2 * Math.PI * t) / period);
    columns[3 * numValues + t] = Math.sin((2 * Math.PI * t) / period);
  }
  const [constant, slope, cosine, sine] = new LeastSquares(columns, values.slice()).solve(4) as unknown as [number, number, number, number];
  const season = Float64Array.from({ length: period }, (_, t) => {
    const wave = cosine * Math.cos((2 * Math.PI * t) / period) + sine * Math.sin((2 * Math.PI * t) / period);
    const line = constant + slope * (t + 1);
    return isAdditive ? wave : line > 0 ? 1 + wave / line : 1;
  });
  const mean = season.reduce((sum, index) => sum + index / period, 0);
  return season.map((index) => (isAdditive ? index - mean : index));
}
