import { availableParallelism } from "node:os";
import { OptionError } from "../errors.ts";
import type { HubAccess } from "../models/index.ts";
import { type BacktestPlan, type BacktestSeries, planOrigins } from "./backtest.ts";
import { choose, ensembleMembers, type ModelScore, type ModelScores, reference, scoreTable } from "./choose.ts";
import {
  type Combination,
  combinationName,
  forecasterOf,
  isCostly,
  isFittedOnce,
  isShared,
  isTrained,
  loadFitted,
  type ModelSpec,
  minimumLength,
} from "./combination.ts";
import { type Calibration, calibrate, minimumWindows } from "./conformal.ts";
import { type LoadedTable, type LoadOptions, loadTable, type TableSource, type Understood } from "./data/index.ts";
import { checkHorizon, checkLevels, type FittedSeries, FittedTable, type SeriesForecast } from "./fitted-table.ts";
import type { JobHooks, ScoredSeries } from "./jobs.ts";
import type { IntervalOptions, SeriesCalibration } from "./later-windows.ts";
import { bounded, seasonalScale } from "./metrics.ts";
import { fillMissing, type MissingRule } from "./missing.ts";
import { forecasters } from "./models/index.ts";
import { checkParameters } from "./parameters.ts";
import { canStartWorkers, createPool, type Pool } from "./pool.ts";
import { type Regressors, toRegressors } from "./regressors.ts";
import type { ForecastingMethod, ParameterValues, Series } from "./types.ts";

export interface BacktestOptions extends LoadOptions {
  /** Steps ahead, >= 1. */
  readonly horizon: number;
  /** "auto": every model is tried. A name, or several to choose among. Seasonal naive is always scored beside them. */
  readonly model?: string | readonly string[];
  /** Parameters of a single named model. */
  readonly parameters?: ParameterValues;
  /** Percent; default 80 and 95. */
  readonly levels?: readonly number[];
  /** Whether intervals widen after misses and narrow after hits in the backtest; default false. It wants many windows: raise `windows`. */
  readonly adaptive?: boolean;
  /** Origins per series at most, default 20, and steps between them, default a quarter of the horizon. */
  readonly windows?: number;
  readonly stride?: number;
  /**
   * Fit again at every n-th origin, default 5 (0 for models that train for minutes); in between a model is only updated with the values that
   * passed. 1 is what forecasts made now deserve and costs n fits, 0 never fits again.
   */
  readonly refit?: number;
  /** How holes of a history are filled before fitting; default "interpolate". */
  readonly missing?: MissingRule;
  /** Worker processes; default: the machine's cores where there are 64 series and more, otherwise none. */
  readonly workers?: number;
  /** Folder of language models by name, and of the heads trained over them. Without it a language model is a path, and its heads are not kept. */
  readonly home?: string;
  /** Whom to ask for language models that are not in `home` yet; default the public hub, as nobody in particular. */
  readonly hub?: HubAccess;
  readonly onProgress?: (progress: Progress) => void;
  /** Told what was understood of the table before anything is fitted; what it throws ends the work. */
  readonly onUnderstood?: (understood: Understood) => void;
  /** Lines a person would want to know: what a training will cost, before it starts. */
  readonly onNotice?: (notice: string) => void;
}

export interface Progress {
  readonly stage: "reading" | "backtest" | "intervals" | "fitting" | "training";
  /** Model at work, where there is one. */
  readonly model?: string;
  readonly done: number;
  /** Undefined while it isn't known (standard input). */
  readonly total?: number;
  /** Of a training. */
  readonly secondsLeft?: number;
}

/** How often an interval met the value, counted on the later windows of the backtest; parts of 1. */
export interface CoverageFact {
  readonly level: number;
  readonly pooled: number;
  readonly worstStep: { readonly step: number; readonly coverage: number };
  /** Mean over the tenth of the series that are covered least. */
  readonly worstTenthOfSeries: number;
  /** [H]; NaN at a step without a value. */
  readonly byStep: readonly number[];
  /** Of every series with windows enough. */
  readonly bySeries: readonly { readonly series: string; readonly coverage: number }[];
  readonly values: number;
}

