import type { Metrics } from "./trainer.ts";

const [width, height] = [860, 260];
const margin = { top: 28, right: 16, bottom: 28, left: 64 };

/** Of a run with many looks the last ones. */
const shownSamples = 12;

interface Curve {
  readonly label: string;
  readonly color: string;
  readonly points: readonly (readonly [step: number, value: number])[];
}

type Points = Curve["points"];

const pointsOf = (metrics: readonly Metrics[], value: (line: Metrics) => number | undefined): Points =>
  metrics.flatMap((line): [number, number][] => {
    const y = value(line);
    return y === undefined ? [] : [[line.step, y]];
  });

/** A run's losses as an SVG picture. */
export const lossCurve = (metrics: readonly Metrics[]): string =>
  chart("Loss, nats per token", [
    { label: "training", color: "#2563a8", points: pointsOf(metrics, ({ loss }) => loss) },
    { label: "held out", color: "#c2410c", points: pointsOf(metrics, ({ validationLoss }) => validationLoss) },
  ]);

/**
 * A run's curves as one HTML file that loads nothing else.
 * @param refreshSeconds  of a run that goes on: how often a browser that shows it reads it again
 */
export function trainingReport(title: string, metrics: readonly Metrics[], refreshSeconds?: number): string {
  const last = metrics.at(-1);
  const single = (heading: string, label: string, value: (line: Metrics) => number) =>
    chart(heading, [{ label, color: "#2563a8", points: pointsOf(metrics, value) }]);
  const charts = [
    lossCurve(metrics),
    chart("Share of pairs whose preferred answer has the higher reward", [
      { label: "training", color: "#2563a8", points: pointsOf(metrics, ({ accuracy }) => accuracy) },
      { label: "held out", color: "#c2410c", points: pointsOf(metrics, ({ validationAccuracy }) => validationAccuracy) },
    ]),
    single("Learning rate", "learning rate", ({ learningRate }) => learningRate),
    single("Norm of the gradients before clipping", "norm", ({ gradientNorm }) => gradientNorm),
  ];
  const summary =
    last === undefined
      ? "No step was done."
      : `${last.step} steps, ${last.tokens.toLocaleString("en")} tokens learned, last loss ${last.loss.toFixed(4)}.`;
  const refresh = refreshSeconds === undefined ? "" : `<meta http-equiv="refresh" content="${refreshSeconds}">`;
  const samples = metrics.flatMap(({ step, sample }) => (sample === undefined ? [] : [{ step, ...sample }])).slice(-shownSamples);
  const written =
    samples.length === 0
      ? ""
      : `<h2>What it writes</h2><p>To “${escapeHtml(samples[0]!.prompt)}”, the most probable tokens after each look:</p><ol>${samples
          .reverse()
          .map(({ step, text }) => `<li value="${step}">${escapeHtml(text)}</li>`)
          .join("")}</ol>`;
  const style =
    "body{font:15px system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}svg{width:100%;height:auto}";
  return `<!doctype html><html lang="en"><meta charset="utf-8">${refresh}<title>Training of ${escapeHtml(title)}</title><style>${style}</style><h1>Training of ${escapeHtml(title)}</h1><p>${summary}</p>${charts.join("")}${written}</html>\n`;
}

function chart(title: string, curves: readonly Curve[]): string {
  const all = curves.flatMap(({ points }) => points);
  if (all.length === 0) return "";
  const [left, right] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  const [low, high] = [Math.min(...all.map(([, y]) => y)), Math.max(...all.map(([, y]) => y))];
  const x = (step: number) => margin.left + ((step - left) / (right - left || 1)) * (width - margin.left - margin.right);
  const y = (value: number) => height - margin.bottom - ((value - low) / (high - low || 1)) * (height - margin.top - margin.bottom);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => low + part * (high - low));
  const grid = ticks.map(
    (value) =>
      `<path d="M${margin.left} ${y(value).toFixed(1)}H${width - margin.right}" stroke="#d8dce2"/><text x="${margin.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end" fill="#5b6470">${Number(value.toPrecision(3))}</text>`,
  );
  const lines = curves
    .filter(({ points }) => points.length > 0)
    .map(({ color, points }) => {
      const path = points.map(([step, value], i) => `${i === 0 ? "M" : "L"}${x(step).toFixed(1)},${y(value).toFixed(1)}`).join("");
      return `<path d="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`;
    });
  const legend = curves.map(
    ({ label, color }, i) => `<text x="${width - margin.right - 90 * (curves.length - i)}" y="16" fill="${color}">${label}</text>`,
  );
  const ends = `<text x="${margin.left}" y="${height - 8}" fill="#5b6470">step ${left}</text><text x="${width - margin.right}" y="${height - 8}" text-anchor="end" fill="#5b6470">step ${right}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="11"><text x="${margin.left}" y="16" font-size="13" font-weight="600">${title}</text>${grid.join("")}${lines.join("")}${legend.join("")}${ends}</svg>`;
}

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]!);
