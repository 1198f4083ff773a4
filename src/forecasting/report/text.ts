import type { SeriesForecast } from "../fitted-table.ts";
import type { BacktestResult, CoverageFact } from "../forecast.ts";

/** Rows as columns of equal width; the first column is text, the others are numbers. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** A number with about four significant digits. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(3);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

export function formatPercent(part: number): string {
  return Number.isFinite(part) ? `${(100 * part).toFixed(1)} %` : "-";
}

/** The rows by which the model was chosen, with a header. */
export function scoreRows({ chosen }: BacktestResult): readonly (readonly string[])[] {
  return [
    ["model", "MASE", "sMAPE", "MAE", "MSE", "WQL", "conf. WQL", "skill", "windows", "series"],
    ...chosen.table.map((row) => [
      `${row.model}${row.model === chosen.model ? " *" : ""}`,
      ...[row.mase, row.smape, row.mae, row.mse, row.wql ?? Number.NaN, row.conformalWql ?? Number.NaN].map(formatNumber),
      formatPercent(row.skill),
      String(row.windows),
      String(row.series),
    ]),
  ];
}

export function describeCoverage(fact: CoverageFact): string {
  const { level, pooled, worstStep, worstTenthOfSeries, values } = fact;
  return `${level} % intervals covered ${formatPercent(pooled)} of ${values.toLocaleString("en")} later values (worst step ${worstStep.step}: ${formatPercent(worstStep.coverage)}; worst tenth of the series: ${formatPercent(worstTenthOfSeries)})`;
}

/** What was chosen and why, the table, the coverage and the notes. */
export function describeBacktest(result: BacktestResult): string {
  const table =
    result.chosen.table.length === 0
      ? []
      : [alignColumns(scoreRows(result)), "* chosen; skill: part of seasonal naive's MASE that is saved"];
  return [
    `model      ${result.chosen.model}: ${result.chosen.because}`,
    ...table,
    ...result.coverage.map((fact) => `coverage   ${describeCoverage(fact)}`),
    ...result.notes.map((note) => `note       ${note}`),
  ].join("\n");
}

/** Forecasts of up to `most` series as a table of text. */
export function describeForecasts(forecasts: readonly SeriesForecast[], most = 5): string {
  const blocks = forecasts.slice(0, most).map(({ series, time, mean, intervals }) => {
    const levels = Object.keys(intervals);
    const header = [series || "time", "forecast", ...levels.flatMap((level) => [`lo ${level}`, `hi ${level}`])];
    const rows = time.map((at, step) => [
      at,
      formatNumber(mean[step]!),
      ...levels.flatMap((level) => intervals[level]!.map((bound) => formatNumber(bound[step]!))),
    ]);
    return alignColumns([header, ...rows]);
  });
  if (forecasts.length > most) blocks.push(`… and ${forecasts.length - most} more series (--json or --html has all)`);
  return blocks.join("\n\n");
}
