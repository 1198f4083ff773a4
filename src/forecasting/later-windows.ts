import type { BacktestSeries } from "./backtest.ts";
import { type Calibration, calibrate, halfWidths, minimumWindows } from "./conformal.ts";
import { bounded, seasonalScale } from "./metrics.ts";

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

/**
 * @param errors  one [H] per origin, actual - forecast; NaN where the actual value is missing
 * @param levels  percent
 */
export function calibrateSeries(
  { values, seasonalPeriod }: BacktestSeries,
  origins: readonly number[],
  errors: readonly Float64Array[],
  horizon: number,
  levels: readonly number[],
): SeriesCalibration {
  const calibration = errors.length >= minimumWindows ? calibrate(errors) : undefined;
  const scale = origins.length === 0 ? Number.NaN : seasonalScale(values.subarray(0, origins[0]), seasonalPeriod);
  const scaled = scale > 0 ? errors.slice(-minimumWindows).map((window) => window.map((error) => bounded(error / scale))) : [];
  return { ...(calibration && { calibration }), scaled, ...laterCoverage(errors, origins, horizon, levels) };
}

/** The windows that have an earlier calibration, with it. */
function* laterWindows(
  errors: readonly Float64Array[],
  origins: readonly number[],
  horizon: number,
): Generator<{ readonly index: number; readonly calibration: Calibration }> {
  for (let index = 0; index < errors.length; index++) {
    const before = errors.filter((_, earlier) => origins[earlier]! + horizon <= origins[index]!);
    const calibration = before.length >= minimumWindows ? calibrate(before) : undefined;
    if (calibration !== undefined) yield { index, calibration };
  }
}

function laterCoverage(
  errors: readonly Float64Array[],
  origins: readonly number[],
  horizon: number,
  levels: readonly number[],
): Pick<SeriesCalibration, "hits" | "counts"> {
  const hits = levels.map(() => new Float64Array(horizon));
  const counts = new Float64Array(horizon);
  for (const { index, calibration } of laterWindows(errors, origins, horizon)) {
    const window = errors[index]!;
    const widths = levels.map((level) => halfWidths(calibration, level, horizon));
    for (let step = 0; step < horizon; step++) {
      if (Number.isNaN(window[step])) continue;
      counts[step]!++;
      widths.forEach((width, position) => {
        if (Math.abs(window[step]!) <= width[step]!) hits[position]![step]!++;
      });
    }
  }
  return { hits, counts };
}
