import { FormatError, OptionError } from "../../errors.ts";
import type {
  FitProgress,
  FitTask,
  FittedForecaster,
  Forecast,
  Forecaster,
  History,
  ParameterValue,
  ParameterValues,
  SavedForecaster,
} from "../types.ts";
import { ofAll } from "./in-parts.ts";
import { saturated } from "./magnitude.ts";
import { normalQuantile } from "./normal-quantile.ts";
import { type Fields, fromJson, type Schema, toJson } from "./saved-state.ts";

/** Forecasts before they are cut to the range of a double; `quantile` where the model has a distribution. */
export interface Prediction {
  /** [H] */
  readonly mean: Float64Array;
  /** [H] for one probability in (0, 1) */
  quantile?(probability: number): Float64Array;
}

/**
 * A model of one series as pure functions on two plain records: its parameters P, which stay, and its state S, which moves
 * with the observations. Everything a `FittedForecaster` can do follows from these.
 */
export interface Method<P extends Schema, S extends Schema> {
  readonly name: string;
  /** Raised when the meaning of P or S changes. */
  readonly version: number;
  readonly parameters: P;
  readonly state: S;
  describe(parameters: Fields<P>): string;
  /** The parameters that people want to see; default all. */
  show?(parameters: Fields<P>): FittedForecaster["parameters"];
  /** Throws a reason if fields that are each legal don't fit together. */
  check?(parameters: Fields<P>, state: Fields<S>): void;
  /** The state at the end of a history. */
  begin(parameters: Fields<P>, history: History): Fields<S>;
  /** The state after more observations. */
  advance(parameters: Fields<P>, state: Fields<S>, values: Float64Array): Fields<S>;
  predict(parameters: Fields<P>, state: Fields<S>, horizon: number): Prediction;
}

const parts = Symbol("parameters and state");

interface Parts<P extends Schema, S extends Schema> {
  readonly parameters: Fields<P>;
  readonly state: Fields<S>;
}

/** What a fitted object of this method was made of, for methods that compute many side by side. */
export function partsOf<P extends Schema, S extends Schema>(method: Method<P, S>, fitted: FittedForecaster): Parts<P, S> {
  const found = (fitted as { readonly [parts]?: Parts<P, S> })[parts];
  if (fitted.model !== method.name || found === undefined) throw new TypeError(`${method.name}: this was fitted by ${fitted.model}`);
  return found;
}

export function fittedModel<P extends Schema, S extends Schema>(
  method: Method<P, S>,
  parameters: Fields<P>,
  state: Fields<S>,
  training?: NonNullable<FittedForecaster["training"]>,
): FittedForecaster {
  const fitted: FittedForecaster & { readonly [parts]: Parts<P, S> } = {
    [parts]: { parameters, state },
    model: method.name,
    description: method.describe(parameters),
    parameters: method.show?.(parameters) ?? shown(parameters),
    ...(training === undefined ? {} : { training }),
    forecast: (horizon, options = {}) => forecastOf(horizon, options.quantiles, () => method.predict(parameters, state, horizon)),
    update(values) {
      checkFinite(`${method.name}: update`, values);
      return values.length === 0 ? fitted : fittedModel(method, parameters, method.advance(parameters, state, values));
    },
    apply(history) {
      checkHistory(method.name, history, 1);
      return fittedModel(method, parameters, method.begin(parameters, history));
    },
    toJSON: () => ({
      model: method.name,
      version: method.version,
      state: { parameters: toJson(method.parameters, parameters), state: toJson(method.state, state) },
    }),
  };
  return fitted;
}

export function loadFitted<P extends Schema, S extends Schema>(method: Method<P, S>, saved: SavedForecaster): FittedForecaster {
  const file = `saved ${method.name}`;
  if (typeof saved !== "object" || saved === null) throw new FormatError(file, "is not an object");
  if (saved.model !== method.name) throw new FormatError(file, `is of the model ${JSON.stringify(saved.model)}`);
  if (saved.version !== method.version) {
    throw new FormatError(file, `has version ${JSON.stringify(saved.version)}, this program reads ${method.version}`);
  }
  const parameters = fromJson(method.name, method.parameters, saved.state?.parameters);
  const state = fromJson(method.name, method.state, saved.state?.state);
  try {
    method.check?.(parameters, state);
  } catch (cause) {
    throw new FormatError(file, cause instanceof Error ? cause.message : String(cause), { cause });
  }
  return fittedModel(method, parameters, state);
}

