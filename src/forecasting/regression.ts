import { FormatError, OptionError, UnsupportedError } from "../errors.ts";
import { LeastSquares } from "./models/householder-qr.ts";
import { divided, magnitudeOf, saturated } from "./models/magnitude.ts";
import { extended, nameOf, type Regressors, readSource } from "./regressors.ts";
import type { FittedForecaster, Forecast, History, Json, JsonObject, SavedForecaster } from "./types.ts";

/*
 * Covariates for every model: y_t = x_t'β + n_t, where n_t is left to the model. β is estimated by least squares on seasonal
 * differences (first differences of a short series), so that a trend or a season that both sides share isn't taken for an effect.
 * See Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, chapter 10, https://otexts.com/fpp3/
 */

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
  const known = Math.min(...regressors.columns.map(({ length }) => length)) - position;
  const named = regressors.sources.map((source, k) => [`effect of ${nameOf(source)}`, effects[k]!] as const);
  return {
    model: "regression",
    description: `${rest.description} with covariates`,
    parameters: { ...rest.parameters, ...Object.fromEntries(named) },
    forecast(horizon, options): Forecast {
      if (horizon > known) throw new OptionError("horizon", `covariates are known for ${known} steps ahead, ${horizon} were asked for`);
      const forecast = rest.forecast(horizon, options);
      const added = effectAt(regressors, effects, position, horizon);
      const plus = (values: Float64Array) => values.map((value, step) => saturated(value + added[step]!));
      return { mean: plus(forecast.mean), ...(forecast.quantiles && { quantiles: forecast.quantiles.map(plus) }) };
    },
    update(values, covariates = []) {
      const longer = extended(regressors, position, values.length, covariates);
      const explained = effectAt(longer, effects, position, values.length);
      const later = rest.update(values.map((value, step) => saturated(value - explained[step]!)));
      return withEffects(later, longer, effects, position + values.length);
    },
    apply() {
      throw new UnsupportedError("a model with covariates can't be applied to another history; forecast again from the table");
    },
    toJSON(): SavedForecaster {
      // the last value before the end stays: it stands in where the next one is missing
      const before = Math.min(position, 1);
      const columns = regressors.columns.map((column) => [...column.subarray(position - before)]);
      const sources = regressors.sources as unknown as Json;
      return {
        model: "regression",
        version: 2,
        state: { rest: rest.toJSON() as unknown as Json, sources, columns, effects: [...effects], position: before },
      };
    },
  };
}

/** The inverse of `toJSON`; `load` reads the model of the rest. */
export function loadWithEffects(saved: SavedForecaster, load: (saved: SavedForecaster) => FittedForecaster): FittedForecaster {
  const { rest, sources, columns, effects, position } = saved.state as {
    rest?: JsonObject;
    sources?: JsonObject[];
    columns?: number[][];
    effects?: number[];
    position?: number;
  };
  const isList = (list: unknown): list is number[] => Array.isArray(list) && list.every(Number.isFinite);
  const read = Array.isArray(sources) ? sources.flatMap((source) => readSource(source) ?? []) : [];
  if (
    saved.version !== 2 ||
    rest === undefined ||
    (position !== 0 && position !== 1) ||
    !Array.isArray(columns) ||
    !columns.every(isList) ||
    !columns.every(({ length }) => length >= position) ||
    !isList(effects)
  ) {
    throw new FormatError("saved regression", "its state is broken");
  }
  if (read.length !== sources?.length || read.length !== columns.length || read.length !== effects.length)
    throw new FormatError("saved regression", "has not one effect per covariate");
  return withEffects(
    load(rest as unknown as SavedForecaster),
    { sources: read, columns: columns.map((column) => Float64Array.from(column)) },
    Float64Array.from(effects),
    position,
  );
}
