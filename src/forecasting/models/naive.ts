import type { Forecaster, History, ParameterSpec, ParameterValues } from "../types.ts";
import { checkHistory, fitEach, fittedModel, gaussian, loadFitted, type Method, type Prediction } from "./fitted-model.ts";
import { latest } from "./latest.ts";
import { divided, magnitudeOf, saturated } from "./magnitude.ts";

/*
 * The four forecasts that every model is measured against. Their only parameter is the standard deviation of the one-step
 * (one-season) errors, which gives normal intervals; a history without such errors has none.
 */

const source = {
  title: "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 5.2 and 5.5",
  url: "https://otexts.com/fpp3/",
};

/** Root of the sum of squares of `errors` over `freedom`, or undefined where that is not positive. Differences beyond the range of a double count as its end. */
function deviation(errors: Float64Array, freedom: number): number | undefined {
  if (freedom < 1) return undefined;
  const scale = magnitudeOf(errors.map(saturated));
  const sum = divided(errors.map(saturated), scale).reduce((total, error) => total + error * error, 0);
  return saturated(scale * Math.sqrt(sum / freedom));
}

function withDeviation(mean: Float64Array, sigma: number | undefined, factor: (step: number) => number): Prediction {
  return sigma === undefined
    ? { mean }
    : gaussian(
        mean,
        mean.map((_, index) => sigma * Math.sqrt(factor(index + 1))),
      );
}

const lastValueMethod = {
  name: "naive",
  version: 1,
  parameters: { sigma: "number?" },
  state: { last: "number" },
  describe: () => "last value",
  begin: (_, history) => ({ last: history.values.at(-1)! }),
  advance: (_p, _s, values) => ({ last: values.at(-1)! }),
  predict: ({ sigma }, { last }, horizon) => withDeviation(new Float64Array(horizon).fill(last), sigma, (step) => step),
} satisfies Method<{ sigma: "number?" }, { last: "number" }>;

/** Every step is the last value. sd(h) = σ √h. */
export const naive: Forecaster = {
  name: "naive",
  summary: "the last value, for every step",
  source,
  parameters: {},
  shared: false,
  minimumLength: () => 1,
  fit: fitEach(
    "naive",
    () => 1,
    (history) => {
      const { values } = history;
      const errors = values.subarray(1).map((value, index) => value - values[index]!);
      const parameters = { sigma: deviation(errors, errors.length) };
      return fittedModel(lastValueMethod, parameters, lastValueMethod.begin(parameters, history));
    },
  ),
  load: (saved) => loadFitted(lastValueMethod, saved),
};

const seasonalNaiveMethod = {
  name: "seasonal-naive",
  version: 1,
  parameters: { period: "integer", sigma: "number?" },
  state: { season: "numbers" },
  describe: ({ period }) => `the value ${period === 1 ? "1 step" : `${period} steps`} before`,
  check({ period }, { season }) {
    if (season.length !== period) throw new RangeError(`the season has ${season.length} values, expected ${period}`);
  },
  begin({ period }, history) {
    checkHistory("seasonal-naive", history, period);
    return { season: history.values.slice(-period) };
  },
  advance({ period }, { season }, values) {
    const longer = new Float64Array(period + values.length);
    longer.set(season);
    longer.set(values, period);
    return { season: longer.slice(-period) };
  },
  predict: ({ period, sigma }, { season }, horizon) =>
    withDeviation(
      Float64Array.from({ length: horizon }, (_, index) => season[index % period]!),
      sigma,
      (step) => Math.ceil(step / period),
    ),
} satisfies Method<{ period: "integer"; sigma: "number?" }, { season: "numbers" }>;

/** Every step is the value of the same season in the last cycle. sd(h) = σ √⌈h / m⌉. */
export const seasonalNaive: Forecaster = {
  name: "seasonal-naive",
  summary: "the value of the same season in the last cycle",
  source,
  parameters: {},
  shared: false,
  minimumLength: (seasonalPeriod) => seasonalPeriod,
  fit: fitEach(
    "seasonal-naive",
    (seasonalPeriod) => seasonalPeriod,
    (history) => {
      const { values, seasonalPeriod: period } = history;
      const errors = values.subarray(period).map((value, index) => value - values[index]!);
      const parameters = { period, sigma: deviation(errors, errors.length) };
      return fittedModel(seasonalNaiveMethod, parameters, seasonalNaiveMethod.begin(parameters, history));
    },
  ),
  load: (saved) => loadFitted(seasonalNaiveMethod, saved),
};

