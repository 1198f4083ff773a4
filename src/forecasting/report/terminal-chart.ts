import { type FanChart, niceTicks } from "./fan-chart.ts";

/**
 * A fan chart as lines of text: history as dots, point forecast as filled ones, the widest interval as a light and the narrowest as a darker ground. Series with more steps than
 * columns are thinned.
 *
 * @param columns  of the whole picture, >= 30
 * @param rows     of the values, >= 3
 */
export function terminalChart({ title, history, forecast }: FanChart, columns = 80, rows = 12): string {
  const bands = Object.entries(forecast.intervals)
    .sort(([a], [b]) => Number(b) - Number(a))
    .map(([, bounds]) => bounds);
  const all = [...history.values, ...forecast.mean, ...bands.flatMap(([lo, hi]) => [...lo, ...hi])].filter(Number.isFinite);
  const ticks = niceTicks(Math.min(...all), Math.max(...all), 4);
  const [bottom, top] = [ticks.values[0]!, ticks.values.at(-1)!];
  // halves before differences: the ends of the axis may be as far apart as doubles go
  const rowOf = (value: number) => Math.round((1 - (value / 2 - bottom / 2) / (top / 2 - bottom / 2 || 1)) * (rows - 1));
  const labels = new Map(ticks.values.map((value) => [rowOf(value), ticks.label(value)]));
  const margin = Math.max(...[...labels.values()].map(({ length }) => length)) + 2;
  const past = history.values.length;
  const count = past + forecast.mean.length;
  const width = Math.max(1, Math.min(count, columns - margin));
  const grid = Array.from({ length: rows }, () => new Array<string>(width).fill(" "));
  const put = (value: number | undefined, column: number, mark: string) => {
    if (value !== undefined && Number.isFinite(value)) grid[rowOf(value)]![column] = mark;
  };
  for (let column = 0; column < width; column++) {
    const index = width === 1 ? 0 : Math.round((column * (count - 1)) / (width - 1));
    const step = index - past;
    if (step < 0) {
      put(history.values[index], column, "·");
      continue;
    }
    bands.forEach(([lo, hi], order) => {
      const ground = order === bands.length - 1 && order > 0 ? "▒" : "░";
      for (let row = rowOf(hi[step]!); row <= rowOf(lo[step]!); row++) grid[row]![column] = ground;
    });
    put(forecast.mean[step], column, "●");
  }
  const [first, last] = [history.time[0] ?? forecast.time[0] ?? "", forecast.time.at(-1) ?? ""];
  const axis = `${first}${" ".repeat(Math.max(1, width - first.length - last.length))}${last}`;
  return [
    title,
    ...grid.map((cells, row) => `${(labels.get(row) ?? "").padStart(margin - 2)} ┤${cells.join("").trimEnd()}`),
    `${" ".repeat(margin)}${axis}`,
  ].join("\n");
}