export interface BacktestResult {
  readonly understood: Understood;
  readonly chosen: { readonly model: string; readonly because: string; readonly table: readonly ModelScore[] };
  /** Empty where no series has windows enough. */
  readonly coverage: readonly CoverageFact[];
  /** Things to know about these numbers, as sentences. */
  readonly notes: readonly string[];
}

export interface ForecastResult extends BacktestResult {
  readonly forecasts: readonly SeriesForecast[];
  /** The series as read, for pictures. */
  readonly series: readonly Series[];
  /** The fitted models: forecast again, update, save. */
  readonly fitted: FittedTable;
}

/** Reads a table, tries the models on its past and says which is best. */
export async function backtest(source: TableSource, options: BacktestOptions): Promise<BacktestResult> {
  checkOptions(options);
  const table = await read(source, options);
  await using pool = openPool(table, options);
  return (await evaluate(table, options, pool)).result;
}

/**
 * Reads a table, chooses a model by backtest, fits it to every series and forecasts.
 *
 * @example
 * const { forecasts } = await forecast("sales.csv", { horizon: 28 });
 * @throws FormatError for a table that can't be understood, OptionError for an option that is unknown or out of range
 */
export async function forecast(source: TableSource, options: BacktestOptions): Promise<ForecastResult> {
  checkOptions(options);
  const levels = options.levels ?? defaultLevels;
  const table = await read(source, options);
  await using pool = openPool(table, options);
  const { result, chosen, calibrations } = await evaluate(table, options, pool);
  const { fitted, notes: fitNotes } = await fitAll(table, chosen, calibrations, options, pool);
  const forecasts = fitted.forecast(options.horizon, levels);
  const notes = [...result.notes, ...fitNotes];
  const bare = forecasts.filter(({ intervals }) => levels.some((level) => intervals[level] === undefined)).map(({ series }) => series);
  if (bare.length > 0)
    notes.push(`no intervals for ${shorten(bare)}: too few windows in the backtest, and the model has no distribution of its own`);
  return { ...result, notes, forecasts, series: table.series, fitted };
}

const defaultLevels: readonly number[] = [80, 95];

function checkOptions(options: BacktestOptions): void {
  checkHorizon(options.horizon);
  checkLevels(options.levels ?? defaultLevels);
  for (const name of ["windows", "stride"] as const) checkInteger(name, options[name], 1);
  for (const name of ["refit", "workers"] as const) checkInteger(name, options[name], 0);
  candidatesOf(options);
}

function checkInteger(option: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
    throw new OptionError(option, `must be an integer >= ${least}, got ${value}`);
}

async function read(source: TableSource, options: BacktestOptions): Promise<LoadedTable> {
  const { onProgress } = options;
  const table = await loadTable(source, {
    ...options,
    ...(onProgress && { onBytes: (done, total) => onProgress({ stage: "reading", done, ...(total !== undefined && { total }) }) }),
  });
  options.onUnderstood?.(table.understood);
  return table;
}

function openPool(table: LoadedTable, options: BacktestOptions): Pool {
  const wanted = options.workers ?? (canStartWorkers && table.series.length >= 64 ? availableParallelism() : 0);
  return createPool(wanted);
}

const automaticModels = Object.values(forecasters)
  .filter((forecaster: ForecastingMethod) => forecaster.isOnRequest !== true)
  .map(({ name }) => name);

/** The models to try, by the option; the first is the reference. */
function candidatesOf(options: BacktestOptions): readonly Combination[] {
  const { model = "auto", parameters = {} } = options;
  const names = typeof model === "string" ? (model === "auto" ? automaticModels : [model]) : model;
  if (names.length === 0) throw new OptionError("model", "names no model");
  if (Object.keys(parameters).length > 0 && (names.length !== 1 || model === "auto"))
    throw new OptionError("parameters", "are taken with a single named model only");
  const specs = names.map((name): ModelSpec => {
    const forecaster = forecasterOf(name);
    if (forecaster === undefined) throw new OptionError("model", `"${name}" is not one of auto, ${Object.keys(forecasters).join(", ")}`);
    checkParameters(forecaster, parameters);
    return { name, parameters };
  });
  const hasCovariates = (options.covariates?.length ?? 0) + (options.knownAhead?.length ?? 0) > 0;
  const rest = specs.filter(({ name }) => name !== reference);
  const first = specs.find(({ name }) => name === reference) ?? { name: reference, parameters: {} };
  if (!hasCovariates) return [first, ...rest].map((spec) => [spec]);
  // Of several models each is tried with and without; a single named one takes what it is given.
  const isSingle = typeof model === "string" && model !== "auto";
  const plain = isSingle ? [first] : [first, ...rest];
  return [...plain, ...specs.map((spec) => ({ ...spec, usesCovariates: true }))].map((spec) => [spec]);
}

