import { describeUnderstood } from "../data/index.ts";
import type { ForecastResult } from "../forecast.ts";
import { coefficientChart } from "./coefficient-chart.ts";
import { escapeXml, fanChart } from "./fan-chart.ts";
import { shownHistory } from "./shown-history.ts";
import { describeCoverage, scoreRows } from "./text.ts";

/** Pictures in one page; more make it slow to open. */
const maxCharts = 100;

const style = `
:root { --ink: #1b1f24; --soft: #5b6470; --grid: #d8dce2; --band: #2563eb; --line: #1d4ed8; --paper: #fff; color-scheme: light dark }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --grid: #30363f; --band: #60a5fa; --line: #93c5fd; --paper: #14171b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem } pre { white-space: pre-wrap; color: var(--soft) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--grid) }
th:first-child, td:first-child { text-align: left } tr.chosen { font-weight: 600 } svg { width: 100%; height: auto; margin-top: 1rem }
.scroll { overflow-x: auto }`;

/**
 * The whole answer as one HTML page that needs nothing else: what was understood, the choice with its table, coverage, and a fan chart
 * per series (the first 100), and the weights by lag where the model is an autoregression.
 */
export function htmlReport(result: ForecastResult): string {
  const { understood, chosen, forecasts, fitted } = result;
  const horizon = forecasts[0]?.mean.length ?? 0;
  const title = `Forecast of ${understood.source.name}, ${horizon} steps`;
  const [header, ...rows] = scoreRows(result);
  const row = (cells: readonly string[], tag: string, name = "") =>
    `<tr${name}>${cells.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join("")}</tr>`;
  const charts = forecasts.slice(0, maxCharts).map((forecast) => fanChart(shownHistory(result, forecast)));
  // of an average or a model with covariates the weights are not those of one autoregression: there is no such array
  const weights = fitted.series.slice(0, maxCharts).flatMap(({ id, fitted: { parameters } }) => {
    const { coefficients } = parameters;
    return Array.isArray(coefficients) && coefficients.length > 0 ? [coefficientChart(id || "forecast", coefficients)] : [];
  });
  const notes = [...result.coverage.map(describeCoverage), ...result.notes];
  const left = forecasts.length - charts.length;
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeXml(title)}</title><style>${style}</style></head><body>`,
    `<h1>${escapeXml(title)}</h1>`,
    `<p><strong>${escapeXml(chosen.model)}</strong>: ${escapeXml(chosen.because)}.</p>`,
    ...charts,
    left > 0 ? `<p>${left} more series are not drawn.</p>` : "",
    ...(weights.length === 0 ? [] : ["<h2>What part of the past it uses</h2>", ...weights]),
    "<h2>How the model was chosen</h2>",
    rows.length === 0
      ? ""
      : `<div class="scroll"><table>${row(header!, "th")}${rows.map((cells) => row(cells, "td", cells[0]!.endsWith(" *") ? ' class="chosen"' : "")).join("")}</table></div><p>Rolling origins inside the series; * chosen; skill is the part of seasonal naive's MASE that is saved.</p>`,
    notes.length === 0 ? "" : `<ul>${notes.map((note) => `<li>${escapeXml(note)}</li>`).join("")}</ul>`,
    `<h2>What was understood</h2><pre>${escapeXml(describeUnderstood(understood))}</pre>`,
    "</body></html>\n",
  ].join("\n");
}
