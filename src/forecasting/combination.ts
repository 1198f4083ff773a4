import { FormatError } from "../errors.ts";
import { forecasters } from "./models/index.ts";
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
} from "./types.ts";

/** A forecaster by name with the parameters that are not left to it. */
export interface ModelSpec {
  readonly name: string;
  readonly parameters: ParameterValues;
}

/** One model, or several whose forecasts are averaged with equal weights. */
export type Combination = readonly ModelSpec[];

const table: Readonly<Record<string, Forecaster>> = forecasters;

export function forecasterOf(name: string): Forecaster | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** "ets", "ets + theta". */
export function combinationName(combination: Combination): string {
  return combination.map(({ name }) => name).join(" + ");
}

export function minimumLength(combination: Combination, seasonalPeriod: number, horizon: number): number {
  return combination.reduce((most, { name }) => Math.max(most, forecasterOf(name)!.minimumLength(seasonalPeriod, horizon)), 1);
}

/** True where a member is fitted on all series together. */
export function isShared(combination: Combination): boolean {
  return combination.some(({ name }) => forecasterOf(name)!.shared);
}

/** Fits every member; one fitted object per series, the member itself where there is one. */
export function fitCombination(combination: Combination, histories: readonly History[], task: FitTask): readonly FittedForecaster[] {
  const fitted = combination.map(({ name, parameters }) => forecasterOf(name)!.fit(histories, task, parameters));
  return histories.map((_, index) => average(fitted.map((members) => members[index]!)));
}

/** The mean of several forecasts, as one fitted object. It has no quantiles: those of a mean are not the means of quantiles. */
function average(members: readonly FittedForecaster[]): FittedForecaster {
  if (members.length === 1) return members[0]!;
  return {
    model: "mean",
    description: `mean of ${members.map(({ description }) => description).join(", ")}`,
    parameters: {},
    forecast(horizon): Forecast {
      const mean = new Float64Array(horizon);
      for (const member of members) {
        const part = member.forecast(horizon).mean;
        for (let step = 0; step < horizon; step++) mean[step]! += part[step]! / members.length;
      }
      return { mean };
    },
    update: (values) => average(members.map((member) => member.update(values))),
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
  const forecaster = forecasterOf(saved.model);
  if (forecaster === undefined)
    throw new FormatError("saved model", `there is no model "${saved.model}"; this version has ${Object.keys(table).join(", ")}`);
  return forecaster.load(saved);
}
