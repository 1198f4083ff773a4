import { writeFile } from "node:fs/promises";
import { Command } from "commander";
import {
  backtest,
  describeBacktest,
  describeForecasts,
  forecast,
  htmlReport,
  shownHistory,
  terminalChart,
} from "../../forecasting/index.ts";
import { addForecastOptions, type ForecastFlags, runForecast } from "../forecast-options.ts";

export const forecastCommand = addForecastOptions(new Command("forecast"))
  .description("forecasts the series of a table, with intervals")
  .option("--html <file>", "write a report with pictures")
  .option("--save <file>", "write the fitted models as JSON (chainrule/forecasting loads and updates them)")
  .option("--json", "print one object: understood, chosen, coverage, notes, forecasts")
  .addHelpText("after", "\nExample:\n  $ chainrule forecast sales.csv --horizon 28 --html report.html")
  .action(async (path: string | undefined, options: ForecastFlags) => {
    const result = await runForecast(options, (rest) => forecast(path ?? "-", rest));
    if (options.html !== undefined) await writeFile(options.html, htmlReport(result));
    if (options.save !== undefined) await writeFile(options.save, `${JSON.stringify(result.fitted)}\n`);
    if (options.json) {
      const { series: _, fitted: __, ...answer } = result;
      process.stdout.write(`${JSON.stringify(answer)}\n`);
      return;
    }
    const [first] = result.forecasts;
    const picture =
      first === undefined ? "" : `${terminalChart(shownHistory(result, first), Math.min(process.stdout.columns ?? 80, 120))}\n\n`;
    process.stdout.write(`${describeBacktest(result)}\n\n${picture}${describeForecasts(result.forecasts)}\n`);
  });

export const backtestCommand = addForecastOptions(new Command("backtest"))
  .description("tries the models on the past of a table's series and says which is best, and how well its intervals cover")
  .option("--json", "print one object: understood, chosen, coverage, notes")
  .addHelpText("after", "\nExample:\n  $ chainrule backtest sales.csv --horizon 28 --windows 10 --refit 1")
  .action(async (path: string | undefined, options: ForecastFlags) => {
    const result = await runForecast(options, (rest) => backtest(path ?? "-", rest));
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${describeBacktest(result)}\n`);
  });
