/**
 * What the parts of forecasting hand each other. Data comes in as `Series` (data/); a forecaster (models/) sees only `History`,
 * so that a model knows nothing about files, calendars and missing values; the backtest, the choice of a model and the
 * intervals are written with `Forecaster` and `FittedForecaster` alone.
 *
 * Letters: N length of a history, H horizon.
 */

import type { HubAccess } from "../models/index.ts";

/** A regular step of time. `businessday` is Monday to Friday; `step` is a series without times, numbered 0, 1, 2 … */
export interface Frequency {
  readonly unit: "step" | "millisecond" | "second" | "minute" | "hour" | "day" | "businessday" | "week" | "month" | "quarter" | "year";
  /** Units in a step, an integer >= 1: 15 with `minute` is quarter-hourly. */
  readonly count: number;
}

/** A regular grid of times; `timeAt` and `formatTime` (data/calendar.ts) turn its indices into dates and text. */
export interface TimeGrid {
  readonly frequency: Frequency;
  /**
   * Time of index 0. Milliseconds since 1970-01-01: of UTC where `clock` is "utc" or a zone; of the clock on the wall, read as if
   * it were UTC, where it is "local" (the file named no zone). For the unit `step` an index, usually 0.
   */
  readonly start: number;
  readonly clock: "local" | "utc" | { readonly zone: string };
}

/** One series on a regular grid. */
export interface Series {
  readonly id: string;
  /** [N]; NaN is a missing value, everything else is finite. */
  readonly values: Float64Array;
  readonly time: TimeGrid;
  /** Steps in the season, an integer >= 1; 1 means none. */
  readonly seasonalPeriod: number;
  /** Columns beside the target. */
  readonly covariates?: readonly Covariate[];
}

export interface Covariate {
  readonly name: string;
  /** [N], or [N + H] and more where it is known ahead; NaN is missing. */
  readonly values: Float64Array;
  readonly knownAhead: boolean;
  /** Of text: what the values 0, 1, 2 … stand for, in the order in which the table has them. */
  readonly categories?: readonly string[];
}

/** What a forecaster is given of a series: the part before the origin, without holes. */
export interface History {
  /** [N], N >= 1, all finite. Not changed by a forecaster, and not kept: it copies what it needs. */
  readonly values: Float64Array;
  /** Steps in the season, an integer >= 1; 1 means none. It may be longer than the history. */
  readonly seasonalPeriod: number;
  /** The grid whose index 0 is the first value, for models that read time stamps. */
  readonly time?: TimeGrid;
}

/** What the fitted objects will be used for. */
export interface FitTask {
  /** Steps that will be asked for, >= 1. A direct model fits this many outputs; all can be asked for more, and roll out. */
  readonly horizon: number;
  readonly signal?: AbortSignal;
  /** Folder for language models, trained heads and what a broken-off training left; default a temporary one, and only models named by path. */
  readonly home?: string;
  /** Whom to ask for models that have to be pulled; default the public hub, as nobody in particular. */
  readonly hub?: HubAccess;
  /** Of a training: steps, those it has, and how long they will take. */
  readonly onProgress?: (progress: FitProgress) => void;
  /** Lines a person would want to know: what a training will cost, before it starts. */
  readonly onNotice?: (notice: string) => void;
}

export interface FitProgress {
  readonly done: number;
  readonly total: number;
  readonly secondsLeft?: number;
}

/** What every method says of itself. */
export interface ForecastingMethod {
  /** As on the command line and in tables: "naive", "seasonal-naive", "ets". */
  readonly name: string;
  /** One line for help and reports. */
  readonly summary: string;
  /** Title and address of the paper or book that the code follows. */
  readonly source: { readonly title: string; readonly url: string };
  /** Options of `fit` by name. A value that is left out is chosen by the model (from the history) or takes `default`. */
  readonly parameters: Readonly<Record<string, ParameterSpec>>;
  /** True: parameters are fitted on all series together, so a caller must not divide the list. */
  readonly shared: boolean;
  /** Whether `auto` leaves it out, since a fit takes far longer than those of all others together, or since simple models are better; default false. */
  readonly isOnRequest?: boolean;
  /** Whether a backtest fits it at the first origin only, where it isn't told otherwise, since a fit takes minutes; default false. */
  readonly isFittedOnce?: boolean;
  /** The shortest history that `fit` takes. Callers ask before; a shorter one is a RangeError. */
  minimumLength(seasonalPeriod: number, horizon: number): number;
  /** The inverse of `toJSON`; throws FormatError for anything else. */
  load(saved: SavedForecaster): FittedForecaster;
}