function regressorsOf({ id, values, covariates }: Series, horizon: number): Regressors | undefined {
  return covariates && toRegressors(covariates, values.length, horizon, id);
}

interface Evaluation {
  readonly result: BacktestResult;
  readonly chosen: Combination;
  /** Per series; undefined where nothing is known about its errors. */
  readonly calibrations: readonly (Calibration | undefined)[];
}

async function evaluate(table: LoadedTable, options: BacktestOptions, pool: Pool): Promise<Evaluation> {
  const { horizon, levels = defaultLevels } = options;
  const series = table.series.map((one): NamedSeries => {
    const regressors = regressorsOf(one, horizon);
    return { id: one.id, values: one.values, seasonalPeriod: one.seasonalPeriod, time: one.time, ...(regressors && { regressors }) };
  });
  const windows = {
    ...(options.windows !== undefined && { windows: options.windows }),
    ...(options.stride !== undefined && { stride: options.stride }),
  };
  const origins = series.map(({ values, seasonalPeriod }) => planOrigins(values.length, horizon, seasonalPeriod, windows));
  const plan: BacktestPlan = { horizon, origins, refit: options.refit ?? 5, missing: options.missing ?? "interpolate" };
  const notes: string[] = [];
  const short = origins.filter((list) => list.length === 0).length;
  if (short > 0)
    notes.push(
      `${short} of ${series.length} series ${short === 1 ? "is" : "are"} too short to hold back ${horizon} steps; the backtest is of the others`,
    );

  const candidates = candidatesOf(options);
  const asked = options.model ?? "auto";
  const isNamed = typeof asked === "string" && asked !== "auto";
  const named = candidates.at(-1)!; // where a single model is named: it, with covariates where there are some
  const scores = new Map<string, ModelScores>();
  const intervals = new Map<string, readonly SeriesCalibration[]>();
  const score = async (combination: Combination, stage: "backtest" | "intervals", withIntervals: boolean) => {
    const parts = await scoreAll(
      series,
      plan,
      combination,
      pool,
      options,
      stage,
      withIntervals ? { levels, isAdaptive: options.adaptive === true } : undefined,
    );
    const name = combinationName(combination);
    scores.set(
      name,
      parts.map((part) => part.score),
    );
    if (withIntervals)
      intervals.set(
        name,
        parts.map((part) => part.intervals!),
      );
  };
  // the windows of a model that is cheap to fit are made again if it is chosen: to keep the errors of all would need much memory
  for (const candidate of candidates) await score(candidate, "backtest", (isNamed && candidate === named) || isCostly(candidate));
  let average: Combination | undefined;
  if (!isNamed) {
    average = ensembleMembers(scoreTable(scores), candidates);
    if (average !== undefined) await score(average, "backtest", isCostly(average));
  }
  const rows = scoreTable(scores);
  const decision = decide(isNamed ? combinationName(named) : asked, rows, average);
  const chosen = [...candidates, ...(average === undefined ? [] : [average])].find(
    (candidate) => combinationName(candidate) === decision.model,
  )!;
  if (!intervals.has(decision.model)) await score(chosen, "intervals", true);
  const errors = intervals.get(decision.model)!;
  const calibrations = withPooled(errors, table.series);
  const pooled = calibrations.filter((one) => one?.source === "pooled").length;
  if (pooled > 0) notes.push(`intervals of ${pooled} short series are made from the errors of all series`);
  const result = {
    understood: table.understood,
    chosen: { ...decision, table: rows },
    coverage: coverageOf(errors, table.series, levels, horizon),
    notes,
  };
  return { result, chosen, calibrations };
}

