import type { SeriesForecast } from "../fitted-table.ts";

/*
 * A fan chart as SVG text: history, point forecast and one band per level. Written by hand: it is four paths and two axes, while the
 * plotting libraries need a DOM on the server and weigh more than all of forecasting.
 */

export interface FanChart {
  readonly title: string;
  /** Last steps of the history with their times; NaN leaves a hole in the line. */
  readonly history: { readonly time: readonly string[]; readonly values: readonly number[] };
  readonly forecast: Pick<SeriesForecast, "time" | "mean" | "intervals">;
}

const [width, height] = [860, 280];
const margin = { top: 28, right: 16, bottom: 28, left: 64 };

/** A complete `<svg>` element; its colours come from CSS variables with fallbacks, so that it also stands alone as a file. */
export function fanChart({ title, history, forecast }: FanChart): string {
  const bands = Object.entries(forecast.intervals).sort(([a], [b]) => Number(b) - Number(a));
  const all = [...history.values, ...forecast.mean, ...bands.flatMap(([, [lo, hi]]) => [...lo, ...hi])].filter(Number.isFinite);
  const ticks = niceTicks(Math.min(...all), Math.max(...all), 5);
  const [bottom, top] = [ticks.values[0]!, ticks.values.at(-1)!];
  const count = history.values.length + forecast.mean.length;
  const x = (index: number) => margin.left + (count === 1 ? 0.5 : index / (count - 1)) * (width - margin.left - margin.right);
  // Halves before differences: the ends of the axis may be as far apart as doubles go.
  const y = (value: number) =>
    height - margin.bottom - ((value / 2 - bottom / 2) / (top / 2 - bottom / 2 || 1)) * (height - margin.top - margin.bottom);
  const at = (index: number, value: number) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
  const start = history.values.length;
  const line = (values: readonly number[], offset: number) => {
    let path = "";
    let isDown = false;
    values.forEach((value, index) => {
      if (Number.isFinite(value)) path += `${isDown ? "L" : "M"}${at(offset + index, value)}`;
      isDown = Number.isFinite(value);
    });
    return path;
  };
  const band = (lo: readonly number[], hi: readonly number[]) =>
    `${line(hi, start)}${[...lo]
      .map((value, index) => ({ value, index }))
      .reverse()
      .map(({ value, index }) => `L${at(start + index, value)}`)
      .join("")}Z`;
  const times = [...history.time, ...forecast.time];
  const labels = count < 2 ? [0] : [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * (count - 1)));
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(`Forecast of ${title}`)}" font-family="system-ui, sans-serif" font-size="11">`,
    `<title>${escapeXml(title)}</title>`,
    `<text x="${margin.left}" y="16" font-size="13" font-weight="600" fill="var(--ink, #1b1f24)">${escapeXml(title)}</text>`,
    ...ticks.values.map(
      (value) =>
        `<path d="M${margin.left} ${y(value).toFixed(1)}H${width - margin.right}" stroke="var(--grid, #d8dce2)"/><text x="${margin.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end" fill="var(--soft, #5b6470)">${ticks.label(value)}</text>`,
    ),
    ...[...new Set(labels)].map(
      (index, order, list) =>
        `<text x="${x(index).toFixed(1)}" y="${height - 8}" text-anchor="${list.length === 1 ? "middle" : order === 0 ? "start" : order === list.length - 1 ? "end" : "middle"}" fill="var(--soft, #5b6470)">${escapeXml(times[index]!)}</text>`,
    ),
    ...bands.map(
      ([level, [lo, hi]]) =>
        `<path d="${band(lo, hi)}" fill="var(--band, #2563eb)" fill-opacity="0.18"><title>${level} % interval</title></path>`,
    ),
    `<path d="${line(history.values, 0)}" fill="none" stroke="var(--ink, #1b1f24)" stroke-width="1.3"/>`,
    `<path d="${line([...history.values.slice(-1), ...forecast.mean], start - Math.min(1, start))}" fill="none" stroke="var(--line, #1d4ed8)" stroke-width="1.8"/>`,
    "</svg>",
  ];
  return parts.join("");
}

/** Round values that enclose [low, high], about `count` of them, and how to write them. */
export function niceTicks(low: number, high: number, count: number): { values: readonly number[]; label: (value: number) => string } {
  const span = Math.max(1e-300, high / count - low / count || Math.abs(low) / count || 1); // below, powers of ten lose their digits
  const power = 10 ** Math.floor(Math.log10(span));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= span) ?? 10 * power;
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  const values = Array.from({ length: Math.min(20, last - first + 1) }, (_, index) =>
    Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, (first + index) * step)),
  );
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  const largest = Math.max(Math.abs(values[0]!), Math.abs(values.at(-1)!));
  const label = (value: number) =>
    largest >= 1e7 || decimals > 6
      ? value.toExponential(1)
      : value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return { values, label };
}

export function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replaceAll(/[&<>"']/g, (char) => entities[char]!);
}
