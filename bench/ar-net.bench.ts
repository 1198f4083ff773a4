/**
 * What the order costs: AR-Net against least squares on one simulated AR(3) with 20,000 values, orders 10 to 1000. Writes the picture
 * docs/images/ar-net-cost.svg and the table of docs/forecast-models.md.
 *
 *   npm run bench:ar-net
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { arNet, autoregression } from "../src/forecasting/models/index.ts";
import { normalSampler } from "../src/forecasting/models/normal-sampler.ts";
import type { Forecaster, ParameterValues } from "../src/forecasting/types.ts";

const orders = [10, 30, 100, 300, 1000];
const normal = normalSampler(1);
const values = new Float64Array(20_000);
for (let t = 3; t < values.length; t++) values[t] = 0.2 * values[t - 1]! + 0.3 * values[t - 2]! - 0.5 * values[t - 3]! + normal();

function seconds(model: Forecaster, parameters: ParameterValues): number {
  const start = performance.now();
  model.fit([{ values, seasonalPeriod: 1 }], { horizon: 1 }, parameters);
  return (performance.now() - start) / 1000;
}

seconds(autoregression, { order: 10 }); // warm-up
seconds(arNet, { order: 10, epochs: 1 });
const rows = orders.map((order) => {
  // short fits are repeated, the fastest counts: a shared machine only ever adds time
  const repeats = order < 300 ? 5 : 1;
  const best = (model: Forecaster, parameters: ParameterValues) =>
    Math.min(...Array.from({ length: repeats }, () => seconds(model, parameters)));
  const row = { order, leastSquares: best(autoregression, { order }), arNet: best(arNet, { order, sparsity: 3 / order }) };
  console.log(`order ${order}: least squares ${row.leastSquares.toFixed(3)} s, AR-Net ${row.arNet.toFixed(3)} s`);
  return row;
});

const [width, height] = [560, 320];
const margin = { top: 30, right: 120, bottom: 36, left: 56 };
const all = rows.flatMap((row) => [row.leastSquares, row.arNet]);
const [low, high] = [Math.floor(Math.log10(Math.min(...all))), Math.ceil(Math.log10(Math.max(...all)))];
const x = (order: number) => margin.left + ((Math.log10(order) - 1) / 2) * (width - margin.left - margin.right);
const y = (time: number) => height - margin.bottom - ((Math.log10(time) - low) / (high - low)) * (height - margin.top - margin.bottom);
const line = (key: "leastSquares" | "arNet", color: string, label: string) => {
  const path = rows.map((row, i) => `${i === 0 ? "M" : "L"}${x(row.order).toFixed(1)},${y(row[key]).toFixed(1)}`).join("");
  const last = rows.at(-1)!;
  const dots = rows.map((row) => `<circle cx="${x(row.order).toFixed(1)}" cy="${y(row[key]).toFixed(1)}" r="3" fill="${color}"/>`).join("");
  return `<path d="${path}" fill="none" stroke="${color}" stroke-width="2"/>${dots}<text x="${(x(last.order) + 8).toFixed(1)}" y="${(y(last[key]) + 4).toFixed(1)}" fill="${color}">${label}</text>`;
};
const decades = Array.from({ length: high - low + 1 }, (_, i) => low + i);
writeFileSync(
  "docs/images/ar-net-cost.svg",
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>Seconds of a fit by order</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${margin.left}" y="18" font-weight="600" fill="#1b1f24">Seconds of a fit by order (20,000 values, both axes logarithmic)</text>`,
    ...decades.map(
      (power) =>
        `<path d="M${margin.left} ${y(10 ** power).toFixed(1)}H${width - margin.right}" stroke="#d8dce2"/><text x="${margin.left - 6}" y="${(y(10 ** power) + 4).toFixed(1)}" text-anchor="end" fill="#5b6470">${10 ** power} s</text>`,
    ),
    ...orders.map((order) => `<text x="${x(order).toFixed(1)}" y="${height - 12}" text-anchor="middle" fill="#5b6470">${order}</text>`),
    line("leastSquares", "#b45309", "least squares"),
    line("arNet", "#1d4ed8", "AR-Net"),
    "</svg>\n",
  ].join(""),
);

const cells = (values_: readonly string[]) => `| ${values_.join(" | ")} |`;
const table = [
  cells(["order", ...orders.map(String)]),
  cells(["---", ...orders.map(() => "---")]),
  cells(["least squares, seconds", ...rows.map((row) => row.leastSquares.toFixed(3))]),
  cells(["AR-Net, seconds", ...rows.map((row) => row.arNet.toFixed(3))]),
  cells(["AR-Net / least squares", ...rows.map((row) => (row.arNet / row.leastSquares).toFixed(2))]),
].join("\n");
const [from, to] = ["<!-- table: npm run bench:ar-net -->", "<!-- end of table -->"];
const page = readFileSync("docs/forecast-models.md", "utf8");
const start = page.indexOf(from) + from.length;
const [before, rest] = [page.slice(0, start), page.slice(page.indexOf(to, start))];
writeFileSync("docs/forecast-models.md", `${before}\n\n${table}\n\n${rest}`);
execFileSync("npx", ["biome", "check", "--write", "docs/forecast-models.md"], { stdio: "ignore" });
console.log(`\n${table}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
