import { type Combination, fitCombination, forecastAll, minimumLength } from "./combination.ts";
import { boundedDifference, meanAbsoluteError, meanSquaredError, seasonalScale, symmetricMape, weightedQuantileLoss } from "./metrics.ts";
import { fillMissing, type MissingRule } from "./missing.ts";
import type { Regressors } from "./regressors.ts";
import type { FitTask, FittedForecaster, Forecast, History, TimeGrid } from "./types.ts";

/*
 * Rolling-origin evaluation: forecasts from several origins inside a series, each made from the values before its origin and scored on
 * the horizon after it. A model is fitted at the first origin and from there on only updated with the values that passed (or fitted
 * again at every n-th origin, with `refit`); filling, scaling and fitting never see a value after the origin.
 */

/** The part of a series that a backtest needs. */
export interface BacktestSeries {
  /** [N]; NaN is missing, the last value is not. */
  readonly values: Float64Array;
  readonly seasonalPeriod: number;
  readonly time?: TimeGrid;
  readonly regressors?: Regressors;
}

export interface BacktestPlan {
  readonly horizon: number;
  /** Origins of each series, ascending: forecasts from origin o are of the values at o, o + 1 … o + horizon - 1. */
  readonly origins: readonly (readonly number[])[];
  /** Fit again at every n-th origin; 0 never: the model of the first origin is only updated. */
  readonly refit: number;
  readonly missing: MissingRule;
}

/** Scores of one model on one series: means over its windows and steps. NaN where the series says nothing (see metrics.ts). */
export interface SeriesScore {
  readonly windows: number;
  readonly mse: number;
  readonly mae: number;
  readonly mase: number;
  readonly smape: number;
  /** Weighted quantile loss over the deciles, where the model has quantiles of its own. */
  readonly wql: number;
  /** The same of the conformal intervals that earlier windows give, over the windows that have at least five before them; absent without any. */
  readonly conformalWql?: number;
}

/** Deciles. */
export const deciles: readonly number[] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/**
 * Origins for a series of `length`: up to `windows` of them, `stride` apart, the last one a horizon before the end. The first half of
 * the series, or two seasons of it where that is more, is left for fitting; a series too short for that gives up the second season,
 * one still too short has none.
 */
export function planOrigins(
  length: number,
  horizon: number,
  seasonalPeriod: number,
  options: { windows?: number; stride?: number } = {},
): readonly number[] {
  const stride = options.stride ?? Math.max(1, Math.ceil(horizon / 4));
  const last = length - horizon;
  const wanted = [Math.max(Math.ceil(length / 2), 2 * seasonalPeriod + 1), seasonalPeriod + 2, 4].map((least) => Math.max(least, 1));
  const least = wanted.find((minimum) => minimum <= last);
  if (least === undefined) return [];
  const count = Math.min(options.windows ?? 20, Math.floor((last - least) / stride) + 1);
  return Array.from({ length: count }, (_, index) => last - (count - 1 - index) * stride);
}

/**
 * The forecasts of one model from every origin of every series; undefined for a series without origins or too short for the model.
 *
 * @param quantiles  asked of models that have them
 * @param hooks      of the fits
 */
export async function rollingForecasts(
  combination: Combination,
  series: readonly BacktestSeries[],
  plan: BacktestPlan,
  quantiles?: readonly number[],
  hooks: Omit<FitTask, "horizon"> = {},
): Promise<readonly (readonly Forecast[] | undefined)[]> {
  const { horizon, missing } = plan;
  const task = { ...hooks, horizon };
  const options = quantiles === undefined ? {} : { quantiles };
  const historyAt = (index: number, origin: number): History => {
    const { values, seasonalPeriod, time } = series[index]!;
    return { values: fillMissing(values.subarray(0, origin), missing), seasonalPeriod, ...(time && { time }) };
  };
  const eligible = series.flatMap(({ seasonalPeriod }, index) => {
    const first = plan.origins[index]![0];
    return first !== undefined && first >= minimumLength(combination, seasonalPeriod, horizon) ? [index] : [];
  });
  /** Fitted objects by index of the series. */
  const current = new Map<number, FittedForecaster>();
  const forecasts: Forecast[][] = series.map(() => []);
  for (let round = 0; ; round++) {
    const active = eligible.filter((index) => round < plan.origins[index]!.length);
    if (active.length === 0) break;
    if (round === 0 || (plan.refit > 0 && round % plan.refit === 0)) {
      const histories = active.map((index) => historyAt(index, plan.origins[index]![round]!));
      const fits = await fitCombination(
        combination,
        histories,
        task,
        active.map((index) => series[index]!.regressors),
      );
      for (const [position, fitted] of fits.entries()) current.set(active[position]!, fitted);
    } else {
      for (const index of active) {
        const [from, to] = [plan.origins[index]![round - 1]!, plan.origins[index]![round]!];
        current.set(index, advance(current.get(index)!, series[index]!.values, from, to, missing));
      }
    }
    const made = forecastAll(
      active.map((index) => current.get(index)!),
      horizon,
      options,
    );
    for (const [position, index] of active.entries()) forecasts[index]!.push(made[position]!);
  }
  return forecasts.map((windows) => (windows.length === 0 ? undefined : windows));
}

/** The model after the values from `from` up to `to`; holes are filled from the left, as a forecaster of that time would. */
function advance(fitted: FittedForecaster, values: Float64Array, from: number, to: number, missing: MissingRule): FittedForecaster {
  let before = Number.NaN;
  for (let i = from - 1; i >= 0 && Number.isNaN(before); i--) before = values[i]!;
  return fitted.update(fillMissing(values.subarray(from, to), missing, before));
}

/** The scores of one series, and its errors per window for intervals. */
export function scoreSeries(
  series: BacktestSeries,
  origins: readonly number[],
  forecasts: readonly Forecast[],
  quantiles: readonly number[],
): SeriesScore {
  const { values, seasonalPeriod } = series;
  const sums = { mse: 0, mae: 0, mase: 0, smape: 0, wql: 0 };
  let windows = 0;
  forecasts.forEach((forecast, index) => {
    const origin = origins[index]!;
    const actual = values.subarray(origin, origin + forecast.mean.length);
    const mae = meanAbsoluteError(actual, forecast.mean);
    if (Number.isNaN(mae)) return; // every actual value is missing
    windows++;
    sums.mae += mae;
    sums.mse += meanSquaredError(actual, forecast.mean);
    const scale = seasonalScale(values.subarray(0, origin), seasonalPeriod);
    sums.mase += scale > 0 ? mae / scale : Number.NaN;
    sums.smape += symmetricMape(actual, forecast.mean);
    sums.wql += forecast.quantiles === undefined ? Number.NaN : weightedQuantileLoss(actual, forecast.quantiles, quantiles);
  });
  const mean = (sum: number) => (windows === 0 ? Number.NaN : sum / windows);
  return { windows, mse: mean(sums.mse), mae: mean(sums.mae), mase: mean(sums.mase), smape: mean(sums.smape), wql: mean(sums.wql) };
}

/** actual - forecast of every window, [H] each, NaN where the actual value is missing. */
export function forecastErrors(
  series: BacktestSeries,
  origins: readonly number[],
  forecasts: readonly Forecast[],
): readonly Float64Array[] {
  return forecasts.map(({ mean }, index) => mean.map((value, step) => boundedDifference(series.values[origins[index]! + step]!, value)));
}
