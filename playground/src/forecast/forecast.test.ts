import Papa from "papaparse";
import { expect, test } from "vitest";
import { forecastRequest, tableRequest } from "../../../src/server/forecast-schemas.ts";
import { commandForecast, curlForecast, typescriptForecast } from "./code.ts";
import { forecastCsv } from "./csv.ts";
import { exampleTable } from "./example.ts";
import { cropped, layoutFan, readable, roundValues } from "./fan.ts";
import { defaultForecastSettings, forecastRequestOf, parseLevels, tableRequestOf } from "./settings.ts";

const table = { name: "it's.csv", text: "day,sold\n2024-01-01,1\n" };
const settings = { ...defaultForecastSettings, horizon: 3, model: "theta", time: "day", targets: ["sold", "kept"], seasonalPeriod: 7 };
const forecast = {
  series: 'north, "old"',
  time: ["2024-01-02", "2024-01-03"],
  mean: [1.5, -2],
  intervals: { "80": [[1, -3] as number[], [2, -1] as number[]], "95": [[0, -4] as number[], [3, 0] as number[]] },
} as const;

test("requests are ones that the server's schemas take as they stand", () => {
  for (const one of [settings, defaultForecastSettings]) {
    const [whole, read] = [forecastRequestOf(table, one), tableRequestOf(table, one)];
    expect(forecastRequest.parse(whole)).toEqual(whole);
    expect(tableRequest.parse(read)).toEqual(read);
  }
  expect(forecastRequestOf(table, defaultForecastSettings)).toEqual({ ...table, stream: true, horizon: 12, levels: [80, 95] });
});

test("code that gives the forecast again says what was set, and quotes names", () => {
  expect(typescriptForecast(table, settings)).toContain('await forecast("it\'s.csv", {\n  horizon: 3,\n  model: "theta",');
  expect(commandForecast(table, settings)).toBe(
    "chainrule forecast 'it'\\''s.csv' --horizon 3 --model theta --time day --target sold,kept --levels 80,95 --season 7 --json\n",
  );
  expect(curlForecast(table, settings, "http://x", true)).toContain("/v1/forecasts -H 'content-type: application/json' -H \"authorization");
});

test("CSV has a row per step that a reader takes apart again", () => {
  const { data } = Papa.parse<string[]>(forecastCsv([forecast]).trim());
  expect(data).toEqual([
    ["series", "time", "mean", "lo 80", "hi 80", "lo 95", "hi 95"],
    ['north, "old"', "2024-01-02", "1.5", "1", "2", "0", "3"],
    ['north, "old"', "2024-01-03", "-2", "-3", "-1", "-4", "0"],
  ]);
});

test("the fan begins at the last value, widest band first, and finds the step under a pointer", () => {
  const past = { series: "", time: ["a", "b", "c"], values: [1, null, 2] };
  const fan = layoutFan(past, forecast, { width: 400, height: 300 });
  expect(fan.bands.map(({ level }) => level)).toEqual(["95", "80"]);
  const start = `M${fan.x(2).toFixed(1)} ${fan.y(2).toFixed(1)}`;
  expect(fan.mean.startsWith(start)).toBe(true);
  for (const { path } of fan.bands) expect([path.startsWith(start), path.endsWith("Z")]).toEqual([true, true]);
  expect(fan.history.match(/M/g)).toHaveLength(2); // a hole where a value is missing
  for (let step = 0; step < 5; step++) expect(fan.stepAt(fan.x(step) + 3)).toBe(step);
  expect([fan.stepAt(-50), fan.stepAt(9999)]).toEqual([0, 4]);
});

test("axes have round values that enclose everything, whatever its size", () => {
  expect(roundValues(-4, 3)).toEqual([-4, -2, 0, 2, 4]);
  for (const [low, high] of [
    [0, 0],
    [5, 5],
    [1e-300, 2e-300],
    [-1.7e308, 1.7e308],
    [104, 622],
    [-3, -3],
  ] as const) {
    const values = roundValues(low, high);
    expect(values.length).toBeLessThan(14);
    expect(values.every(Number.isFinite)).toBe(true);
    expect([values[0]! <= low, values.at(-1)! >= high]).toEqual([true, true]);
  }
});

test("levels are percents, each once; numbers are shown with the digits that count", () => {
  expect([parseLevels("80, 95"), parseLevels("50;99.5"), parseLevels("")]).toEqual([[80, 95], [50, 99.5], []]);
  for (const wrong of ["0", "100", "x", "80 80"]) expect(parseLevels(wrong)).toBeUndefined();
  expect([readable(123456), readable(12.345), readable(0.00001), readable(null)]).toEqual(["123,456", "12.35", "1.00e-5", "–"]);
});

test("the example is twelve years of months", () => {
  const lines = exampleTable.text.trim().split("\n");
  expect([lines.length, lines[1], lines.at(-1)]).toEqual([145, "1949-01,112", "1960-12,432"]);
  const values = lines.slice(1).map((line) => Number(line.split(",")[1]));
  expect(cropped({ series: "", time: lines, values }, 12).values).toHaveLength(60);
});
