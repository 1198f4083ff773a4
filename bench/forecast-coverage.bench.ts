/**
 * How often intervals made from the train part of M4 hourly (CHAINRULE_DATA) cover its test part, 48 steps: those of seasonal naive, of ridge, of
 * theta, and of what `auto` chooses, conformal and, where a model has them, its own. Writes the table of docs/forecasting.md. Ends with 1 where a pooled coverage of conformal ones is more than 5 points from 80 % or 3 from 95 %.
 *
 *   npm run bench:forecast-coverage                       all 414 series, some minutes
 *   npm run bench:forecast-coverage -- --series 21        a first look, printed only
 *   ... -- --models auto                                  of those named only, printed only
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { FittedTable, forecast, loadTable, type Series, type SeriesForecast } from "../src/forecasting/index.ts";
import { writeBetween } from "./page.ts";

const { values: options } = parseArgs({
  options: { series: { type: "string" }, models: { type: "string", default: "seasonal-naive,ridge,theta,auto" } },
});
const data = process.env.CHAINRULE_DATA;
if (data === undefined) throw new Error("CHAINRULE_DATA is not set: the folder with m4/Hourly-train.csv");
const levels = [
  { level: 80, tolerance: 0.05 },
  { level: 95, tolerance: 0.03 },
] as const;
const horizon = 48;

/** The two parts with every n-th series of both. */
function subset(folder: string, count: number): { train: string; test: string } {
  const [train, test] = ["train", "test"].map((part) => {
    const [header, ...lines] = readFileSync(join(data!, "m4", `Hourly-${part}.csv`), "utf8")
      .trim()
      .split("\n");
    const stride = Math.max(1, Math.floor(lines.length / count));
    const path = join(folder, `${part}.csv`);
    writeFileSync(path, [header, ...lines.filter((_, index) => index % stride === 0)].join("\n"));
    return path;
  });
  return { train: train!, test: test! };
}

const mean = (list: readonly number[]) => list.reduce((sum, one) => sum + one, 0) / list.length;
const percent = (part: number) => `${(100 * part).toFixed(1)} %`;

interface Coverage {
  readonly pooled: number;
  readonly worstStep: number;
  readonly worstTenth: number;
}

function covered(truth: readonly Series[], forecasts: readonly SeriesForecast[], level: number): Coverage {
  const hits = truth.map(({ values }, index) => {
    const [lo, hi] = forecasts[index]!.intervals[level]!;
    return Array.from(values, (value, step) => (value >= lo[step]! && value <= hi[step]! ? 1 : 0));
  });
  const bySeries = hits.map(mean).sort((a, b) => a - b);
  const byStep = Array.from({ length: horizon }, (_, step) => mean(hits.map((one) => one[step]!)));
  return { pooled: mean(byStep), worstStep: Math.min(...byStep), worstTenth: mean(bySeries.slice(0, Math.ceil(bySeries.length / 10))) };
}

const cells = ({ pooled, worstStep, worstTenth }: Coverage) => [pooled, worstStep, worstTenth].map(percent);

const folder = mkdtempSync(join(tmpdir(), "chainrule-coverage-"));
try {
  const parts =
    options.series === undefined
      ? { train: join(data, "m4/Hourly-train.csv"), test: join(data, "m4/Hourly-test.csv") }
      : subset(folder, Number(options.series));
  const { series: truth } = await loadTable(parts.test, { frequency: "hourly" });
  const rows: string[][] = [];
  const missed: string[] = [];
  for (const model of options.models.split(",")) {
    const start = performance.now();
    let said = 0;
    const { fitted, forecasts, chosen, coverage } = await forecast(parts.train, {
      ...{ horizon, model, frequency: "hourly", levels: levels.map(({ level }) => level) },
      onProgress({ stage, model: tried, done, total }) {
        if (performance.now() - said < 20_000) return;
        said = performance.now();
        console.log(`  ${stage} ${tried ?? ""} ${done} of ${total ?? "?"}`);
      },
    });
    const label = model === "auto" ? `\`auto\`: ${chosen.model}` : model;
    const conformal = levels.map(({ level }) => covered(truth, forecasts, level));
    rows.push([`${label}, conformal`, ...conformal.flatMap(cells)]);
    for (const [index, { level, tolerance }] of levels.entries()) {
      const { pooled } = conformal[index]!;
      if (Math.abs(pooled - level / 100) > tolerance) missed.push(`${label}: intervals of ${level} % cover ${percent(pooled)}`);
    }
    const backtest = coverage.map((fact) => `${fact.level} %: ${percent(fact.pooled)}`).join(", ");
    const took = ((performance.now() - start) / 1000).toFixed(0);
    console.log(`${rows.at(-1)!.join(" | ")}  (${took} s; in the backtest ${backtest}; ${chosen.because})`);
    const bare = fitted.series.map(({ calibration: _, ...rest }) => rest);
    const own = new FittedTable(fitted.model, bare, "interpolate").forecast(
      horizon,
      levels.map(({ level }) => level),
    );
    if (own.every(({ intervals }) => levels.every(({ level }) => intervals[level] !== undefined)))
      rows.push([`${label}, its own`, ...levels.flatMap(({ level }) => cells(covered(truth, own, level)))]);
  }
  const header = ["model, intervals", ...levels.flatMap(({ level }) => [`${level} %: pooled`, "worst step", "worst tenth of series"])];
  const table = [header, header.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
  console.log(`\n${table}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
  if (options.series === undefined && options.models === "seasonal-naive,ridge,theta,auto")
    writeBetween("docs/forecasting.md", "<!-- table: npm run bench:forecast-coverage -->", table);
  for (const line of missed) console.error(`missed: ${line}`);
  if (missed.length > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
