import { FormatError } from "../errors.ts";
import { inTurns } from "./models/in-parts.ts";
import { forecasters } from "./models/index.ts";
import { estimateEffects, loadWithEffects, withEffects, withoutEffects } from "./regression.ts";
import type { Regressors } from "./regressors.ts";
import type {
  FitTask,
  FittedForecaster,
  Forecast,
  Forecaster,
  History,
  Json,
  JsonObject,
  ParameterValues,
  SavedForecaster,
  TrainedForecaster,
} from "./types.ts";

/** A forecaster by name with the parameters that are not left to it. */
export interface ModelSpec {
  readonly name: string;
  readonly parameters: ParameterValues;
  /** True: what the covariates explain is taken out before the model sees a series. */
  readonly usesCovariates?: boolean;
}

/** One model, or several whose forecasts are averaged with equal weights. */
export type Combination = readonly ModelSpec[];

const table: Readonly<Record<string, Forecaster | TrainedForecaster>> = forecasters;

export function forecasterOf(name: string): Forecaster | TrainedForecaster | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** "ets", "ets + theta", "ets with covariates". */
export function combinationName(combination: Combination): string {
  return combination.map(({ name, usesCovariates }) => (usesCovariates ? `${name} with covariates` : name)).join(" + ");
}

export function minimumLength(combination: Combination, seasonalPeriod: number, horizon: number): number {
  return combination.reduce((most, { name }) => Math.max(most, forecasterOf(name)!.minimumLength(seasonalPeriod, horizon)), 1);
}

/** True where a member is fitted on all series together. */
export function isShared(combination: Combination): boolean {
  return combination.some(({ name }) => forecasterOf(name)!.shared);
}

/** Whether a model of this name trains for minutes, over files that its parameters name. */
export function isTrainedModel(name: string): boolean {
  const forecaster = forecasterOf(name);
  return forecaster !== undefined && "forecastAll" in forecaster;
}

/** True where a member is too slow for `auto`, so that its windows are made once only. */
export function isCostly(combination: Combination): boolean {
  return combination.some(({ name }) => forecasterOf(name)!.isOnRequest === true);
}

/** True where a member is fitted at the first origin of a backtest only, unless told otherwise. */
export function isFittedOnce(combination: Combination): boolean {
  return combination.some(({ name }) => forecasterOf(name)!.isFittedOnce === true);
}

/** True where a member trains for minutes over files that only the calling thread opens. */
export function isTrained(combination: Combination): boolean {
  return combination.some(({ name }) => isTrainedModel(name));
}

/** Fits every member; one fitted object per series, the member itself where there is one. */
export async function fitCombination(
  combination: Combination,
  histories: readonly History[],
  task: FitTask,
  regressors: readonly (Regressors | undefined)[],
): Promise<readonly FittedForecaster[]> {
  const fitted: (readonly FittedForecaster[])[] = [];
  for (const spec of combination) fitted.push(await fitOne(spec, histories, task, regressors));
  return histories.map((_, index) => average(fitted.map((members) => members[index]!)));
}

async function fitOne(
  { name, parameters, usesCovariates }: ModelSpec,
  histories: readonly History[],
  task: FitTask,
  regressors: readonly (Regressors | undefined)[],
) {
  const forecaster = forecasterOf(name)!;
  const fit = async (some: readonly History[]) =>
    "fitInParts" in forecaster && forecaster.fitInParts !== undefined
      ? await inTurns(forecaster.fitInParts(some, task, parameters), task)
      : await forecaster.fit(some, task, parameters);
  if (!usesCovariates) return await fit(histories);
  const effects = histories.map((history, index) => estimateEffects(history, regressors[index]!));
  const rest = histories.map((history, index) => withoutEffects(history, regressors[index]!, effects[index]!));
  return (await fit(rest)).map((fitted, index) =>
    withEffects(fitted, regressors[index]!, effects[index]!, histories[index]!.values.length),
  );
}

/** The forecasts of many, side by side where their model does so. */
export function forecastAll(
  fitted: readonly FittedForecaster[],
  horizon: number,
  options: { readonly quantiles?: readonly number[] } = {},
): readonly Forecast[] {
  const forecasts = new Map<FittedForecaster, Forecast>();
  for (const name of new Set(fitted.map(({ model }) => model))) {
    const forecaster = forecasterOf(name);
    if (forecaster === undefined || !("forecastAll" in forecaster)) continue;
    const its = fitted.filter(({ model }) => model === name);
    for (const [index, forecast] of forecaster.forecastAll(its, horizon).entries()) forecasts.set(its[index]!, forecast);
  }
  return fitted.map((one) => forecasts.get(one) ?? one.forecast(horizon, options));
}

/**
 * The mean of several forecasts, as one fitted object. Its quantiles are the means of the members' quantiles where all have some: a
 * combination of distributions, not the distribution of the mean, whose errors go together.
 *
 * @see Lichtendahl, Grushka-Cockayne & Winkler 2013, Is it better to average probabilities or quantiles?, https://doi.org/10.1287/mnsc.1120.1667
 */
function average(members: readonly FittedForecaster[]): FittedForecaster {
  if (members.length === 1) return members[0]!;
  const meanOf = (parts: readonly Float64Array[]) =>
    parts[0]!.map((_, step) => parts.reduce((sum, part) => sum + part[step]! / parts.length, 0));
  return {
    model: "mean",
    description: `mean of ${members.map(({ description }) => description).join(", ")}`,
    parameters: {},
    forecast(horizon, options): Forecast {
      const parts = members.map((member) => member.forecast(horizon, options));
      const mean = meanOf(parts.map((part) => part.mean));
      const quantiles = parts.flatMap((part) => (part.quantiles === undefined ? [] : [part.quantiles]));
      if (quantiles.length < parts.length) return { mean };
      return { mean, quantiles: quantiles[0]!.map((_, index) => meanOf(quantiles.map((list) => list[index]!))) };
    },
    update: (values, covariates) => average(members.map((member) => member.update(values, covariates))),
    apply: (history) => average(members.map((member) => member.apply(history))),
    toJSON: () => ({ model: "mean", version: 1, state: { members: members.map((member) => member.toJSON() as unknown as Json) } }),
  };
}

/**
 * The inverse of a fitted object's `toJSON`, whatever model it is of.
 *
 * @throws FormatError for an unknown model or a broken state
 */
export function loadFitted(saved: SavedForecaster): FittedForecaster {
  if (saved.model === "mean") {
    const { members } = saved.state as { members?: readonly JsonObject[] };
    if (saved.version !== 1 || !Array.isArray(members) || members.length < 2)
      throw new FormatError("saved model", "the members of a mean are missing");
    return average(members.map((member) => loadFitted(member as unknown as SavedForecaster)));
  }
  if (saved.model === "regression") return loadWithEffects(saved, loadFitted);
  const forecaster = forecasterOf(saved.model);
  if (forecaster === undefined)
    throw new FormatError("saved model", `there is no model "${saved.model}"; this version has ${Object.keys(table).join(", ")}`);
  return forecaster.load(saved);
}
