import {
  type BacktestPlan,
  type BacktestSeries,
  deciles,
  forecastErrors,
  rollingForecasts,
  type SeriesScore,
  scoreSeries,
} from "./backtest.ts";
import { type Combination, fitCombination } from "./combination.ts";
import { calibrateSeries, type IntervalOptions, laterLoss, laterWindows, type SeriesCalibration } from "./later-windows.ts";
import type { Regressors } from "./regressors.ts";
import type { FitTask, History, SavedForecaster } from "./types.ts";

/** Work on some of the series, as plain data, so that a worker can do it. Results are in the order of the series. */
export type Job =
  | {
      readonly kind: "score";
      readonly combination: Combination;
      readonly series: readonly BacktestSeries[];
      readonly plan: BacktestPlan;
      /** Where given, the errors of the windows are turned into intervals too. */
      readonly intervals?: IntervalOptions;
    }
  | {
      readonly kind: "fit";
      readonly combination: Combination;
      readonly histories: readonly History[];
      readonly regressors: readonly (Regressors | undefined)[];
      readonly horizon: number;
    };

/** What a backtest says of a model on one series. */
export interface ScoredSeries {
  /** Undefined where the series has no windows or is too short for the model. */
  readonly score?: SeriesScore;
  /** Where the job asks for them. */
  readonly intervals?: SeriesCalibration;
}

export interface JobResult {
  score: readonly ScoredSeries[];
  fit: readonly SavedForecaster[];
}

/** What a job's fits may use of the caller; of a worker's only progress comes back. */
export type JobHooks = Omit<FitTask, "horizon">;

export async function runJob<K extends Job["kind"]>(job: Extract<Job, { kind: K }>, hooks?: JobHooks): Promise<JobResult[K]>;
export async function runJob(job: Job, hooks: JobHooks = {}): Promise<JobResult[Job["kind"]]> {
  switch (job.kind) {
    case "score": {
      const { combination, series, plan, intervals } = job;
      const forecasts = await rollingForecasts(combination, series, plan, deciles, hooks);
      return series.map((one, index): ScoredSeries => {
        const windows = forecasts[index];
        const origins = plan.origins[index]!;
        if (windows === undefined)
          return intervals === undefined ? {} : { intervals: calibrateSeries(one, origins, [], [], plan.horizon, intervals) };
        const errors = forecastErrors(one, origins, windows);
        const later = laterWindows(errors, origins, plan.horizon);
        const conformalWql = laterLoss(one, origins, windows, later);
        return {
          score: { ...scoreSeries(one, origins, windows, deciles), ...(conformalWql !== undefined && { conformalWql }) },
          ...(intervals !== undefined && { intervals: calibrateSeries(one, origins, errors, later, plan.horizon, intervals) }),
        };
      });
    }
    case "fit": {
      const fitted = await fitCombination(job.combination, job.histories, { ...hooks, horizon: job.horizon }, job.regressors);
      return fitted.map((one) => one.toJSON());
    }
    default:
      return job satisfies never;
  }
}
