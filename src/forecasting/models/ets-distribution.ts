import type { EtsForm } from "./ets-form.ts";
import { gaussian, type Prediction } from "./fitted-model.ts";
import { normalSampler } from "./normal-sampler.ts";

export interface EtsSmoothing {
  readonly alpha: number;
  readonly beta: number;
  readonly gamma: number;
  readonly phi: number;
}

export interface EtsState {
  readonly level: number;
  readonly growth: number;
  /** [period], the next step's first; empty without a season */
  readonly season: Float64Array;
}

/** Point forecasts [H] of all future errors 0. */
export function pointForecasts(form: EtsForm, phi: number, { level, growth, season }: EtsState, horizon: number): Float64Array {
  const mean = new Float64Array(horizon);
  let reach = 0; // φ + φ² + … + φ^h
  let power = 1;
  for (let h = 0; h < horizon; h++) {
    power *= phi;
    reach += power;
    const q = form.trend === "N" ? level : form.trend === "A" ? level + reach * growth : level * growth ** reach;
    const s = season.length === 0 ? 0 : season[h % season.length]!;
    mean[h] = form.season === "M" ? q * s : q + s;
  }
  return mean;
}

/**
 * Point forecasts and normal quantiles; the variances are exact where they are known (additive trends), and quantiles come from 5000
 * simulated paths with a fixed seed where they aren't (multiplicative trends).
 *
 * @param sigma  standard deviation of the errors (relative ones where they are multiplicative)
 * @see Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing, chapter 6
 */
export function etsPrediction(form: EtsForm, smoothing: EtsSmoothing, state: EtsState, sigma: number, horizon: number): Prediction {
  const mean = pointForecasts(form, smoothing.phi, state, horizon);
  if (form.trend === "M") return simulated(form, smoothing, state, sigma, mean);
  let variance: Float64Array;
  if (form.error === "A") variance = additiveVariance(form, smoothing, state.season.length, sigma, horizon);
  else if (form.season === "M") variance = seasonalVariance(form, smoothing, state, sigma, horizon);
  else variance = multiplicativeVariance(form, smoothing, state.season.length, sigma, mean);
  return gaussian(
    mean,
    variance.map((value) => Math.sqrt(Math.max(0, value))),
  );
}

/** c_j: what an error moves the forecast j = 1 … H-1 steps later. Index 0 is c_1. */
function reactions({ alpha, beta, gamma, phi }: EtsSmoothing, period: number, horizon: number): Float64Array {
  let reach = 0;
  let power = 1;
  return Float64Array.from({ length: Math.max(0, horizon - 1) }, (_, index) => {
    power *= phi;
    reach += power;
    return alpha + beta * reach + (period > 0 && (index + 1) % period === 0 ? gamma : 0);
  });
}

/** Class 1: v_h = σ² (1 + Σ c_j²). */
function additiveVariance(form: EtsForm, smoothing: EtsSmoothing, period: number, sigma: number, horizon: number): Float64Array {
  const c = reactions(withoutMissing(form, smoothing), period, horizon);
  let sum = 1;
  return Float64Array.from({ length: horizon }, (_, h) => {
    if (h > 0) sum += c[h - 1]! ** 2;
    return sigma * sigma * sum;
  });
}

/** Class 2: θ_h = μ_h² + σ² Σ c_j² θ_(h-j), v_h = (1 + σ²) θ_h - μ_h². */
function multiplicativeVariance(form: EtsForm, smoothing: EtsSmoothing, period: number, sigma: number, mean: Float64Array): Float64Array {
  const c = reactions(withoutMissing(form, smoothing), period, mean.length);
  const theta = new Float64Array(mean.length);
  return mean.map((mu, h) => {
    let sum = 0;
    for (let j = 1; j <= h; j++) sum += c[j - 1]! ** 2 * theta[h - j]!;
    theta[h] = mu * mu + sigma * sigma * sum;
    return (1 + sigma * sigma) * theta[h]! - mu * mu;
  });
}

/**
 * Class 3 (multiplicative errors and season): y = w'x · s (1 + ε), x ← (F + εG) x, s ← s (1 + γε) for the season in turn. The
 * second moments M = E[xx' s²] and the means E[x s] of every place in the season follow their own recursion, exactly, with
 * E[ε²] = σ² and E[ε⁴] = 3σ⁴; the products of different places are not needed.
 */