function decide(
  asked: string | readonly string[],
  rows: readonly ModelScore[],
  average: Combination | undefined,
): { model: string; because: string } {
  if (typeof asked === "string" && asked !== "auto") {
    const row = rows.find(({ model }) => model === asked);
    const isWorse = row !== undefined && row.skill < 0;
    return {
      model: asked,
      because: isWorse
        ? `named by the option, although seasonal naive is ${(-100 * row.skill).toFixed(1)} % better`
        : "named by the option",
    };
  }
  if (rows.length === 0) return { model: reference, because: "no series is long enough for a backtest" };
  const name = average === undefined ? undefined : combinationName(average);
  return choose(rows, (model) => model === name);
}

interface NamedSeries extends BacktestSeries {
  readonly id: string;
}

/** Scores a model, one job per chunk of the series; a model that is fitted to all series together gets them in one. */
async function scoreAll(
  series: readonly NamedSeries[],
  plan: BacktestPlan,
  combination: Combination,
  pool: Pool,
  options: BacktestOptions,
  stage: Progress["stage"],
  intervals: IntervalOptions | undefined,
): Promise<readonly ScoredSeries[]> {
  const size = isShared(combination) ? series.length : chunkSize(series.length, pool);
  const runner = isTrained(combination) ? createPool(0) : pool;
  const starts = Array.from({ length: Math.ceil(series.length / size) }, (_, index) => index * size);
  let done = 0;
  const parts = await Promise.all(
    starts.map(async (start) => {
      const refit = options.refit ?? (isFittedOnce(combination) ? 0 : plan.refit);
      const its = { ...plan, refit, origins: plan.origins.slice(start, start + size) };
      const some = series.slice(start, start + size);
      const job = { combination, series: some, plan: its, ...(intervals && { intervals }) };
      const part = await runner.run({ kind: "score", ...job }, namesOf(some), hooksOf(combination, options));
      done += Math.min(size, series.length - start);
      options.onProgress?.({ stage, model: combinationName(combination), done, total: series.length });
      return part;
    }),
  );
  return parts.flat();
}

const namesOf = (series: readonly { readonly id: string }[]) => series.map(({ id }) => id);

function hooksOf(combination: Combination, { signal, home, hub, onProgress, onNotice }: BacktestOptions): JobHooks {
  const model = combinationName(combination);
  return {
    ...(signal && { signal }),
    ...(home !== undefined && { home }),
    ...(hub && { hub }),
    onProgress: (progress) => onProgress?.({ stage: "training", model, ...progress }),
    ...(onNotice && { onNotice }),
  };
}

/** Small enough to balance the workers and to show progress, large enough to pay for the message. */
function chunkSize(count: number, pool: Pool): number {
  return pool.size === 0 ? Math.min(8, count) : Math.max(1, Math.min(64, Math.ceil(count / (4 * pool.size))));
}

/** Windows of all series from which errors are borrowed, at most. */
const maxPooledWindows = 2000;

/** A series without windows enough of its own borrows the errors of all, in units of its scale, where these are windows enough together. */
function withPooled(errors: readonly SeriesCalibration[], series: readonly Series[]): readonly (Calibration | undefined)[] {
  const scaled = errors.flatMap((one) => one.scaled);
  const stride = Math.ceil(scaled.length / maxPooledWindows);
  const spread = scaled.filter((_, index) => index % stride === 0);
  const pooled = scaled.length >= minimumWindows ? calibrate(spread, "pooled") : undefined;
  return errors.map(({ calibration }, index) => {
    if (calibration !== undefined || pooled === undefined) return calibration;
    const { values, seasonalPeriod } = series[index]!;
    const scale = seasonalScale(values, seasonalPeriod);
    return scale > 0 ? { ...pooled, sizes: pooled.sizes.map((size) => bounded(size * scale)) } : undefined;
  });
}

