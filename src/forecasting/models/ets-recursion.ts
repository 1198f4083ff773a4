import type { CurvedFunction } from "./box-newton.ts";
import type { EtsForm } from "./ets-form.ts";

/** What a run over a series leaves behind. */
export interface EtsRun {
  /** Sum of the squared errors: y - f for additive errors, (y - f) / f for multiplicative ones. */
  readonly sumSquares: number;
  /** -2 log-likelihood without its constant: N log(sumSquares), plus 2 Σ log f for multiplicative errors. */
  readonly deviance: number;
  readonly level: number;
  /** 0 without a trend */
  readonly growth: number;
  /** [period], the next step's first; empty without a season */
  readonly season: Float64Array;
}

/** Told after each value t what the state is then: the season [m] is the recursion's own, its entry at `place` is the next step's. */
export type EtsVisit = (t: number, level: number, growth: number, season: Float64Array, place: number) => void;

/**
 * The innovations recursion of one form over one series, as a function of smoothing parameters and start states:
 *
 *   q = l + φb | l·b^φ | l         f = q | q + s | q·s          r = y - q | y - q - s | y/s - q
 *   l ← q + α r
 *   b ← φb + β r | b^φ + β r / l
 *   s ← s + γ (y - q - s) | s + γ (y/q - s)
 *
 * (the update is the same for both kinds of errors). The unknowns x are [α, β/α, γ/(1-α), φ, l₀, b₀, s₁ … s₍ₘ₋₁₎], those the form
 * has; s₀ follows, because the start season sums to 0 (A) or to m (M). The start season is no unknown where it is given. With
 * β < α and γ < 1 - α as fractions, the usual region of the parameters is a box.
 *
 * Derivatives run forward along with the states; the Gauss-Newton matrix of the deviance comes from those of the errors times
 * the geometric mean of f (1 for additive errors), whose sum of squares has the same minimum.
 */
export class EtsRecursion implements CurvedFunction {
  readonly form: EtsForm;
  /** Number of unknowns, P. */
  readonly size: number;
  /** Places of the unknowns in x; -1 for those the form lacks. */
  readonly iBeta: number;
  readonly iGamma: number;
  readonly iPhi: number;
  readonly iLevel: number;
  readonly iGrowth: number;
  readonly iSeason: number;
  readonly #values: Float64Array;
  readonly #period: number;
  readonly #floor: number;
  readonly #startSeason: Float64Array | undefined; // [m]
  readonly #season: Float64Array; // [m], place t mod m
  readonly #dLevel: Float64Array; // [P]
  readonly #dGrowth: Float64Array; // [P]
  readonly #dSeason: Float64Array; // [m, P]
  readonly #dFit: Float64Array; // [P]
  readonly #crossed: Float64Array; // [P, P] Σ de de'
  readonly #weighted: Float64Array; // [P] Σ e de
  readonly #logged: Float64Array; // [P] Σ df / f
  #level = 0;
  #growth = 0;
  #sumSquares = 0;

  /**
   * @param values  [N], of magnitude 1 (`magnitudeOf`); all > 0 where the form is multiplicative
   * @param period  m >= 1; ignored by forms without a season
   * @param startSeason  [m], the first step's place first; left out, it is estimated
   */
  constructor(form: EtsForm, values: Float64Array, period: number, startSeason?: Float64Array) {
    this.form = form;
    this.#values = values;
    this.#period = form.season === "N" ? 0 : period;
    let size = 1;
    this.iBeta = form.trend === "N" ? -1 : size++;
    this.iGamma = form.season === "N" ? -1 : size++;
    this.iPhi = form.damped ? size++ : -1;
    this.iLevel = size++;
    this.iGrowth = form.trend === "N" ? -1 : size++;
    this.iSeason = form.season === "N" || startSeason !== undefined ? -1 : size;
    if (this.iSeason >= 0) size += period - 1;
    this.size = size;
    // Errors of the last bits say nothing: below this sum of squares all fits are equally perfect.
    this.#floor = values.length * 1e-24;
    this.#startSeason = startSeason;
    this.#season = new Float64Array(this.#period);
    this.#dLevel = new Float64Array(size);
    this.#dGrowth = new Float64Array(size);
    this.#dSeason = new Float64Array(this.#period * size);
    this.#dFit = new Float64Array(size);
    this.#crossed = new Float64Array(size * size);
    this.#weighted = new Float64Array(size);
    this.#logged = new Float64Array(size);
  }

  value(x: Float64Array): number {
    return this.#run(x, false);
  }

