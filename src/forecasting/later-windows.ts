import { type BacktestSeries, deciles } from "./backtest.ts";
import { type Calibration, calibrate, halfWidths, minimumWindows } from "./conformal.ts";
import { bounded, finiteMean, seasonalScale, weightedQuantileLoss } from "./metrics.ts";
import type { Forecast } from "./types.ts";

/*
 * Intervals as a user would have met them during the backtest: those of a window are made from the windows that were over when it began
 * (at least `minimumWindows`), and judged on that window, a later one.
 */

/** What the backtest errors of one series give for intervals. */
export interface SeriesCalibration {
  /** Undefined where the series has fewer than `minimumWindows` windows. */
  readonly calibration?: Calibration;
  /** Errors over the series' scale, for series with too few windows of their own; at most `minimumWindows` windows, so that no series speaks for all. */
  readonly scaled: readonly Float64Array[];
  /** For each level [H] hits; and [H] judged values, the same for all levels. */
  readonly hits: readonly Float64Array[];
  readonly counts: Float64Array;
}

/** A window, as an index of the errors, with the calibration of those that were over when it began. */
export interface LaterWindow {
  readonly index: number;
  readonly calibration: Calibration;
}

/**
 * The windows that have enough before them.
 *
 * @param errors  one [H] per origin, actual - forecast; NaN where the actual value is missing
 */
export function laterWindows(errors: readonly Float64Array[], origins: readonly number[], horizon: number): readonly LaterWindow[] {
  return errors.flatMap((_, index) => {
    const before = errors.filter((_, earlier) => origins[earlier]! + horizon <= origins[index]!);
    const calibration = before.length >= minimumWindows ? calibrate(before) : undefined;
    return calibration === undefined ? [] : [{ index, calibration }];
  });
}

/** What is asked of intervals. */
export interface IntervalOptions {
  /** Percent. */
  readonly levels: readonly number[];
  /** Whether the level that is taken moves with the misses of earlier windows. */
  readonly isAdaptive: boolean;
}

export function calibrateSeries(
  { values, seasonalPeriod }: BacktestSeries,
  origins: readonly number[],
  errors: readonly Float64Array[],
  later: readonly LaterWindow[],
  horizon: number,
  options: IntervalOptions,
): SeriesCalibration {
  const { taken, ...coverage } = laterCoverage(origins, errors, later, horizon, options);
  const calibration = errors.length >= minimumWindows ? calibrate(errors) : undefined;
  const scale = origins.length === 0 ? Number.NaN : seasonalScale(values.subarray(0, origins[0]), seasonalPeriod);
  const scaled = scale > 0 ? errors.slice(-minimumWindows).map((window) => window.map((error) => bounded(error / scale))) : [];
  const moved = options.isAdaptive ? { levels: Object.fromEntries(options.levels.map((level, at) => [level, taken[at]!])) } : {};
  return { ...(calibration && { calibration: { ...calibration, ...moved } }), scaled, ...coverage };
}

/** How far a window that is missed whole moves the level that is taken: a tenth of what was promised too much. */
const adaptiveRate = 0.1;

/**
 * Hits of the intervals, and the levels that are taken after the last window. An adaptive level starts as the one asked and, whenever a window is over, moves by
 * `adaptiveRate` times the difference of the level asked and the share of its steps that were met; windows still open when another begins say nothing to it.
 *
 * @see Gibbs & Candès 2021, Adaptive conformal inference under distribution shift, https://arxiv.org/abs/2106.00170 (equation 2, a window for a step)
 */
function laterCoverage(
  origins: readonly number[],
  errors: readonly Float64Array[],
  later: readonly LaterWindow[],
  horizon: number,
  { levels, isAdaptive }: IntervalOptions,
): Pick<SeriesCalibration, "hits" | "counts"> & { readonly taken: readonly number[] } {
  const hits = levels.map(() => new Float64Array(horizon));
  const counts = new Float64Array(horizon);
  const taken = [...levels];
  const open: { readonly end: number; readonly shares: readonly number[] }[] = [];
  const learnUntil = (origin: number) => {
    while (isAdaptive && open.length > 0 && open[0]!.end <= origin) {
      const { shares } = open.shift()!;
      for (const [at, level] of levels.entries())
        taken[at] = Math.max(0, Math.min(100, taken[at]! + adaptiveRate * (level - 100 * shares[at]!)));
    }
  };
  for (const { index, calibration } of later) {
    learnUntil(origins[index]!);
    const window = errors[index]!;
    const widths = taken.map((level) => halfWidths(calibration, level, horizon));
    const steps = Array.from(window.keys()).filter((step) => !Number.isNaN(window[step]));
    for (const step of steps) counts[step]!++;
    const shares = widths.map((width, at) => {
      const met = steps.filter((step) => Math.abs(window[step]!) <= width[step]!);
      for (const step of met) hits[at]![step]!++;
      return met.length / steps.length;
    });
    if (steps.length > 0) open.push({ end: origins[index]! + horizon, shares });
  }
  learnUntil(Number.POSITIVE_INFINITY);
  return { hits, counts, taken };
}

/** Levels whose bounds are the deciles: 80 % lies between the first and the ninth. */
const decileLevels = [80, 60, 40, 20];

/** Weighted quantile loss of the deciles that the calibrations give, mean over the later windows; undefined without any. */
export function laterLoss(
  { values }: BacktestSeries,
  origins: readonly number[],
  forecasts: readonly Forecast[],
  later: readonly LaterWindow[],
): number | undefined {
  if (later.length === 0) return undefined;
  const losses = later.map(({ index, calibration }) => {
    const { mean } = forecasts[index]!;
    const widths = decileLevels.map((level) => halfWidths(calibration, level, mean.length));
    const shifted = (width: Float64Array, sign: 1 | -1) => mean.map((value, step) => bounded(value + sign * width[step]!));
    const quantiles = [...widths.map((width) => shifted(width, -1)), mean, ...widths.map((width) => shifted(width, 1)).reverse()];
    const origin = origins[index]!;
    return weightedQuantileLoss(values.subarray(origin, origin + mean.length), quantiles, deciles);
  });
  return finiteMean(losses);
}