function coverageOf(
  errors: readonly SeriesCalibration[],
  series: readonly Series[],
  levels: readonly number[],
  horizon: number,
): readonly CoverageFact[] {
  return levels.flatMap((level, position): CoverageFact[] => {
    let [values, hits] = [0, 0];
    const stepHits = new Float64Array(horizon);
    const stepCounts = new Float64Array(horizon);
    const bySeries: { series: string; coverage: number }[] = [];
    errors.forEach((one, index) => {
      const [own, ownHits] = [sum(one.counts), sum(one.hits[position]!)];
      if (own === 0) return;
      values += own;
      hits += ownHits;
      bySeries.push({ series: series[index]!.id, coverage: ownHits / own });
      for (let step = 0; step < horizon; step++) {
        stepCounts[step]! += one.counts[step]!;
        stepHits[step]! += one.hits[position]![step]!;
      }
    });
    if (values === 0) return [];
    const byStep = Array.from(stepHits, (count, step) => count / stepCounts[step]!);
    const worst = byStep.reduce((low, share, step) => (share < byStep[low]! || Number.isNaN(byStep[low]) ? step : low), 0);
    const ascending = bySeries.map(({ coverage }) => coverage).sort((a, b) => a - b);
    const tenth = ascending.slice(0, Math.max(1, Math.ceil(ascending.length / 10)));
    return [
      {
        ...{ level, pooled: hits / values, worstStep: { step: worst + 1, coverage: byStep[worst]! } },
        ...{ worstTenthOfSeries: sum(tenth) / tenth.length, byStep, bySeries, values },
      },
    ];
  });
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** Fits the chosen model to whole series; one too short for it is forecast by its last value, which is said. */
async function fitAll(
  table: LoadedTable,
  chosen: Combination,
  calibrations: readonly (Calibration | undefined)[],
  options: BacktestOptions,
  pool: Pool,
) {
  const { horizon, missing = "interpolate" } = options;
  const isLong = ({ values, seasonalPeriod }: Series) => values.length >= minimumLength(chosen, seasonalPeriod, horizon);
  const groups = [
    { combination: chosen, series: table.series.filter(isLong) },
    { combination: [{ name: "naive", parameters: {} }] as Combination, series: table.series.filter((one) => !isLong(one)) },
  ];
  const fitted = new Map<Series, FittedSeries>();
  const calibrationOf = new Map(table.series.map((one, index) => [one, calibrations[index]]));
  for (const { combination, series } of groups) {
    const size = isShared(combination) ? series.length : chunkSize(series.length, pool);
    for (let start = 0; start < series.length; start += size * Math.max(1, pool.size)) {
      const batch = Array.from({ length: Math.max(1, pool.size) }, (_, index) =>
        series.slice(start + index * size, start + (index + 1) * size),
      ).filter((some) => some.length > 0);
      const saved = await Promise.all(
        batch.map((some) => {
          const histories = some.map(({ values, seasonalPeriod, time }) => ({
            values: fillMissing(values, missing),
            seasonalPeriod,
            time,
          }));
          return (isTrained(combination) ? createPool(0) : pool).run(
            { kind: "fit", combination, histories, regressors: some.map((one) => regressorsOf(one, horizon)), horizon },
            namesOf(some),
            hooksOf(combination, options),
          );
        }),
      );
      saved.flat().forEach((one, index) => {
        const its = batch.flat()[index]!;
        const calibration = calibrationOf.get(its);
        fitted.set(its, {
          ...{ id: its.id, time: its.time, end: its.values.length, seasonalPeriod: its.seasonalPeriod, fitted: loadFitted(one) },
          ...(calibration && { calibration }),
        });
      });
      options.onProgress?.({ stage: "fitting", model: combinationName(combination), done: fitted.size, total: table.series.length });
    }
  }
  const short = groups[1]!.series.map(({ id }) => id);
  const notes = short.length === 0 ? [] : [`too short for ${combinationName(chosen)}, forecast by the last value: ${shorten(short)}`];
  return {
    fitted: new FittedTable(
      combinationName(chosen),
      table.series.map((one) => fitted.get(one)!),
      missing,
    ),
    notes,
  };
}

function shorten(names: readonly string[]): string {
  return names.length > 5 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", ");
}