const driftMethod = {
  name: "drift",
  version: 1,
  parameters: { sigma: "number?" },
  state: { first: "number", last: "number", count: "integer" },
  describe: () => "last value with drift",
  check(_, { count }) {
    if (count < 2) throw new RangeError(`count is ${count}, expected >= 2`);
  },
  begin(_, history) {
    checkHistory("drift", history, 2);
    return { first: history.values[0]!, last: history.values.at(-1)!, count: history.values.length };
  },
  advance: (_, { first, count }, values) => ({ first, last: values.at(-1)!, count: count + values.length }),
  predict({ sigma }, { first, last, count }, horizon) {
    const slope = slopeOf(first, last, count);
    const mean = Float64Array.from({ length: horizon }, (_, index) => last + slope * (index + 1));
    return withDeviation(mean, sigma, (step) => step * (1 + step / (count - 1)));
  },
} satisfies Method<{ sigma: "number?" }, { first: "number"; last: "number"; count: "integer" }>;

/** Divided first: the difference of two legal values may be no double. */
function slopeOf(first: number, last: number, count: number): number {
  return last / (count - 1) - first / (count - 1);
}

/** The line from the first value through the last one. sd(h) = σ √(h (1 + h / (N - 1))). */
export const drift: Forecaster = {
  name: "drift",
  summary: "the line from the first value through the last one",
  source,
  parameters: {},
  shared: false,
  minimumLength: () => 2,
  fit: fitEach(
    "drift",
    () => 2,
    (history) => {
      const { values } = history;
      const slope = slopeOf(values[0]!, values.at(-1)!, values.length);
      const errors = values.subarray(1).map((value, index) => value - values[index]! - slope);
      const parameters = { sigma: deviation(errors, errors.length - 1) };
      return fittedModel(driftMethod, parameters, driftMethod.begin(parameters, history));
    },
  ),
  load: (saved) => loadFitted(driftMethod, saved),
};

const windowMeanMethod = {
  name: "window-mean",
  version: 1,
  parameters: { window: "integer", sigma: "number?" },
  state: { recent: "numbers" },
  describe: ({ window }) => `mean of the last ${window} values`,
  check({ window }, { recent }) {
    if (recent.length === 0 || recent.length > window)
      throw new RangeError(`${recent.length} recent values do not fit a window of ${window}`);
  },
  begin: ({ window }, history) => ({ recent: history.values.slice(-window) }),
  advance: ({ window }, { recent }, values) => ({ recent: latest(recent, values, window) }),
  predict({ sigma }, { recent }, horizon) {
    return withDeviation(new Float64Array(horizon).fill(meanOf(recent)), sigma, () => 1 + 1 / recent.length);
  },
} satisfies Method<{ window: "integer"; sigma: "number?" }, { recent: "numbers" }>;

/** The mean, without overflow. */
function meanOf(values: Float64Array): number {
  const scale = magnitudeOf(values);
  return (divided(values, scale).reduce((sum, value) => sum + value, 0) / values.length) * scale;
}

const windowMeanParameters = {
  window: { kind: "integer", min: 1, summary: "how many of the last values are averaged; default all of the history" },
} as const satisfies Record<string, ParameterSpec>;

/** Every step is the mean of the last `window` values (of all there are, if fewer). sd(h) = σ √(1 + 1 / window). */
export const windowMean: Forecaster = {
  name: "window-mean",
  summary: "the mean of the last values",
  source,
  parameters: windowMeanParameters,
  shared: false,
  minimumLength: () => 1,
  fit(histories, task, parameters = {}) {
    return fitEach(
      "window-mean",
      () => 1,
      (history) => fitWindowMean(history, parameters),
    )(histories, task);
  },
  load: (saved) => loadFitted(windowMeanMethod, saved),
};

function fitWindowMean(history: History, { window: asked }: ParameterValues) {
  const window = typeof asked === "number" ? asked : history.values.length;
  const recent = history.values.slice(-window);
  const mean = meanOf(recent);
  const parameters = {
    window,
    sigma: deviation(
      recent.map((value) => value - mean),
      recent.length - 1,
    ),
  };
  return fittedModel(windowMeanMethod, parameters, windowMeanMethod.begin(parameters, history));
}
