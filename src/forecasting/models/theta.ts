import { OptionError } from "../../errors.ts";
import type { FittedForecaster, Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { criteria } from "./criteria.ts";
import { checkHistory, fitEach, fittedModel, gaussian, loadFitted, type Method } from "./fitted-model.ts";
import { divided, magnitudeOf, saturated } from "./magnitude.ts";
import { minimizeScalar } from "./minimize-scalar.ts";
import type { Fields } from "./saved-state.ts";
import { seasonalIndices } from "./seasonal-decomposition.ts";
import {
  advanceTheta,
  numUncounted,
  runTheta,
  type ThetaModel,
  ThetaProfile,
  type ThetaState,
  thetaForecasts,
  thetaModels,
  thetaVariances,
} from "./theta-recursion.ts";

const parameterSchema = { variant: "text", season: "text", period: "integer", alpha: "number", theta: "number", sigma: "number?" } as const;
const stateSchema = {
  level: "number",
  mean: "number",
  intercept: "number",
  slope: "number",
  count: "integer",
  /** [period], the next step's first; empty without a season */
  indices: "numbers",
} as const;
type ThetaParameters = Fields<typeof parameterSchema>;
type ThetaEnd = Fields<typeof stateSchema>;

const seasons = ["none", "additive", "multiplicative"] as const;
type Season = (typeof seasons)[number];

/** Differences in AICc that rounding makes. */
const negligible = 1e-6;
/** With fewer errors than this the start level is the first value: it can't be estimated along with α and θ. */
const fewErrors = 9;
const shortest = numUncounted + 1;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "theta",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: ({ variant, season }) => `Theta(${variant}${season === "none" ? "" : `, ${season} season`})`,
  check({ variant, season, period, alpha, theta }, { count, indices }) {
    if (!thetaModels.includes(variant as ThetaModel)) throw new RangeError(`unknown variant ${variant}`);
    if (!seasons.includes(season as Season)) throw new RangeError(`unknown season ${season}`);
    if (indices.length !== (season === "none" ? 0 : period)) throw new RangeError(`${indices.length} seasonal indices`);
    if (!(alpha > 0 && alpha < 1 && theta >= 1 && count >= 1)) throw new RangeError("alpha, theta or count is out of range");
  },
  /** α, θ and the kind of season stay; seasonal indices, line and start level are estimated on the history. */
  begin(parameters, history) {
    const season = parameters.season as Season;
    checkHistory("theta", history, season === "none" ? shortest : Math.max(shortest, 2 * parameters.period));
    checkPositive(season, history.values);
    const scale = magnitudeOf(history.values);
    const { adjusted, indices } = deseasonalized(divided(history.values, scale), parameters.period, season);
    const model = parameters.variant as ThetaModel;
    const weight = 1 - 1 / parameters.theta;
    const held = { weight, startLevel: startLevelFor(adjusted) };
    const { startLevel } = new ThetaProfile(model, adjusted, held).at(parameters.alpha);
    return scaledEnd(
      runTheta(model, adjusted, parameters.alpha, weight, startLevel, new Float64Array(adjusted.length)),
      indices,
      season,
      scale,
    );
  },
  advance({ variant, season, alpha, theta }, state, values) {
    const scale = Math.max(magnitudeOf(values), magnitudeOf(Float64Array.of(state.level, state.mean)));
    const start = loweredEnd(state, season as Season, scale);
    const adjusted = divided(values, scale).map((value, t) => withoutSeason(value, start.indices, t, season as Season));
    const model = variant as ThetaModel;
    const end = advanceTheta(model, alpha, 1 - 1 / theta, start, adjusted, new Float64Array(values.length));
    return scaledEnd(end, rotated(start.indices, values.length), season as Season, scale);
  },
  predict({ variant, season, alpha, theta, sigma }, state, horizon) {
    const scale = magnitudeOf(Float64Array.of(state.level, state.mean, state.intercept));
    const start = loweredEnd(state, season as Season, scale);
    const model = variant as ThetaModel;
    const weight = 1 - 1 / theta;
    const raise = (value: number, h: number) => saturated(withSeason(value, start.indices, h, season as Season) * scale);
    const mean = thetaForecasts(model, alpha, weight, start, horizon);
    if (sigma === undefined) return { mean: mean.map(raise) };
    const variances = thetaVariances(model, alpha, weight, start.count, horizon);
    const normal = gaussian(
      mean,
      variances.map((variance) => (sigma / scale) * Math.sqrt(variance)),
    );
    return { mean: mean.map(raise), quantile: (probability) => normal.quantile!(probability).map(raise) };
  },
};

