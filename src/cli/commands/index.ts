import type { Command } from "commander";
import { backtestCommand, explainForecastCommand, forecastCommand } from "./forecast.ts";
import { inspect } from "./inspect.ts";
import { models } from "./models.ts";
import { pull } from "./pull.ts";

/** Every command of the program, one file each, in the order in which help lists them. */
export const commands: readonly Command[] = [pull, models, inspect, forecastCommand, backtestCommand, explainForecastCommand];