/** A method: pure functions, no state. Listed by name in models/index.ts. */
export interface Forecaster extends ForecastingMethod {
  /**
   * Fits every series and returns one fitted object per series, in their order.
   * Any legal history gives finite forecasts: constant, huge (1e308) and tiny ones too.
   *
   * @param parameters  checked by `checkParameters` (parameters.ts), which callers run first
   * @throws RangeError for a history that is empty, not finite or shorter than `minimumLength`
   */
  fit(histories: readonly History[], task: FitTask, parameters?: ParameterValues): readonly FittedForecaster[];
  /**
   * `fit` in parts, of methods that may take longer than a second: yields how far it is, returns what `fit` returns. Between the parts the
   * caller lets the event loop run (`inTurns`), so that the work can be watched, and broken off by `return`.
   */
  fitInParts?(
    histories: readonly History[],
    task: FitTask,
    parameters?: ParameterValues,
  ): Generator<FitProgress, readonly FittedForecaster[]>;
}

/** A method that trains for minutes: the event loop runs on, so that it can be watched and broken off. */
export interface TrainedForecaster extends ForecastingMethod {
  /** As `Forecaster.fit`. Broken off by the task's signal it leaves a checkpoint in `home`, from which the same call goes on. */
  fit(histories: readonly History[], task: FitTask, parameters?: ParameterValues): Promise<readonly FittedForecaster[]>;
  /** What `forecast` of each gives, computed side by side. */
  forecastAll(fitted: readonly FittedForecaster[], horizon: number): readonly Forecast[];
}

export type ParameterValue = number | boolean | string;
export type ParameterValues = Readonly<Record<string, ParameterValue>>;

export type ParameterSpec = { readonly summary: string } & (
  | { readonly kind: "integer" | "number"; readonly min?: number; readonly max?: number; readonly default?: number }
  | { readonly kind: "boolean"; readonly default?: boolean }
  | { readonly kind: "choice"; readonly values: readonly string[]; readonly default?: string }
  | { readonly kind: "text"; readonly default?: string }
);

/** A model of one series: parameters and the state at the end of its history. Immutable. */
export interface FittedForecaster {
  /** Name of the forecaster that made it. */
  readonly model: string;
  /** What was fitted, for people: "ETS(A,Ad,M)", "AR(12) with constant". */
  readonly description: string;
  /** Parameters, given and estimated, for people and tests; `toJSON` is the complete state. */
  readonly parameters: Readonly<Record<string, ParameterValue | readonly number[]>>;
  /**
   * Fit of the training part, where the model has a likelihood: log-likelihood and information criteria as its docstring
   * defines them, one-step-ahead predictions [N] (NaN where there is none) of the history given to `fit`.
   */
  readonly training?: {
    readonly logLikelihood?: number;
    readonly aic?: number;
    readonly aicc?: number;
    readonly bic?: number;
    readonly fitted?: Float64Array;
  };
  /** Point forecasts of the steps 1 … horizon after the end of the history; `quantiles` only where the model has a distribution of its own. */
  forecast(horizon: number, options?: { readonly quantiles?: readonly number[] }): Forecast;
  /**
   * The same parameters after more observations; equals `apply` on the longer history where the model has a finite memory.
   *
   * @param covariates  of the new steps (index 0 is the first of them) and, where they are known ahead, of later ones; only a model with covariates looks at them
   */
  update(values: Float64Array, covariates?: readonly Covariate[]): FittedForecaster;
  /** The same parameters at the end of another history, which may be of another series. */
  apply(history: History): FittedForecaster;
  /** All that `load` needs, as plain JSON; numbers survive exactly. `training` is left out. */
  toJSON(): SavedForecaster;
}

export interface Forecast {
  /** [H], all finite. */
  readonly mean: Float64Array;
  /** One [H] per asked quantile, in the order asked, not crossing; absent where the model has none (conformal intervals take over). */
  readonly quantiles?: readonly Float64Array[];
}

export interface SavedForecaster {
  readonly model: string;
  /** Version of this model's state, raised when its meaning changes. */
  readonly version: number;
  readonly state: JsonObject;
}

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}