function seasonalVariance(form: EtsForm, smoothing: EtsSmoothing, state: EtsState, sigma: number, horizon: number): Float64Array {
  const { alpha, beta, gamma, phi } = withoutMissing(form, smoothing);
  const period = state.season.length;
  const hasTrend = form.trend !== "N";
  const slope = hasTrend ? phi : 0;
  const v = sigma * sigma;
  // F = [1 φ; 0 φ], G = [α αφ; β βφ] = g w', w = [1 φ]'
  const means = Array.from(state.season, (s) => ({ l: state.level * s, b: state.growth * s }));
  const moments = Array.from(state.season, (s) => ({
    ll: (state.level * s) ** 2,
    lb: state.level * state.growth * s * s,
    bb: (state.growth * s) ** 2,
  }));
  return Float64Array.from({ length: horizon }, (_, h) => {
    const turn = h % period;
    let variance = 0;
    for (let place = 0; place < period; place++) {
      const m = means[place]!;
      const { ll, lb, bb } = moments[place]!;
      const wm = m.l + slope * m.b;
      const wMl = ll + slope * lb; // (Mw)
      const wMb = lb + slope * bb;
      const wMw = wMl + slope * wMb;
      if (place === turn) variance = (1 + v) * wMw - wm * wm;
      // FMF', FMG' = F(Mw)g' with its transpose, GMG' = wMw gg'
      const f = { ll: wMw, lb: slope * wMb, bb: slope * slope * bb };
      const lbFactor = slope * wMb; // second entry of F(Mw); the first is wMw
      const fg = { ll: 2 * alpha * wMw, lb: beta * wMw + alpha * lbFactor, bb: 2 * beta * lbFactor };
      const gg = { ll: alpha * alpha * wMw, lb: alpha * beta * wMw, bb: beta * beta * wMw };
      const k = place === turn ? gamma : 0;
      const mix = (a: number, b: number, c: number) => a * (1 + v * k * k) + b * 2 * k * v + c * (v + 3 * v * v * k * k);
      moments[place] = {
        ll: mix(f.ll, fg.ll, gg.ll),
        lb: mix(f.lb, fg.lb, gg.lb),
        bb: mix(f.bb, fg.bb, gg.bb),
      };
      means[place] = { l: wm * (1 + alpha * k * v), b: slope * m.b + beta * k * v * wm };
    }
    return variance;
  });
}

/** Smoothing parameters that the form doesn't have count nothing. */
function withoutMissing(form: EtsForm, { alpha, beta, gamma, phi }: EtsSmoothing): EtsSmoothing {
  return { alpha, beta: form.trend === "N" ? 0 : beta, gamma: form.season === "N" ? 0 : gamma, phi };
}

const numPaths = 5000;

function simulated(form: EtsForm, smoothing: EtsSmoothing, state: EtsState, sigma: number, mean: Float64Array): Prediction {
  const horizon = mean.length;
  let sorted: readonly Float64Array[] | undefined; // [H][paths]
  return {
    mean,
    quantile(probability) {
      sorted ??= simulate(form, smoothing, state, sigma, horizon);
      return Float64Array.from(sorted, (paths) => quantileOfSorted(paths, probability));
    },
  };
}

/** Values of all paths per step, sorted. Every second path has the opposite errors of the one before, which halves the noise. */
function simulate(form: EtsForm, smoothing: EtsSmoothing, state: EtsState, sigma: number, horizon: number): readonly Float64Array[] {
  const { alpha, beta, gamma, phi } = withoutMissing(form, smoothing);
  const normal = normalSampler(1);
  const period = state.season.length;
  const season = new Float64Array(period);
  const errors = new Float64Array(horizon);
  const steps = Array.from({ length: horizon }, () => new Float64Array(numPaths));
  for (let path = 0; path < numPaths; path++) {
    for (let h = 0; h < horizon; h++) errors[h] = path % 2 === 0 ? sigma * normal() : -errors[h]!;
    let { level, growth } = state;
    season.set(state.season);
    for (let h = 0; h < horizon; h++) {
      const grown = growth ** phi;
      const q = level * grown;
      const s = period === 0 ? 1 : season[h % period]!;
      // An error below -1 has no meaning for a positive value: the path stays just above 0.
      const y = Math.max(q * s * (1 + errors[h]!), 1e-10);
      steps[h]![path] = y;
      const r = y / s - q;
      const next = q + alpha * r;
      growth = grown + (beta * r) / level;
      level = next;
      if (period > 0) season[h % period] = s + gamma * (y / q - s);
    }
  }
  for (const paths of steps) paths.sort();
  return steps;
}

/** Linear interpolation between order statistics (type 7 of Hyndman & Fan). */
function quantileOfSorted(sorted: Float64Array, probability: number): number {
  const place = probability * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!);
}
