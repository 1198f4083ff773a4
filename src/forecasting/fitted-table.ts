import { FormatError, OptionError, UnsupportedError } from "../errors.ts";
import { forecastAll, loadFitted } from "./combination.ts";
import { type Calibration, halfWidths } from "./conformal.ts";
import { formatTime, timeAt } from "./data/index.ts";
import { bounded } from "./metrics.ts";
import { fillMissing, type MissingRule } from "./missing.ts";
import type { Covariate, FittedForecaster, Json, SavedForecaster, Series, TimeGrid } from "./types.ts";

/** The forecast of one series. `intervals` has the levels as keys ("80"), each with lower and upper bounds per step. */
export interface SeriesForecast {
  readonly series: string;
  readonly time: readonly string[];
  readonly mean: readonly number[];
  readonly intervals: Readonly<Record<string, readonly [lo: readonly number[], hi: readonly number[]]>>;
}

/** One series of a fitted table. */
export interface FittedSeries {
  readonly id: string;
  readonly fitted: FittedForecaster;
  /** Grid of the series, and the index of the first step after its end. */
  readonly time: TimeGrid;
  readonly end: number;
  readonly seasonalPeriod: number;
  readonly calibration?: Calibration;
}

/** The models of all series of a table: forecasts again for any horizon, takes new values, is saved and loaded. Immutable. */
export class FittedTable {
  readonly model: string;
  readonly series: readonly FittedSeries[];
  private readonly missing: MissingRule;

  constructor(model: string, series: readonly FittedSeries[], missing: MissingRule) {
    this.model = model;
    this.series = series;
    this.missing = missing;
  }

  /**
   * Point forecasts and intervals of every series.
   *
   * @param levels  percent, between 0 and 100, such as 80 and 95. A series that has neither a calibration nor a model with a
   *                distribution of its own has no intervals.
   */
  forecast(horizon: number, levels: readonly number[]): readonly SeriesForecast[] {
    checkHorizon(horizon);
    checkLevels(levels);
    const quantiles = levels.flatMap((level) => [0.5 - level / 200, 0.5 + level / 200]);
    const forecasts = forecastAll(
      this.series.map(({ fitted }) => fitted),
      horizon,
      { quantiles },
    );
    return this.series.map((one, index) => {
      const forecast = forecasts[index]!;
      if (!forecast.mean.every(Number.isFinite))
        throw new Error(`internal: the model ${one.fitted.description} gave a forecast of ${one.id} that is no number`);
      const intervals: Record<string, [number[], number[]]> = {};
      levels.forEach((level, position) => {
        const bounds =
          one.calibration === undefined
            ? forecast.quantiles?.slice(2 * position, 2 * position + 2)
            : around(forecast.mean, halfWidths(one.calibration, level, horizon));
        if (bounds !== undefined) intervals[level] = [[...bounds[0]!], [...bounds[1]!]];
      });
      const time = Array.from({ length: horizon }, (_, step) => formatTime(one.time, one.end + step));
      return { series: one.id, time, mean: [...forecast.mean], intervals };
    });
  }

  /**
   * The same models after more observations; parameters and intervals stay.
   *
   * @param table  series as `loadTable` gives them: of the same frequency, starting right after the end of the known ones (or before
   *               it: values up to the end are not looked at). Models with covariates need the columns of the new steps, read by the same options
   *               `covariates` and `knownAhead`, and what is known ahead beyond them to forecast further. Series that are not in it stay as they are.
   * @throws OptionError for an unknown series, a gap that starts after the end, and covariates that are missing or of another kind
   */
  update(table: readonly Series[]): FittedTable {
    const known = new Map(this.series.map((one, index) => [one.id, index]));
    const updated = [...this.series];
    for (const { id, values, time, covariates = [] } of table) {
      const index = known.get(id);
      if (index === undefined) throw new OptionError("update", `there is no fitted series "${id}"`);
      const one = this.series[index]!;
      if (time.frequency.unit !== one.time.frequency.unit || time.frequency.count !== one.time.frequency.count) {
        throw new OptionError("update", `series "${id}" has another frequency than the fitted one`);
      }
      const next = timeAt(one.time, one.end);
      const length = covariates.reduce((most, column) => Math.max(most, column.values.length), values.length);
      let skip = 0;
      while (skip < length && timeAt(time, skip) < next) skip++;
      if (skip === length) continue;
      if (timeAt(time, skip) !== next)
        throw new OptionError("update", `series "${id}" goes on at ${formatTime(time, skip)}, expected ${formatTime(one.time, one.end)}`);
      const fresh = values.subarray(skip);
      const later = covariates.map((column) => ({ ...column, values: column.values.subarray(skip) }));
      updated[index] = { ...one, fitted: updatedModel(one, this.filled(one, values, skip), later), end: one.end + fresh.length };
    }
    return new FittedTable(this.model, updated, this.missing);
  }

