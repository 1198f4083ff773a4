import { escapeXml, niceTicks } from "./fan-chart.ts";

const [width, height] = [860, 180];
const margin = { top: 28, right: 16, bottom: 28, left: 64 };

/**
 * Weights by lag as bars, lag 1 on the left: which part of the past a fitted autoregression uses.
 *
 * @param coefficients  [p], finite, p >= 1; lag 1 first
 * @returns a complete `<svg>` element that also stands alone as a file
 */
export function coefficientChart(title: string, coefficients: readonly number[]): string {
  const count = coefficients.length;
  const ticks = niceTicks(Math.min(0, ...coefficients), Math.max(0, ...coefficients), 4);
  const [bottom, top] = [ticks.values[0]!, ticks.values.at(-1)!];
  const y = (value: number) => height - margin.bottom - ((value - bottom) / (top - bottom)) * (height - margin.top - margin.bottom);
  const slot = (width - margin.left - margin.right) / count;
  const x = (lag: number) => margin.left + (lag - 0.5) * slot;
  const labels = [...new Set([1, Math.round(count / 4), Math.round(count / 2), Math.round((3 * count) / 4), count])].filter(
    (lag) => lag > 0,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(`Weights by lag, ${title}`)}" font-family="system-ui, sans-serif" font-size="11">`,
    `<text x="${margin.left}" y="16" font-size="13" font-weight="600" fill="var(--ink, #1b1f24)">${escapeXml(title)}: weight by lag</text>`,
    ...ticks.values.map(
      (value) =>
        `<path d="M${margin.left} ${y(value).toFixed(1)}H${width - margin.right}" stroke="var(--grid, #d8dce2)"/><text x="${margin.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end" fill="var(--soft, #5b6470)">${ticks.label(value)}</text>`,
    ),
    ...coefficients.map((value, index) => {
      const [from, to] = [Math.min(y(0), y(value)), Math.max(y(0), y(value))];
      const bar = Math.max(0.7 * slot, 0.5);
      return `<rect x="${(x(index + 1) - bar / 2).toFixed(2)}" y="${from.toFixed(1)}" width="${bar.toFixed(2)}" height="${(to - from).toFixed(1)}" fill="var(--line, #1d4ed8)"><title>lag ${index + 1}: ${value.toPrecision(3)}</title></rect>`;
    }),
    ...labels.map(
      (lag) =>
        `<text x="${x(lag).toFixed(1)}" y="${height - 8}" text-anchor="middle" fill="var(--soft, #5b6470)">${lag === 1 ? "lag 1" : lag}</text>`,
    ),
    "</svg>",
  ].join("");
}
