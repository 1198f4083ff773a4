/**
 * What the order costs: AR-Net against least squares on one simulated AR(3) with 20,000 values, orders 10 to 1000. Writes the picture
 * docs/images/ar-net-cost.svg and the table of docs/forecast-models.md.
 *
 *   npm run bench:ar-net
 *   npm run bench:ar-net -- --picture     draws the picture again from the table
 */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { arNet, autoregression } from "../src/forecasting/models/index.ts";
import { normalSampler } from "../src/forecasting/models/normal-sampler.ts";
import type { Forecaster, ParameterValues } from "../src/forecasting/types.ts";
import { writeBetween } from "./page.ts";

const orders = [10, 30, 100, 300, 1000];
const normal = normalSampler(1);
const values = new Float64Array(20_000);
for (let t = 3; t < values.length; t++) values[t] = 0.2 * values[t - 1]! + 0.3 * values[t - 2]! - 0.5 * values[t - 3]! + normal();

function seconds(model: Forecaster, parameters: ParameterValues): number {
  const start = performance.now();
  model.fit([{ values, seasonalPeriod: 1 }], { horizon: 1 }, parameters);
  return (performance.now() - start) / 1000;
}

interface Row {
  readonly order: number;
  readonly leastSquares: number;
  readonly arNet: number;
}

function measured(): readonly Row[] {
  seconds(autoregression, { order: 10 }); // warm-up
  seconds(arNet, { order: 10, epochs: 1 });
  return orders.map((order) => {
    // fits are repeated, the fastest counts: a shared machine only ever adds time; least squares of large orders take minutes
    const best = (model: Forecaster, parameters: ParameterValues, repeats: number) =>
      Math.min(...Array.from({ length: repeats }, () => seconds(model, parameters)));
    const row = {
      order,
      leastSquares: best(autoregression, { order }, order < 300 ? 5 : 1),
      arNet: best(arNet, { order, sparsity: 3 / order }, order < 300 ? 5 : 3),
    };
    console.log(`order ${order}: least squares ${row.leastSquares.toFixed(3)} s, AR-Net ${row.arNet.toFixed(3)} s`);
    return row;
  });
}

/** The rows of the page's table. */
function written(): readonly Row[] {
  const page = readFileSync("docs/forecast-models.md", "utf8");
  const start = page.indexOf("<!-- table: npm run bench:ar-net -->");
  const lines = page.slice(start, page.indexOf("<!-- end of table -->", start)).split("\n");
  const numbers = (name: string) => {
    const line = lines.find((one) => one.startsWith(`| ${name} `));
    if (line === undefined) throw new Error(`the table has no line ${name}`);
    return line.split("|").slice(2, -1).map(Number);
  };
  const [leastSquares, own] = [numbers("least squares, seconds"), numbers("AR-Net, seconds")];
  return numbers("order").map((order, i) => ({ order, leastSquares: leastSquares[i]!, arNet: own[i]! }));
}

const isPicture = process.argv.includes("--picture");
const rows = isPicture ? written() : measured();

const width = 560;
const margin = { right: 140, left: 56 };
const x = (order: number) => margin.left + ((Math.log10(order) - 1) / 2) * (width - margin.left - margin.right);

interface Line {
  readonly values: readonly number[];
  readonly color: string;
  readonly label: string;
}

/** Curves over the orders between two heights, both axes logarithmic. */
function panel(title: string, unit: string, [top, bottom]: readonly [number, number], lines: readonly Line[]): string {
  const all = lines.flatMap(({ values }) => values).map(Math.log10);
  const [low, high] = [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))];
  const y = (value: number) => bottom - ((Math.log10(value) - low) / (high - low)) * (bottom - top);
  const decades = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  return [
    `<text x="${margin.left}" y="${top - 12}" font-weight="600" fill="#1b1f24">${title}</text>`,
    ...decades.map(
      (power) =>
        `<path d="M${margin.left} ${y(10 ** power).toFixed(1)}H${width - margin.right}" stroke="#d8dce2"/><text x="${margin.left - 6}" y="${(y(10 ** power) + 4).toFixed(1)}" text-anchor="end" fill="#5b6470">${10 ** power}${unit}</text>`,
    ),
    ...orders.map((order) => `<text x="${x(order).toFixed(1)}" y="${bottom + 22}" text-anchor="middle" fill="#5b6470">${order}</text>`),
    ...lines.map(({ values, color, label }) => {
      const path = rows.map(({ order }, i) => `${i === 0 ? "M" : "L"}${x(order).toFixed(1)},${y(values[i]!).toFixed(1)}`).join("");
      const dots = rows.map(
        ({ order }, i) => `<circle cx="${x(order).toFixed(1)}" cy="${y(values[i]!).toFixed(1)}" r="3" fill="${color}"/>`,
      );
      return `<path d="${path}" fill="none" stroke="${color}" stroke-width="2"/>${dots.join("")}<text x="${(x(rows.at(-1)!.order) + 8).toFixed(1)}" y="${(y(values.at(-1)!) + 4).toFixed(1)}" fill="${color}">${label}</text>`;
    }),
  ].join("");
}

const [leastSquares, own] = [rows.map((row) => row.leastSquares), rows.map((row) => row.arNet)];
writeFileSync(
  "docs/images/ar-net-cost.svg",
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} 520" font-family="system-ui, sans-serif" font-size="12">`,
    "<title>Seconds of a fit by order, and their ratio</title>",
    `<rect width="${width}" height="520" fill="#ffffff"/>`,
    panel(
      "Seconds of a fit by order (20,000 values, both axes logarithmic)",
      " s",
      [30, 284],
      [
        { values: leastSquares, color: "#b45309", label: "least squares" },
        { values: own, color: "#1d4ed8", label: "AR-Net" },
      ],
    ),
    panel(
      "Time of AR-Net over time of least squares",
      "x",
      [350, 484],
      [{ values: own.map((time, i) => time / leastSquares[i]!), color: "#15803d", label: "ratio" }],
    ),
    "</svg>\n",
  ].join(""),
);
if (isPicture) process.exit(0);

const cells = (values_: readonly string[]) => `| ${values_.join(" | ")} |`;
const table = [
  cells(["order", ...orders.map(String)]),
  cells(["---", ...orders.map(() => "---")]),
  cells(["least squares, seconds", ...rows.map((row) => row.leastSquares.toFixed(3))]),
  cells(["AR-Net, seconds", ...rows.map((row) => row.arNet.toFixed(3))]),
  cells(["AR-Net / least squares", ...rows.map((row) => (row.arNet / row.leastSquares).toFixed(2))]),
].join("\n");
writeBetween("docs/forecast-models.md", "<!-- table: npm run bench:ar-net -->", table);
console.log(`\n${table}\n\nNode ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}, load ${loadavg()[0]!.toFixed(1)}`);