  /** The values from `skip` on without holes; before a missing first one stands the last value of the table before it, or the forecast. */
  private filled({ fitted }: FittedSeries, values: Float64Array, skip: number): Float64Array {
    const fresh = values.subarray(skip);
    if (fresh.length === 0 || !Number.isNaN(fresh[0])) return fillMissing(fresh, this.missing);
    const last = values.subarray(0, skip).findLast((value) => !Number.isNaN(value));
    return fillMissing(fresh, this.missing, last ?? fitted.forecast(1).mean[0]!);
  }

  toJSON(): SavedTable {
    const series = this.series.map(({ fitted, ...rest }) => ({ ...rest, fitted: fitted.toJSON() }));
    return { format: "chainrule-forecast", version: 1, model: this.model, missing: this.missing, series };
  }
}

export interface SavedTable {
  readonly format: "chainrule-forecast";
  readonly version: 1;
  readonly model: string;
  readonly missing: MissingRule;
  readonly series: readonly (Omit<FittedSeries, "fitted"> & { readonly fitted: SavedForecaster })[];
}

/**
 * The inverse of `FittedTable.toJSON`.
 *
 * @throws FormatError for anything else
 */
export function loadForecasts(saved: unknown): FittedTable {
  const table = saved as Partial<SavedTable> | null;
  if (table?.format !== "chainrule-forecast" || !Array.isArray(table.series))
    throw new FormatError("saved forecasts", "are not what FittedTable.toJSON writes");
  if (table.version !== 1) throw new UnsupportedError(`saved forecasts have version ${String(table.version)}; this program reads 1`);
  const series = table.series.map((one): FittedSeries => {
    const isGrid =
      typeof one?.id === "string" &&
      Number.isSafeInteger(one.end) &&
      Number.isSafeInteger(one.seasonalPeriod) &&
      Number.isFinite(one.time?.start);
    if (!isGrid) throw new FormatError("saved forecasts", `series ${JSON.stringify((one as { id?: Json } | null)?.id ?? null)} is broken`);
    return { ...one, fitted: loadFitted(one.fitted) };
  });
  return new FittedTable(String(table.model), series, table.missing ?? "interpolate");
}

export function checkHorizon(horizon: number): void {
  if (!Number.isSafeInteger(horizon) || horizon < 1 || horizon > 100_000)
    throw new OptionError("horizon", `must be an integer from 1 to 100000, got ${horizon}`);
}

export function checkLevels(levels: readonly number[]): void {
  const bad = levels.find((level) => !(level > 0 && level < 100));
  if (bad !== undefined) throw new OptionError("levels", `must be percents between 0 and 100, got ${bad}`);
  if (new Set(levels).size !== levels.length) throw new OptionError("levels", `names a level twice: ${levels.join(", ")}`);
}

function updatedModel({ id, fitted }: FittedSeries, values: Float64Array, covariates: readonly Covariate[]): FittedForecaster {
  try {
    return fitted.update(values, covariates);
  } catch (error) {
    throw error instanceof OptionError ? new OptionError("update", `series "${id}": ${error.message}`) : error;
  }
}

/** mean - width and mean + width, kept in the range of a double. */
function around(mean: Float64Array, width: Float64Array): [Float64Array, Float64Array] {
  return [mean.map((value, step) => bounded(value - width[step]!)), mean.map((value, step) => bounded(value + width[step]!))];
}
