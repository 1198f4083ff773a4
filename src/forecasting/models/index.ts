import type { Forecaster } from "../types.ts";
import { ets } from "./ets.ts";
import { drift, naive, seasonalNaive, windowMean } from "./naive.ts";

/** All methods by the name that options, tables and saved files use. */
export const forecasters = {
  naive,
  "seasonal-naive": seasonalNaive,
  drift,
  "window-mean": windowMean,
  ets,
} as const satisfies Readonly<Record<string, Forecaster>>;

export type ForecasterName = keyof typeof forecasters;
export { drift, ets, naive, seasonalNaive, windowMean };
