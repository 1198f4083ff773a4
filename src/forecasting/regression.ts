import { FormatError, OptionError, UnsupportedError } from "../errors.ts";
import { fillMissing } from "./missing.ts";
import { LeastSquares } from "./models/householder-qr.ts";
import { divided, magnitudeOf, saturated } from "./models/magnitude.ts";
import type { Covariate, FittedForecaster, Forecast, History, Json, JsonObject, SavedForecaster } from "./types.ts";

/*
 * Covariates for every model: y_t = x_t'β + n_t, where n_t is left to the model. β is estimated by least squares on seasonal
 * differences (first differences of a short series), so that a trend or a season that both sides share isn't taken for an effect.
 * See Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, chapter 10, https://otexts.com/fpp3/
 */

/** The columns of x by step of the series, without holes; index t is the step t of the series. */
export interface Regressors {
  readonly names: readonly string[];
  /** One [N + H] and more per name. */
  readonly columns: readonly Float64Array[];
}

/**
 * Columns that are known `horizon` steps ahead: known ones as they are, others as of `horizon` steps before.
 *
 * @param length  steps of the series
 * @throws OptionError where a known one has fewer than `horizon` values after the end
 */
export function toRegressors(covariates: readonly Covariate[], length: number, horizon: number, series: string): Regressors {
  const columns = covariates.map(({ name, values, knownAhead }) => {
    if (!knownAhead) {
      const filled = fillMissing(values, "previous");
      return Float64Array.from(
        { length: length + horizon },
        (_, step) => filled[Math.max(0, Math.min(step - horizon, filled.length - 1))]!,
      );
    }
    const known = values.findLastIndex((value) => !Number.isNaN(value)) + 1 - length;
    if (known < horizon) {
      const named = series === "" ? "" : ` of series ${series}`;
      throw new OptionError(
        "knownAhead",
        `"${name}"${named} has ${Math.max(0, known)} values after the last target, the horizon needs ${horizon}: add rows with the target left empty`,
      );
    }
    return fillMissing(values, "previous");
  });
  const names = covariates.map(({ name, knownAhead }) => (knownAhead ? name : `${name}, ${horizon} steps before`));
  return { names, columns };
}

/** β [K] of a history; zeros where it is too short to tell, and for columns that say nothing beside the others. */
export function estimateEffects({ values, seasonalPeriod }: History, { columns }: Regressors): Float64Array {
  const numColumns = columns.length;
  const lag = values.length >= 3 * seasonalPeriod + 2 * (numColumns + 1) ? seasonalPeriod : 1;
  const numRows = values.length - lag;
  if (numRows < 2 * (numColumns + 1)) return new Float64Array(numColumns);
  const difference = (column: Float64Array) => {
    const scale = magnitudeOf(column.subarray(0, values.length)) * 4;
    const scaled = divided(column.subarray(0, values.length), scale);
    return { scale, values: scaled.subarray(lag).map((value, index) => value - scaled[index]!) };
  };
  const target = difference(values);
  const design = new Float64Array((numColumns + 1) * numRows).fill(1, 0, numRows); // the first column is the drift
  const scales = columns.map((column, index) => {
    const one = difference(column);
    design.set(one.values, (index + 1) * numRows);
    return one.scale;
  });
  const solution = new LeastSquares(design, target.values).solve(numColumns + 1).subarray(1);
  return solution.map((value, index) => {
    const effect = value * (target.scale / scales[index]!);
    return Number.isFinite(effect) ? effect : 0;
  });
}

/** What the covariates add at the steps from `from`, [count]. */
function effectAt({ columns }: Regressors, effects: Float64Array, from: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, index) =>
    columns.reduce((sum, column, k) => saturated(sum + saturated(effects[k]! * column[from + index]!)), 0),
  );
}

/** A history without what its covariates explain. */
export function withoutEffects(history: History, regressors: Regressors, effects: Float64Array): History {
  const explained = effectAt(regressors, effects, 0, history.values.length);
  return { ...history, values: history.values.map((value, step) => saturated(value - explained[step]!)) };
}

/**
 * A model of the rest together with the effects of covariates.
 *
 * @param position  steps of the series that `rest` has seen
 */
export function withEffects(rest: FittedForecaster, regressors: Regressors, effects: Float64Array, position: number): FittedForecaster {
  const { names } = regressors;
  const known = Math.min(...regressors.columns.map(({ length }) => length)) - position;
  return {
    model: "regression",
    description: `${rest.description} with covariates`,
    parameters: { ...rest.parameters, ...Object.fromEntries(names.map((name, k) => [`effect of ${name}`, effects[k]!])) },
    forecast(horizon, options): Forecast {
      if (horizon > known) throw new OptionError("horizon", `covariates are known for ${known} steps ahead, ${horizon} were asked for`);
      const forecast = rest.forecast(horizon, options);
      const added = effectAt(regressors, effects, position, horizon);
      const plus = (values: Float64Array) => values.map((value, step) => saturated(value + added[step]!));
      return { mean: plus(forecast.mean), ...(forecast.quantiles && { quantiles: forecast.quantiles.map(plus) }) };
    },
    update(values) {
      if (values.length > known)
        throw new UnsupportedError("a model with covariates can't be updated beyond its covariates; forecast again from the table");
      const explained = effectAt(regressors, effects, position, values.length);
      return withEffects(
        rest.update(values.map((value, step) => saturated(value - explained[step]!))),
        regressors,
        effects,
        position + values.length,
      );
    },
    apply() {
      throw new UnsupportedError("a model with covariates can't be applied to another history; forecast again from the table");
    },
    toJSON(): SavedForecaster {
      const columns = regressors.columns.map((column) => [...column.subarray(position)]);
      return { model: "regression", version: 1, state: { rest: rest.toJSON() as unknown as Json, names, columns, effects: [...effects] } };
    },
  };
}

/** The inverse of `toJSON`; `load` reads the model of the rest. */
export function loadWithEffects(saved: SavedForecaster, load: (saved: SavedForecaster) => FittedForecaster): FittedForecaster {
  const { rest, names, columns, effects } = saved.state as {
    rest?: JsonObject;
    names?: string[];
    columns?: number[][];
    effects?: number[];
  };
  const isList = (list: unknown): list is number[] => Array.isArray(list) && list.every(Number.isFinite);
  if (
    saved.version !== 1 ||
    rest === undefined ||
    !Array.isArray(names) ||
    !Array.isArray(columns) ||
    !columns.every(isList) ||
    !isList(effects)
  ) {
    throw new FormatError("saved regression", "its state is broken");
  }
  if (names.length !== columns.length || names.length !== effects.length)
    throw new FormatError("saved regression", "has not one effect per covariate");
  return withEffects(
    load(rest as unknown as SavedForecaster),
    { names, columns: columns.map((column) => Float64Array.from(column)) },
    Float64Array.from(effects),
    0,
  );
}