/** Fits series one by one: the `fit` of every model whose parameters belong to one series. */
export function fitEach(
  name: string,
  minimumLength: Forecaster["minimumLength"],
  one: (history: History) => FittedForecaster,
): Forecaster["fit"] {
  return (histories, task) =>
    histories.map((history) => {
      task.signal?.throwIfAborted();
      checkHistory(name, history, minimumLength(history.seasonalPeriod, task.horizon));
      return one(history);
    });
}

/** The same for models whose fit takes long: `one` yields how far it is with its series. */
export function fitEachInParts(
  name: string,
  minimumLength: Forecaster["minimumLength"],
  one: (history: History, task: FitTask, parameters: ParameterValues) => Generator<FitProgress, FittedForecaster>,
): NonNullable<Forecaster["fitInParts"]> {
  return function* (histories, task, parameters = {}) {
    const fitted: FittedForecaster[] = [];
    for (const [index, history] of histories.entries()) {
      task.signal?.throwIfAborted();
      checkHistory(name, history, minimumLength(history.seasonalPeriod, task.horizon));
      const work = one(history, task, parameters);
      try {
        let part = work.next();
        for (; !part.done; part = work.next()) yield ofAll(part.value, index, histories.length);
        fitted.push(part.value);
      } finally {
        work.return(undefined as never);
      }
    }
    return fitted;
  };
}

/** @throws RangeError if the history is too short, not finite, or its season is no positive integer */
export function checkHistory(model: string, history: History, minimumLength: number): void {
  const { values, seasonalPeriod } = history;
  if (values.length < Math.max(1, minimumLength)) {
    throw new RangeError(`${model}: the history has ${values.length} values, needed are ${Math.max(1, minimumLength)}`);
  }
  if (!Number.isSafeInteger(seasonalPeriod) || seasonalPeriod < 1) {
    throw new RangeError(`${model}: the seasonal period ${seasonalPeriod} is not an integer >= 1`);
  }
  checkFinite(model, values);
}

function checkFinite(what: string, values: Float64Array): void {
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw new RangeError(`${what}: the value at index ${index} is ${values[index]}, expected finite numbers`);
}

/** The quantiles of normal errors: mean + z · sd. */
export function gaussian(exactMean: Float64Array, exactSd: Float64Array): Prediction {
  const mean = exactMean.map(saturated); // Infinity - Infinity is no number
  const sd = exactSd.map(saturated);
  return {
    mean,
    quantile(probability) {
      const z = normalQuantile(probability);
      return mean.map((value, step) => value + z * sd[step]!);
    },
  };
}

function forecastOf(horizon: number, quantiles: readonly number[] | undefined, predict: () => Prediction): Forecast {
  if (!Number.isSafeInteger(horizon) || horizon < 1) throw new OptionError("horizon", `expected an integer >= 1, got ${horizon}`);
  for (const probability of quantiles ?? []) {
    if (!(probability > 0 && probability < 1)) throw new OptionError("quantiles", `expected numbers between 0 and 1, got ${probability}`);
  }
  const prediction = predict();
  const mean = prediction.mean.map(saturated);
  if (quantiles === undefined || prediction.quantile === undefined) return { mean };
  return { mean, quantiles: quantiles.map((probability) => prediction.quantile!(probability).map(saturated)) };
}

function shown(
  fields: Readonly<Record<string, number | string | Float64Array | undefined>>,
): Record<string, ParameterValue | readonly number[]> {
  const entries: [string, ParameterValue | readonly number[]][] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) entries.push([name, value instanceof Float64Array ? Array.from(value) : value]);
  }
  return Object.fromEntries(entries);
}
