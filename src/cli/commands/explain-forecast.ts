import type { Command } from "commander";
import { describeBacktest, type ForecastResult, forecast } from "../../forecasting/index.ts";
import { addForecastOptions, type ForecastFlags, runForecast } from "../forecast-options.ts";

/** Which model was fitted to every series of a table, with its parameters and where its intervals come from. */
export function explainForecast(command: Command): Command {
  return addForecastOptions(command)
    .option("--json", "print one object: understood, chosen, coverage, notes, series")
    .action(async (path: string | undefined, options: ForecastFlags) => {
      const result = await runForecast(options, (rest) => forecast(path ?? "-", rest));
      const series = explain(result);
      if (options.json) {
        const { understood, chosen, coverage, notes } = result;
        process.stdout.write(`${JSON.stringify({ understood, chosen, coverage, notes, series })}\n`);
        return;
      }
      const lines = series.map(({ id, description, intervals, parameters }) => {
        const shown = Object.entries(parameters).map(
          ([name, value]) =>
            `  ${name} ${typeof value === "object" ? `[${value.map(short).join(", ")}]` : typeof value === "number" ? short(value) : value}`,
        );
        return [`${id === "" ? "series" : id}: ${description}; intervals from ${intervals}`, ...shown].join("\n");
      });
      process.stdout.write(`${describeBacktest(result)}\n\n${lines.join("\n")}\n`);
    });
}

const short = (value: number) => String(Number(value.toPrecision(6)));

function explain({ fitted }: ForecastResult) {
  return fitted.series.map(({ id, fitted: { description, parameters }, calibration }) => {
    const source = { series: "its own backtest errors", pooled: "the backtest errors of all series" };
    return {
      id,
      description,
      parameters,
      intervals: calibration === undefined ? "the model's own distribution, if it has one" : source[calibration.source],
    };
  });
}
