import type { Forecaster, TrainedForecaster } from "../types.ts";
import { arNet } from "./ar-net.ts";
import { autoregression } from "./autoregression.ts";
import { autotimes, inContext } from "./autotimes.ts";
import { ets } from "./ets.ts";
import { drift, naive, seasonalNaive, windowMean } from "./naive.ts";
import { ridge } from "./ridge.ts";
import { spacetime } from "./spacetime.ts";
import { theta } from "./theta.ts";
import { timeLlm } from "./time-llm.ts";

/** All methods by the name that options, tables and saved files use. */
export const forecasters = {
  naive,
  "seasonal-naive": seasonalNaive,
  drift,
  "window-mean": windowMean,
  ar: autoregression,
  "ar-net": arNet,
  ets,
  theta,
  ridge,
  spacetime,
  autotimes,
  "time-llm": timeLlm,
} as const satisfies Readonly<Record<string, Forecaster | TrainedForecaster>>;

export type ForecasterName = keyof typeof forecasters;
export { arNet, autoregression, autotimes, drift, ets, inContext, naive, ridge, seasonalNaive, spacetime, theta, timeLlm, windowMean };
