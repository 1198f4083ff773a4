import { type Command, Option } from "commander";
import { OptionError } from "../errors.ts";
import {
  type BacktestOptions,
  describeUnderstood,
  forecasters,
  type ParameterValue,
  type Progress,
  type Understood,
} from "../forecasting/index.ts";
import { hubFromEnvironment } from "../models/index.ts";
import { home } from "./home.ts";
import { interruptible } from "./interrupt.ts";
import { showWork } from "./work-line.ts";

/** What the command line says of a forecast; a command's own three, and those of the library. */
export interface ForecastFlags extends Record<string, unknown> {
  readonly html?: string;
  readonly save?: string;
  readonly json?: boolean;
}

/** Options of the library by the names that they have on the command line. What was understood is printed before anything is fitted. */
export async function runForecast<T>(flags: ForecastFlags, work: (options: BacktestOptions) => Promise<T>): Promise<T> {
  const { html: _, save: __, json, ...rest } = flags;
  const { season, known, fill, missing, parameter, model, time, target, id, ...same } = rest as Record<string, never>;
  const models = (model as string | undefined)?.split(",").map((name) => name.trim());
  const renamed = {
    ...{ seasonalPeriod: season, knownAhead: known, missing: fill, missingValues: missing, parameters: parameter },
    ...{ model: models?.length === 1 ? models[0] : models, time: single(time), target: single(target), id: single(id) },
  };
  const given = Object.fromEntries(Object.entries(renamed).filter(([, value]) => value !== undefined));
  const line = showWork();
  try {
    return await interruptible((signal) =>
      work({
        ...same,
        ...given,
        signal,
        home: home(),
        hub: hubFromEnvironment(process.env),
        onProgress: ({ stage, model, done, total, secondsLeft }: Progress) => {
          const left = secondsLeft === undefined ? "" : `, ${Math.ceil(secondsLeft)} s left,`;
          line.update(`${[stage, model].filter(Boolean).join(" ")}${left}`, done, total);
        },
        onUnderstood(understood: Understood) {
          line.clear();
          (json === true ? process.stderr : process.stdout).write(`${describeUnderstood(understood)}\n\n`);
        },
        onNotice: (notice: string) => process.stderr.write(`${notice}\n`),
      } as never),
    );
  } finally {
    line.clear();
  }
}

const single = (names: readonly string[] | undefined) => (names?.length === 1 ? names[0] : names);

/** Options of every command that forecasts a table, and its file. */
export function addForecastOptions(command: Command): Command {
  const names = (text: string) => text.split(",").map((name) => name.trim());
  const integer = (option: string) => (text: string) => {
    if (!/^\d+$/.test(text)) throw new OptionError(option, `expects a whole number, got "${text}"`);
    return Number(text);
  };
  const numbers = (option: string) => (text: string) =>
    names(text).map((part) => {
      if (part === "" || !Number.isFinite(Number(part)))
        throw new OptionError(option, `expects numbers separated by commas, got "${text}"`);
      return Number(part);
    });
  return command
    .argument("[file]", "CSV, TSV, JSON lines or Parquet, plain or gzipped; - or nothing reads standard input")
    .requiredOption("--horizon <steps>", "steps to forecast", integer("--horizon"))
    .option("--model <names>", `auto, or some of ${Object.keys(forecasters).join(", ")}`, "auto")
    .option("--parameter <name=value>", "a parameter of a single named model; repeat for more", parameter)
    .option("--levels <percents>", "intervals (default: 80,95)", numbers("--levels"))
    .option("--adaptive", "intervals widen after misses and narrow after hits in the backtest; wants many --windows")
    .option("--time <columns>", "column of times; several are year, month or quarter, day", names)
    .option("--target <columns>", "columns to forecast", names)
    .option("--id <columns>", "columns that name the series", names)
    .option("--covariates <columns>", "columns that explain the target, known up to now", names)
    .option("--known <columns>", "columns that explain the target, known ahead: rows with an empty target give the future", names)
    .addOption(
      new Option("--layout <layout>", "a row is a time of a series, a row of several series, or a whole series").choices([
        "long",
        "wide",
        "rows",
      ]),
    )
    .option("--frequency <step>", "hourly, daily, business-daily, weekly, monthly, quarterly, yearly, 15min … (default: inferred)")
    .option("--season <steps>", "steps in the season (default: by the frequency)", integer("--season"))
    .option("--time-zone <name>", "IANA zone of times that name none, such as Europe/Berlin")
    .option("--day-first", "01/02/2020 is the first of February")
    .option("--no-day-first", "01/02/2020 is the second of January")
    .addOption(
      new Option("--duplicates <rule>", "several rows at one step (default: mean)").choices(["mean", "sum", "first", "last", "error"]),
    )
    .addOption(
      new Option("--fill <rule>", "how missing values are filled before fitting (default: interpolate)").choices([
        "interpolate",
        "previous",
        "zero",
      ]),
    )
    .option("--missing <numbers>", "values that mean missing, such as 0 or -999", numbers("--missing"))
    .option("--history <rows>", "latest rows kept of each series (default: 100000)", integer("--history"))
    .addOption(new Option("--format <format>", "of the file (default: seen)").choices(["csv", "tsv", "jsonl", "parquet"]))
    .option("--delimiter <char>", "of CSV (default: seen)")
    .addOption(new Option("--decimal <sign>", "decimal sign (default: seen)").choices([".", ","]))
    .option("--windows <count>", "origins per series in the backtest (default: up to 20)", integer("--windows"))
    .option("--stride <steps>", "steps between origins (default: a quarter of the horizon)", integer("--stride"))
    .option("--refit <n>", "fit again at every n-th origin, 0 never (default: 5)", integer("--refit"))
    .option("--workers <count>", "worker processes (default: one per core for 64 series and more)", integer("--workers"));
}

function parameter(text: string, before: Readonly<Record<string, ParameterValue>> = {}): Readonly<Record<string, ParameterValue>> {
  const [, name, value] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new OptionError("--parameter", `expects name=value, got "${text}"`);
  const parsed =
    value === "true" ? true : value === "false" ? false : value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  return { ...before, [name]: parsed };
}