function scaledEnd(end: ThetaState, indices: Float64Array, season: Season, scale: number): ThetaEnd {
  return {
    level: saturated(end.level * scale),
    mean: saturated(end.mean * scale),
    intercept: saturated(end.intercept * scale),
    slope: saturated(end.slope * scale),
    count: end.count,
    indices: season === "additive" ? indices.map((index) => saturated(index * scale)) : indices,
  };
}

function loweredEnd(end: ThetaEnd, season: Season, scale: number): ThetaEnd {
  return {
    level: end.level / scale,
    mean: end.mean / scale,
    intercept: end.intercept / scale,
    slope: end.slope / scale,
    count: end.count,
    indices: season === "additive" ? divided(end.indices, scale) : end.indices,
  };
}

function withSeason(value: number, indices: Float64Array, t: number, season: Season): number {
  if (season === "none") return value;
  const index = indices[t % indices.length]!;
  return season === "additive" ? value + index : value * index;
}

function withoutSeason(value: number, indices: Float64Array, t: number, season: Season): number {
  if (season === "none") return value;
  const index = indices[t % indices.length]!;
  return season === "additive" ? value - index : value / index;
}

function rotated(indices: Float64Array, steps: number): Float64Array {
  return indices.map((_, k) => indices[(k + steps) % indices.length]!);
}

/** @returns `indices` as they continue after the history */
function deseasonalized(values: Float64Array, period: number, season: Season): { adjusted: Float64Array; indices: Float64Array } {
  if (season === "none") return { adjusted: values, indices: new Float64Array(0) };
  const indices = seasonalIndices(values, period, season);
  return { adjusted: values.map((value, t) => withoutSeason(value, indices, t, season)), indices: rotated(indices, values.length) };
}

function startLevelFor(values: Float64Array): number | undefined {
  return values.length - numUncounted < fewErrors ? values[0] : undefined;
}

function checkPositive(season: Season, values: Float64Array): void {
  if (season !== "multiplicative") return;
  const index = values.findIndex((value) => !(value > 0));
  if (index >= 0)
    throw new RangeError(`theta: a multiplicative season needs positive values, the one at index ${index} is ${values[index]}`);
}

/**
 * Whether the autocorrelation at the season's lag differs from 0 at the 90 % level, by Bartlett's standard error.
 *
 * @see Assimakopoulos & Nikolopoulos 2000, The theta model, appendix, https://doi.org/10.1016/S0169-2070(00)00066-2
 */
export function isSeasonal(values: Float64Array, period: number): boolean {
  if (period < 2 || values.length < 2 * period) return false;
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  let variance = 0;
  for (const value of values) variance += (value - mean) ** 2;
  // a constant whose mean is off by rounding is still a constant
  if (!(variance > n * (1e-14 * mean) ** 2)) return false;
  let sumSquares = 0;
  let last = 0;
  for (let lag = 1; lag <= period; lag++) {
    let sum = 0;
    for (let t = lag; t < n; t++) sum += (values[t]! - mean) * (values[t - lag]! - mean);
    last = sum / variance;
    if (lag < period) sumSquares += last * last;
  }
  const z90 = 1.6448536269514722; // the normal quantile of 0.95
  return Math.abs(last) > z90 * Math.sqrt((1 + 2 * sumSquares) / n);
}

const parameterSpecs = {
  variant: {
    kind: "choice",
    values: ["auto", "standard", "STM", "OTM", "DSTM", "DOTM"],
    default: "auto",
    summary: "auto takes the least AICc of the four; standard is STM: theta = 2, line fitted once",
  },
  season: {
    kind: "choice",
    values: ["auto", ...seasons],
    default: "auto",
    summary: "auto tests for one and divides by it where all values are positive",
  },
} as const satisfies Record<string, ParameterSpec>;

const source = {
  title:
    "Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler 2016, Models for optimising the theta method and their relationship to state space models",
  url: "https://doi.org/10.1016/j.ijforecast.2016.02.005",
};