  linearize(x: Float64Array, gradient: Float64Array, curvature: Float64Array): number {
    const deviance = this.#run(x, true);
    const { size } = this;
    const numValues = this.#values.length;
    const sumSquares = Math.max(this.#sumSquares, this.#floor);
    const scale = (2 * numValues) / sumSquares;
    const isRelative = this.form.error === "M";
    for (let i = 0; i < size; i++) {
      const wi = isRelative ? this.#logged[i]! / numValues : 0;
      const vi = this.#weighted[i]!;
      gradient[i] = scale * (vi + sumSquares * wi);
      for (let j = 0; j <= i; j++) {
        const wj = isRelative ? this.#logged[j]! / numValues : 0;
        curvature[i * size + j] = scale * (this.#crossed[i * size + j]! + vi * wj + wi * this.#weighted[j]! + sumSquares * wi * wj);
      }
    }
    return deviance;
  }

  /** Runs once and returns where it ends; `fitted` [N] receives the one-step forecasts, `visit` every state. */
  run(x: Float64Array, fitted?: Float64Array, visit?: EtsVisit): EtsRun {
    const deviance = this.#run(x, false, fitted, visit);
    const period = this.#period;
    const next = period === 0 ? 0 : this.#values.length % period;
    const season = Float64Array.from({ length: period }, (_, index) => this.#season[(next + index) % period]!);
    return { sumSquares: this.#sumSquares, deviance, level: this.#level, growth: this.#growth, season };
  }

  #run(x: Float64Array, derivatives: boolean, fitted?: Float64Array, visit?: EtsVisit): number {
    const { iBeta, iGamma, iPhi, iGrowth, size } = this;
    const values = this.#values;
    const period = this.#period;
    const season = this.#season;
    const hasTrend = this.form.trend !== "N";
    const trendMultiplies = this.form.trend === "M";
    const hasSeason = period > 0;
    const seasonMultiplies = this.form.season === "M";
    const isRelative = this.form.error === "M";
    const mustBePositive = isRelative || trendMultiplies || seasonMultiplies;
    const alpha = x[0]!;
    const betaShare = hasTrend ? x[iBeta]! : 0;
    const beta = alpha * betaShare;
    const gammaShare = hasSeason ? x[iGamma]! : 0;
    const gamma = (1 - alpha) * gammaShare;
    const phi = iPhi >= 0 ? x[iPhi]! : 1;
    if (!this.#start(x, derivatives)) return Number.POSITIVE_INFINITY;
    const dLevel = this.#dLevel;
    const dGrowth = this.#dGrowth;
    const dSeason = this.#dSeason;
    const dFit = this.#dFit;
    let level = x[this.iLevel]!;
    let growth = hasTrend ? x[iGrowth]! : 0;
    let sumSquares = 0;
    let sumLogs = 0;
    let product = 1; // of fitted values since the last logarithm

    for (let t = 0, place = 0; t < values.length; t++) {
      const y = values[t]!;
      let grown = 0; // φb or b^φ
      let q = level;
      if (trendMultiplies) {
        if (!(growth > 0)) return Number.POSITIVE_INFINITY;
        grown = phi === 1 ? growth : growth ** phi;
        q = level * grown;
      } else if (hasTrend) {
        grown = phi * growth;
        q = level + grown;
      }
      const s = hasSeason ? season[place]! : 0;
      const f = seasonMultiplies ? q * s : q + s;
      if (mustBePositive && !(f > 1e-10)) return Number.POSITIVE_INFINITY;
      const r = seasonMultiplies ? y / s - q : y - q - s;
      const seasonError = seasonMultiplies ? y / q - s : r;
      const error = isRelative ? (y - f) / f : y - f;
      if (fitted !== undefined) fitted[t] = f;

      if (derivatives) {
        const fromLevel = trendMultiplies ? grown : 1; // dq = fromLevel dl + fromGrowth db
        const fromGrowth = trendMultiplies ? (q * phi) / growth : phi;
        const fitOfQ = seasonMultiplies ? s : 1; // df = fitOfQ dq + fitOfSeason ds
        const fitOfSeason = seasonMultiplies ? q : 1;
        const rOfSeason = seasonMultiplies ? y / (s * s) : 1; // dr = -dq - rOfSeason ds
        const perLevel = trendMultiplies ? 1 / level : 1; // r moves b by β r perLevel
        const growthOfGrowth = trendMultiplies ? (grown * phi) / growth : phi;
        const growthOfLevel = trendMultiplies ? -beta * r * perLevel * perLevel : 0;
        const growthOfR = beta * perLevel;
        const seasonOfQ = gamma * (seasonMultiplies ? y / (q * q) : 1);
        const base = place * size;
        if (hasSeason) {
          for (let k = 0; k < size; k++) {
            const dl = dLevel[k]!;
            const db = dGrowth[k]!;
            const ds = dSeason[base + k]!;
            const dq = fromLevel * dl + fromGrowth * db;
            const dr = -dq - rOfSeason * ds;
            dFit[k] = fitOfQ * dq + fitOfSeason * ds;
            dLevel[k] = dq + alpha * dr;
            dGrowth[k] = growthOfGrowth * db + growthOfLevel * dl + growthOfR * dr;
            dSeason[base + k] = (1 - gamma) * ds - seasonOfQ * dq;
          }
          dSeason[base]! -= seasonError * gammaShare;
          dSeason[base + iGamma]! += seasonError * (1 - alpha);
        } else {
          for (let k = 0; k < size; k++) {
            const dl = dLevel[k]!;
            const db = dGrowth[k]!;
            const dq = fromLevel * dl + fromGrowth * db;
            dFit[k] = dq;
            dLevel[k] = (1 - alpha) * dq;
            dGrowth[k] = growthOfGrowth * db + growthOfLevel * dl - growthOfR * dq;
          }
        }
        dLevel[0]! += r;
        if (hasTrend) {
          dGrowth[0]! += r * perLevel * betaShare;
          dGrowth[iBeta]! += r * perLevel * alpha;
          if (iPhi >= 0) {
            const dGrown = trendMultiplies ? grown * Math.log(growth) : growth; // ∂(b^φ)/∂φ | ∂(φb)/∂φ
            const dq = trendMultiplies ? level * dGrown : dGrown;
            dFit[iPhi]! += fitOfQ * dq;
            dLevel[iPhi]! += (1 - alpha) * dq;
            dGrowth[iPhi]! += dGrown - growthOfR * dq;
            if (hasSeason) dSeason[base + iPhi]! -= seasonOfQ * dq;
          }
        }
        this.#accumulate(error, isRelative ? -y / (f * f) : -1, f);
      }

      const before = level;
      level = q + alpha * r;
      if (trendMultiplies) growth = grown + (beta * r) / before;
      else if (hasTrend) growth = grown + beta * r;
      if (hasSeason) {
        season[place] = s + gamma * seasonError;
        place = place + 1 === period ? 0 : place + 1;
      }
      if (visit !== undefined) visit(t, level, growth, season, place);
      sumSquares += error * error;
      if (isRelative) {
        product *= f;
        if (product > 1e100 || product < 1e-100) {
          sumLogs += Math.log(product);
          product = 1;
        }
      }
    }
    this.#level = level;
    this.#growth = growth;
    this.#sumSquares = sumSquares;
    if (!(sumSquares < Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY;
    return values.length * Math.log(Math.max(sumSquares, this.#floor)) + 2 * (sumLogs + Math.log(product));
  }

  /** Sets the start season and, if asked for, all derivatives. False if a multiplicative season isn't positive. */
  #start(x: Float64Array, derivatives: boolean): boolean {
    const { size, iSeason } = this;
    const period = this.#period;
    if (derivatives) {
      this.#dLevel.fill(0);
      this.#dSeason.fill(0);
      this.#dGrowth.fill(0);
      this.#crossed.fill(0);
      this.#weighted.fill(0);
      this.#logged.fill(0);
      this.#dLevel[this.iLevel] = 1;
      if (this.iGrowth >= 0) this.#dGrowth[this.iGrowth] = 1;
    }
    if (period === 0) return true;
    const isPositive = this.form.season === "M";
    if (this.#startSeason !== undefined) {
      this.#season.set(this.#startSeason);
      return !isPositive || this.#startSeason.every((s) => s > 1e-10);
    }
    let first = isPositive ? period : 0;
    let smallest = Number.POSITIVE_INFINITY;
    for (let k = 1; k < period; k++) {
      const s = x[iSeason + k - 1]!;
      this.#season[k] = s;
      first -= s;
      smallest = Math.min(smallest, s);
      if (derivatives) {
        this.#dSeason[k * size + iSeason + k - 1] = 1;
        this.#dSeason[iSeason + k - 1] = -1;
      }
    }
    this.#season[0] = first;
    return !isPositive || Math.min(smallest, first) > 1e-10;
  }

  #accumulate(error: number, errorOfFit: number, f: number): void {
    const { size } = this;
    const dFit = this.#dFit;
    const crossed = this.#crossed;
    const squared = errorOfFit * errorOfFit;
    const weight = error * errorOfFit;
    const perFit = 1 / f;
    for (let i = 0; i < size; i++) {
      const di = dFit[i]!;
      this.#weighted[i]! += weight * di;
      this.#logged[i]! += perFit * di;
      const scaled = squared * di;
      const row = i * size;
      for (let j = 0; j <= i; j++) crossed[row + j]! += scaled * dFit[j]!;
    }
  }
}
