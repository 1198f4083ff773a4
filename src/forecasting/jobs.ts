import { type BacktestPlan, type BacktestSeries, forecastErrors, rollingForecasts } from "./backtest.ts";
import { type ModelScores, scoreCombination } from "./choose.ts";
import { type Combination, fitCombination } from "./combination.ts";
import { type Calibration, calibrate, halfWidths, minimumWindows } from "./conformal.ts";
import { bounded, seasonalScale } from "./metrics.ts";
import type { Regressors } from "./regression.ts";
import type { FitTask, History, SavedForecaster } from "./types.ts";

/** Work on some of the series, as plain data, so that a worker can do it. Results are in the order of the series. */
export type Job =
  | { readonly kind: "score"; readonly combination: Combination; readonly series: readonly BacktestSeries[]; readonly plan: BacktestPlan }
  | {
      readonly kind: "calibrate";
      readonly combination: Combination;
      readonly series: readonly BacktestSeries[];
      readonly plan: BacktestPlan;
      readonly levels: readonly number[];
    }
  | {
      readonly kind: "fit";
      readonly combination: Combination;
      readonly histories: readonly History[];
      readonly regressors: readonly (Regressors | undefined)[];
      readonly horizon: number;
    };

export interface JobResult {
  score: ModelScores;
  calibrate: readonly SeriesCalibration[];
  fit: readonly SavedForecaster[];
}

/** What the backtest errors of one series give for intervals. */
export interface SeriesCalibration {
  /** Undefined where the series has fewer than `minimumWindows` windows. */
  readonly calibration?: Calibration;
  /** Errors over the series' scale, for series with too few windows of their own; at most `minimumWindows` windows, so that no series speaks for all. */
  readonly scaled: readonly Float64Array[];
  /** For each level [H] hits; and [H] scored values, the same for all levels. See `laterCoverage`. */
  readonly hits: readonly Float64Array[];
  readonly counts: Float64Array;
}

/** What a job's fits may use of the caller: not for workers, which plain data alone reaches. */
export type JobHooks = Omit<FitTask, "horizon">;

export async function runJob<K extends Job["kind"]>(job: Extract<Job, { kind: K }>, hooks?: JobHooks): Promise<JobResult[K]>;
export async function runJob(job: Job, hooks: JobHooks = {}): Promise<JobResult[Job["kind"]]> {
  switch (job.kind) {
    case "score":
      return await scoreCombination(job.combination, job.series, job.plan, hooks);
    case "calibrate":
      return await calibrateSeries(job.combination, job.series, job.plan, job.levels, hooks);
    case "fit": {
      const fitted = await fitCombination(job.combination, job.histories, { ...hooks, horizon: job.horizon }, job.regressors);
      return fitted.map((one) => one.toJSON());
    }
    default:
      return job satisfies never;
  }
}

async function calibrateSeries(
  combination: Combination,
  series: readonly BacktestSeries[],
  plan: BacktestPlan,
  levels: readonly number[],
  hooks: JobHooks,
): Promise<readonly SeriesCalibration[]> {
  const forecasts = await rollingForecasts(combination, series, plan, undefined, hooks);
  return forecasts.map((windows, index): SeriesCalibration => {
    const origins = plan.origins[index]!;
    const errors = windows === undefined ? [] : forecastErrors(series[index]!, origins, windows);
    const calibration = errors.length >= minimumWindows ? calibrate(errors) : undefined;
    const scale =
      origins.length === 0 ? Number.NaN : seasonalScale(series[index]!.values.subarray(0, origins[0]), series[index]!.seasonalPeriod);
    const scaled = scale > 0 ? errors.slice(-minimumWindows).map((window) => window.map((error) => bounded(error / scale))) : [];
    return { ...(calibration && { calibration }), scaled, ...laterCoverage(errors, origins, plan.horizon, levels) };
  });
}

/**
 * Coverage as a user would have met it: intervals of a window are made from the windows that were over when it began (at least
 * `minimumWindows`), and counted on that window.
 */
function laterCoverage(
  errors: readonly Float64Array[],
  origins: readonly number[],
  horizon: number,
  levels: readonly number[],
): { hits: readonly Float64Array[]; counts: Float64Array } {
  const hits = levels.map(() => new Float64Array(horizon));
  const counts = new Float64Array(horizon);
  errors.forEach((window, index) => {
    const before = errors.filter((_, earlier) => origins[earlier]! + horizon <= origins[index]!);
    const calibration = before.length >= minimumWindows ? calibrate(before) : undefined;
    if (calibration === undefined) return;
    const widths = levels.map((level) => halfWidths(calibration, level, horizon));
    for (let step = 0; step < horizon; step++) {
      if (Number.isNaN(window[step])) continue;
      counts[step]!++;
      widths.forEach((width, position) => {
        if (Math.abs(window[step]!) <= width[step]!) hits[position]![step]!++;
      });
    }
  });
  return { hits, counts };
}