/**
 * The theta method: standard and optimized, with a fixed and with a moving trend line. A significant season is removed first by
 * classical decomposition. α and θ minimize the sum of squared one-step errors from the fourth on. The variant is the one with the
 * smallest AICc of normal errors, whose parameters are α, ℓ₀, the variance and, where it is estimated, θ; the simplest of equals.
 */
export const theta: Forecaster = {
  name: "theta",
  summary: "theta method, the best of four variants",
  source,
  parameters: parameterSpecs,
  shared: false,
  minimumLength: () => shortest,
  fit(histories, task, parameters = {}) {
    return fitEach("theta", theta.minimumLength, (history) => fitOne(history, parameters))(histories, task);
  },
  load: (saved) => loadFitted(method, saved),
};

function fitOne(history: History, { variant = "auto", season: asked = "auto" }: ParameterValues): FittedForecaster {
  const { values, seasonalPeriod: period } = history;
  const scale = magnitudeOf(values);
  const scaled = divided(values, scale);
  const season = asked === "auto" ? chooseSeason(scaled, period) : (asked as Season);
  if (season !== "none" && (period < 2 || values.length < 2 * period)) {
    throw new OptionError(
      "season",
      `${season} needs two seasons of at least 2 steps, the history has ${values.length} values of period ${period}`,
    );
  }
  checkPositive(season, values);
  const { adjusted, indices } = deseasonalized(scaled, period, season);
  const models = variant === "auto" ? thetaModels : [variant === "standard" ? "STM" : (variant as ThetaModel)];
  const best = models.map((model) => fitVariant(model, adjusted)).reduce((a, b) => (b.aicc < a.aicc - negligible ? b : a));
  const { model, alpha, weight, startLevel } = best;
  const fitted = new Float64Array(values.length);
  const end = runTheta(model, adjusted, alpha, weight, startLevel, fitted);
  const sigma = deviationOf(adjusted, fitted);
  const parameters: ThetaParameters = {
    variant: model,
    season,
    period,
    alpha,
    theta: 1 / (1 - weight),
    sigma: sigma === undefined ? undefined : saturated(sigma * scale),
  };
  const before = rotated(indices, -values.length + Math.ceil(values.length / Math.max(1, indices.length)) * indices.length);
  return fittedModel(method, parameters, scaledEnd(end, indices, season, scale), {
    fitted: fitted.map((value, t) => saturated(withSeason(value, before, t, season) * scale)),
  });
}

function fitVariant(model: ThetaModel, values: Float64Array) {
  const isOptimized = model === "OTM" || model === "DOTM";
  const heldLevel = startLevelFor(values);
  const profile = new ThetaProfile(model, values, { startLevel: heldLevel, weight: isOptimized ? undefined : 0.5 });
  const { x: alpha } = minimizeScalar((x) => profile.at(x).sumSquares, 0.1, 0.99, { numPoints: 19, tolerance: 1e-5 });
  const found = profile.at(alpha);
  const numCounted = values.length - numUncounted;
  const numParameters = 2 + (heldLevel === undefined ? 1 : 0) + (isOptimized ? 1 : 0); // α and the variance, ℓ₀, θ
  // errors of the last bits say nothing: below this all fits are equally perfect
  const deviance = numCounted * Math.log(Math.max(found.sumSquares, numCounted * 1e-24));
  return { model, alpha, ...found, aicc: criteria(deviance, numParameters, numCounted).aicc };
}

/** Standard deviation of the counted errors; undefined for fewer than two. */
function deviationOf(values: Float64Array, fitted: Float64Array): number | undefined {
  const errors = values.subarray(numUncounted).map((value, t) => value - fitted[numUncounted + t]!);
  if (errors.length < 2) return undefined;
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  return Math.sqrt(errors.reduce((sum, error) => sum + (error - mean) ** 2, 0) / (errors.length - 1));
}

/** Multiplicative for positive values whose indices stay away from 0, as long as there is a season at all. */
function chooseSeason(values: Float64Array, period: number): Season {
  if (!isSeasonal(values, period)) return "none";
  if (!values.every((value) => value > 0)) return "additive";
  return seasonalIndices(values, period, "multiplicative").every((index) => index >= 0.01) ? "multiplicative" : "additive";
}
