import type { SeriesForecast } from "./wire.ts";

/** Forecasts as CSV (RFC 4180), a row per series and step, with the bounds of every level. */
export function forecastCsv(forecasts: readonly SeriesForecast[]): string {
  const levels = [...new Set(forecasts.flatMap(({ intervals }) => Object.keys(intervals)))];
  const header = ["series", "time", "mean", ...levels.flatMap((level) => [`lo ${level}`, `hi ${level}`])];
  const rows = forecasts.flatMap(({ series, time, mean, intervals }) =>
    time.map((at, step) => [
      series,
      at,
      String(mean[step]),
      ...levels.flatMap((level) => (intervals[level] ?? [[], []]).map((bound) => (bound[step] === undefined ? "" : String(bound[step])))),
    ]),
  );
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
