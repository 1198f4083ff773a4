import type { ForecastRequest, TableRequest } from "./wire.ts";

/** A table as a person gave it. */
export interface GivenTable {
  readonly name: string;
  readonly text: string;
}

/** What a person can set for a forecast. An empty text leaves it to the server. */
export interface ForecastSettings {
  readonly horizon: number;
  readonly model: string;
  readonly levels: readonly number[];
  readonly time: string;
  /** Several are series of their own. */
  readonly targets: readonly string[];
  readonly id: string;
  readonly seasonalPeriod: number | undefined;
}

export const defaultForecastSettings: ForecastSettings = {
  horizon: 12,
  model: "auto",
  levels: [80, 95],
  time: "",
  targets: [],
  id: "",
  seasonalPeriod: undefined,
};

/** Steps of the past that the page asks for, of each series. */
const shownSteps = 600;

/** Which columns are what, as the library's options have it. */
function columnsOf({ time, targets, id, seasonalPeriod }: ForecastSettings) {
  return {
    ...(time === "" ? {} : { time }),
    ...(targets.length === 0 ? {} : { target: targets.length === 1 ? targets[0]! : [...targets] }),
    ...(id === "" ? {} : { id }),
    ...(seasonalPeriod === undefined ? {} : { seasonalPeriod }),
  };
}

/** The options of `forecast()`, without the table. */
export function optionsOf(settings: ForecastSettings) {
  const { horizon, model, levels } = settings;
  return { horizon, ...(model === "auto" ? {} : { model }), levels: [...levels], ...columnsOf(settings) };
}

export const tableRequestOf = ({ name, text }: GivenTable, settings: ForecastSettings): TableRequest => ({
  ...{ name, text, last: shownSteps },
  ...columnsOf(settings),
});

export const forecastRequestOf = ({ name, text }: GivenTable, settings: ForecastSettings): ForecastRequest => ({
  ...{ name, text, stream: true },
  ...optionsOf(settings),
});

/** Percents out of a text like "80, 95"; undefined where it is none. */
export function parseLevels(text: string): number[] | undefined {
  const parts = text
    .split(/[\s,;]+/)
    .filter((part) => part !== "")
    .map(Number);
  const isRight = parts.every((part) => part > 0 && part < 100) && new Set(parts).size === parts.length && parts.length <= 16;
  return isRight ? parts : undefined;
}
