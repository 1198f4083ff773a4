import type { Command } from "commander";
import { backtestCommand, explainForecastCommand, forecastCommand } from "./forecast.ts";
import { models } from "./models.ts";
import { pull } from "./pull.ts";

/** Every command of the program, one file each, in the order in which help lists them. */
export const commands: readonly Command[] = [pull, models, forecastCommand, backtestCommand, explainForecastCommand];
