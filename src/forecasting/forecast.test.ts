import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, OptionError } from "../errors.ts";
import { type Combination, fitCombination } from "./combination.ts";
import {
  backtest,
  describeBacktest,
  describeForecasts,
  type ForecastResult,
  fanChart,
  forecast,
  htmlReport,
  loadForecasts,
  loadTable,
  terminalChart,
} from "./index.ts";
import { escapeXml, niceTicks } from "./report/fan-chart.ts";

/** Days of a shop with a week, a trend and noise that a formula gives. */
function shop(days: number, seed: number) {
  return Array.from({ length: days }, (_, day) => ({
    date: new Date(Date.UTC(2024, 0, 1 + day)).toISOString().slice(0, 10),
    sales: 100 + 0.5 * day + 20 * Math.sin((2 * Math.PI * day) / 7) + 3 * Math.sin(seed + day * day * 1.7),
  }));
}
const cheap = ["naive", "seasonal-naive", "drift", "window-mean"];
const csv = (text: string) => Readable.from([Buffer.from(text)], { objectMode: false });

function check(result: ForecastResult, horizon: number): void {
  for (const { time, mean, intervals } of result.forecasts) {
    expect(time).toHaveLength(horizon);
    expect(mean.every(Number.isFinite)).toBe(true);
    for (const [lo, hi] of Object.values(intervals))
      expect(mean.every((value, step) => lo[step]! <= value && value <= hi[step]!)).toBe(true);
  }
}

test("a table becomes forecasts with times, nested intervals, a table of models and the reason for the choice", async () => {
  const result = await forecast(shop(140, 1), { horizon: 14 });
  check(result, 14);
  expect(result.understood.frequency.name).toBe("daily");
  const [one] = result.forecasts;
  expect(one!.time[0]).toBe("2024-05-20");
  expect(Object.keys(one!.intervals)).toEqual(["80", "95"]);
  for (const step of one!.mean.keys()) expect(one!.intervals["95"]![0][step]!).toBeLessThanOrEqual(one!.intervals["80"]![0][step]!);
  const row = result.chosen.table.find(({ model }) => model === result.chosen.model)!;
  expect(row.skill).toBeGreaterThan(0);
  expect(result.chosen.table.map(({ model }) => model)).toContain("seasonal-naive");
  // The truth without its noise (at most 3): a trend and a week.
  const truth = (day: number) => 100 + 0.5 * day + 20 * Math.sin((2 * Math.PI * day) / 7);
  expect(one!.mean.every((value, step) => Math.abs(value - truth(140 + step)) < 8)).toBe(true);
});

test("where nothing beats seasonal naive it is chosen, and a named model that is worse is said to be", async () => {
  const exact = Array.from({ length: 120 }, (_, index) => ({
    month: `${2000 + Math.floor(index / 12)}-${String((index % 12) + 1).padStart(2, "0")}`,
    y: (index * 7) % 12,
  }));
  const result = await backtest(exact, { horizon: 6, model: cheap });
  expect(result.chosen).toMatchObject({ model: "seasonal-naive", because: "no model beats seasonal naive in the backtest" });
  const named = await backtest(shop(120, 2), { horizon: 7, model: "window-mean" });
  expect(named.chosen.because).toMatch(/named by the option, although seasonal naive is .* better/);
});

test("saved models forecast the same after loading, and go on after new values", async () => {
  const all = shop(120, 3);
  const { fitted } = await forecast(all.slice(0, 100), { horizon: 7, model: "seasonal-naive" });
  const loaded = loadForecasts(JSON.parse(JSON.stringify(fitted)));
  expect(loaded.forecast(7, [80])).toEqual(fitted.forecast(7, [80]));
  const { series } = await loadTable(all.slice(90)); // overlaps: known values are passed over
  const [later] = loaded.update(series).forecast(7, [80]);
  expect(later!.time[0]).toBe("2024-04-30");
  expect(later!.mean).toEqual(all.slice(113).map(({ sales }) => sales));
  const { series: gap } = await loadTable(all.slice(105));
  expect(() => loaded.update(gap)).toThrow('series "sales" goes on at 2024-04-15, expected 2024-04-10');
  expect(() => loadForecasts({ format: "something" })).toThrow(FormatError);
});

describe("hostile series", () => {
  test.each<[string, string]>([
    ["one row", "date,y\n2024-01-01,5\n"],
    ["two rows", "date,y\n2024-01-01,5\n2024-01-02,7\n"],
    [
      "constant",
      `date,y\n${shop(60, 1)
        .map(({ date }) => `${date},4`)
        .join("\n")}`,
    ],
    [
      "huge",
      `date,y\n${shop(60, 1)
        .map(({ date }, index) => `${date},${index % 2 === 0 ? "1e308" : "-1.5e308"}`)
        .join("\n")}`,
    ],
    [
      "tiny",
      `date,y\n${shop(60, 1)
        .map(({ date }, index) => `${date},${index % 3}e-320`)
        .join("\n")}`,
    ],
    [
      "mostly missing",
      `date,y\n${shop(60, 1)
        .map(({ date }, index) => `${date},${index % 9 === 0 ? index : ""}`)
        .join("\n")}\n2024-03-01,3`,
    ],
  ])("%s: finite forecasts from every model", async (_, text) => {
    check(await forecast(csv(text), { horizon: 5 }), 5);
  });

  test("any finite values and holes give finite forecasts", async () => {
    const value = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: -5, max: 5 }), fc.constant(Number.NaN));
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 9 }), async (values, horizon) => {
        fc.pre(values.some((one) => !Number.isNaN(one)));
        const rows = values.map((y, step) => ({ step, y }));
        check(await forecast(rows, { horizon, model: cheap, seasonalPeriod: 3, time: "step", target: "y" }), horizon);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 2000 : 100, examples: [[[0, 0, 0, 5e-324, -1], 1]] },
    );
  });

  test("short series among long ones are forecast by the last value with borrowed intervals, and both is said", async () => {
    const rows = [...shop(80, 1).map((row) => ({ shop: "a", ...row })), ...shop(3, 2).map((row) => ({ shop: "b", ...row }))];
    const result = await forecast(rows, { horizon: 7, model: "seasonal-naive", id: "shop" });
    check(result, 7);
    expect(result.notes.join("\n")).toMatch(
      /intervals of 1 short series[\s\S]*too short for seasonal-naive, forecast by the last value: b/,
    );
    expect(result.forecasts[1]!.mean[0]).toBe(rows.at(-1)!.sales);
    expect(result.forecasts[1]!.intervals["80"]![1][0]!).toBeGreaterThan(rows.at(-1)!.sales);
  });
});

describe("a single series with fewer than five windows", () => {
  const rows = shop(20, 1);

  test("has the intervals of the model's own distribution, and none where the model has none", async () => {
    const own = await forecast(rows, { horizon: 7, model: "naive" });
    expect(own.chosen.table[0]!.windows).toBeLessThan(5);
    // of the last value: z σ √h, with the mean square of the differences as σ²
    const differences = rows.slice(1).map(({ sales }, day) => sales - rows[day]!.sales);
    const sigma = Math.sqrt(differences.reduce((sum, one) => sum + one * one, 0) / differences.length);
    const last = rows.at(-1)!.sales;
    own.forecasts[0]!.intervals["80"]![1].forEach((bound, step) => {
      expect(bound).toBeCloseTo(last + 1.2815515655446004 * sigma * Math.sqrt(step + 1), 6);
    });
    expect(own.notes).toEqual([]);
    const none = await forecast(rows, { horizon: 7, model: "ridge" });
    expect(none.forecasts[0]!.intervals).toEqual({});
    expect(none.notes.join()).toContain(
      "no intervals for sales: too few windows in the backtest, and the model has no distribution of its own",
    );
  });

  test("of an average each bound is the mean of its members' bounds", async () => {
    const specs = [
      { name: "naive", parameters: {} },
      { name: "drift", parameters: {} },
    ] as const;
    const history = [{ values: Float64Array.from(rows, ({ sales }) => sales), seasonalPeriod: 7 }];
    const fit = async (combination: Combination) => (await fitCombination(combination, history, { horizon: 3 }, []))[0]!;
    const options = { quantiles: [0.1, 0.9] };
    const [both, ...alone] = await Promise.all([fit(specs), ...specs.map((spec) => fit([spec]))]);
    const members = alone.map((one) => one.forecast(3, options).quantiles!);
    both!.forecast(3, options).quantiles!.forEach((bound, index) => {
      for (const [step, value] of bound.entries())
        expect(value).toBeCloseTo((members[0]![index]![step]! + members[1]![index]![step]!) / 2, 9);
    });
    expect((await fit([specs[0], { name: "ridge", parameters: {} }])).forecast(3, options).quantiles).toBeUndefined();
  });
});

test.each<[Record<string, unknown>, string]>([
  [{ horizon: 0 }, "horizon: must be an integer from 1"],
  [{ model: "prophet" }, 'model: "prophet" is not one of auto, naive'],
  [{ levels: [80, 100] }, "levels: must be percents"],
  [{ levels: [80, 80] }, "levels: names a level twice"],
  [{ windows: 0 }, "windows: must be an integer >= 1"],
  [{ parameters: { order: 1 } }, "parameters: are taken with a single named model only"],
  [{ model: "naive", parameters: { order: 1 } }, "order: is not a parameter of the model naive"],
  [{ model: [] }, "model: names no model"],
])("%o is refused by name", async (options, message) => {
  const failed = forecast(shop(30, 1), { horizon: 3, ...options });
  await expect(failed).rejects.toThrow(OptionError);
  await expect(failed).rejects.toThrow(message);
});

describe("covariates", () => {
  /** Promotions at days that a formula scatters; each adds 40. */
  const promoted = (days: number) =>
    shop(days, 5).map(({ date, sales }, day) => ({
      date,
      sales: sales + ((day * day) % 11 === 4 ? 40 : 0),
      promo: (day * day) % 11 === 4 ? 1 : 0,
    }));

  test("a known effect is found, and forecast at the days that are announced", async () => {
    const all = promoted(154);
    const rows = all.map((row, day) => (day < 140 ? row : { ...row, sales: null }));
    const { chosen, forecasts, fitted } = await forecast(rows, { horizon: 14, knownAhead: ["promo"], target: "sales" });
    expect(chosen.model).toContain("with covariates");
    expect(forecasts[0]!.mean.every((value, step) => Math.abs(value - all[140 + step]!.sales) < 10)).toBe(true);
    const { fitted: one } = await forecast(rows, { horizon: 14, knownAhead: ["promo"], target: "sales", model: "seasonal-naive" });
    expect(one.model).toBe("seasonal-naive with covariates");
    expect(Math.abs((one.series[0]!.fitted.parameters["effect of promo"] as number) - 40)).toBeLessThan(3); // the noise has an amplitude of 3
    const loaded = loadForecasts(JSON.parse(JSON.stringify(fitted)));
    expect(loaded.forecast(14, [80])).toEqual(fitted.forecast(14, [80]));
    expect(() => loaded.forecast(15, [80])).toThrow("horizon: covariates are known for 14 steps ahead, 15 were asked for");
  });

  test("one that isn't known ahead works by its value a horizon before", async () => {
    const leading = Array.from({ length: 120 }, (_, step) => ({
      step,
      cause: (step * step) % 13,
      y: 5 + 3 * (((step - 2) * (step - 2)) % 13),
    }));
    const { forecasts, fitted } = await forecast(leading, { horizon: 2, time: "step", target: "y", covariates: ["cause"], model: "naive" });
    expect(fitted.series[0]!.fitted.parameters["effect of cause, 2 steps before"]).toBeCloseTo(3, 6);
    expect(forecasts[0]!.mean[0]).toBeCloseTo(5 + 3 * ((118 * 118) % 13), 6);
    expect(forecasts[0]!.mean[1]).toBeCloseTo(5 + 3 * ((119 * 119) % 13), 6);
  });

  test("too few future values are refused with their number", async () => {
    const failed = forecast(promoted(60), { horizon: 3, target: "sales", knownAhead: ["promo"] });
    await expect(failed).rejects.toThrow('knownAhead: "promo" of series sales has 0 values after the last target, the horizon needs 3');
  });

  test("a category that never changes and a covariate without values explain nothing", async () => {
    const rows = shop(60, 1).map((row) => ({ ...row, place: "here" }));
    const { forecasts } = await forecast(rows, { horizon: 3, target: "sales", covariates: ["place"], model: "seasonal-naive" });
    const plain = await forecast(rows, { horizon: 3, target: "sales", model: "seasonal-naive" });
    expect(forecasts[0]!.mean).toEqual(plain.forecasts[0]!.mean);
  });
});

test("an abort ends the work with its reason", async () => {
  const controller = new AbortController();
  const running = forecast(shop(400, 1), {
    horizon: 7,
    signal: controller.signal,
    onProgress: ({ stage }) => stage === "backtest" && controller.abort(new Error("enough")),
  });
  await expect(running).rejects.toThrow("enough");
});

test("a training that blocks nothing is broken off by what happens meanwhile, and tells how far it is", async () => {
  const controller = new AbortController();
  const told: string[] = [];
  const running = forecast(shop(140, 1), {
    ...{ horizon: 7, model: "ar-net", parameters: { epochs: 1e6 } },
    signal: controller.signal,
    onProgress({ stage, model, secondsLeft }) {
      if (stage !== "training") return;
      told.push(`${model} ${secondsLeft! > 0}`);
      setTimeout(() => controller.abort(new Error("enough")), 0); // a turn later, while it trains
    },
  });
  await expect(running).rejects.toThrow("enough");
  expect(new Set(told)).toEqual(new Set(["ar-net true"]));
});

describe("reports", () => {
  test("the text names the choice, the coverage and the forecasts", async () => {
    const result = await forecast(shop(120, 1), { horizon: 3, model: cheap });
    expect(describeBacktest(result)).toMatch(/^model {6}\S[\s\S]*MASE[\s\S]* \*[\s\S]*coverage {3}80 % intervals covered/);
    expect(describeForecasts(result.forecasts).split("\n")[0]).toMatch(/^sales +forecast +lo 80 +hi 80 +lo 95 +hi 95$/);
  });

  test("of an autoregression the page draws every weight by its lag", async () => {
    const result = await forecast(shop(120, 1), { horizon: 3, model: "ar-net", parameters: { order: 8, epochs: 5 } });
    const { coefficients } = result.fitted.series[0]!.fitted.parameters as { coefficients: number[] };
    const drawn = [...htmlReport(result).matchAll(/<rect [^>]*height="([\d.]+)"[^>]*><title>lag (\d+): ([^<]+)<\/title>/g)];
    expect(drawn.map(([, , lag, value]) => `${lag}: ${value}`)).toEqual(
      coefficients.map((value, index) => `${index + 1}: ${value.toPrecision(3)}`),
    );
    // heights are in proportion
    const largest = coefficients.reduce((best, value, index) => (Math.abs(value) > Math.abs(coefficients[best]!) ? index : best), 0);
    const unit = Number(drawn[largest]![1]) / Math.abs(coefficients[largest]!);
    for (const [index, [, height]] of drawn.entries())
      expect(Math.abs(Number(height) - unit * Math.abs(coefficients[index]!))).toBeLessThan(0.2);
    expect(htmlReport(await forecast(shop(60, 1), { horizon: 3, model: "drift" }))).not.toContain("weight by lag");
  });

  test("the page needs nothing from elsewhere, and names from the file can't break out of it", async () => {
    const rows = shop(60, 1).map((row) => ({ "</svg><script>alert(1)</script>": row.sales, date: row.date }));
    const page = htmlReport(await forecast(rows, { horizon: 7, model: cheap }));
    expect(page).not.toMatch(/<script|src=|href=|url\(/i);
    expect(page).toContain("&lt;script&gt;");
    expect(page.match(/<svg/g)).toHaveLength(1);
  });

  test("a fan chart draws history, forecast and every band, with holes left open", () => {
    const svg = fanChart({
      title: "a & b",
      history: { time: ["1", "2", "3"], values: [1, Number.NaN, 3] },
      forecast: {
        time: ["4", "5"],
        mean: [4, 5],
        intervals: {
          "80": [
            [3, 3],
            [5, 7],
          ],
          "95": [
            [2, 1],
            [6, 9],
          ],
        },
      },
    });
    expect(svg).toContain("a &amp; b");
    expect(svg.match(/fill-opacity/g)).toHaveLength(2);
    expect(svg).not.toContain("NaN");
    expect(svg.indexOf("95 % interval")).toBeLessThan(svg.indexOf("80 % interval")); // the wider band lies below
    expect(svg.match(/<path d="M[^"]*M[^"]*" fill="none"/)).not.toBeNull(); // the pen is lifted at the hole
  });

  test("a chart of text puts values at their rows, thins what has no room, and takes the ends of doubles", () => {
    const intervals = { "80": [[1], [3]], "95": [[0], [4]] } as const;
    const chart = terminalChart(
      { title: "t", history: { time: ["a", "b", "c"], values: [0, Number.NaN, 4] }, forecast: { time: ["d"], mean: [2], intervals } },
      80,
      5,
    );
    expect(chart).toBe(["t", "4 ┤  ·░", "3 ┤   ▒", "2 ┤   ●", "1 ┤   ▒", "0 ┤·  ░", "   a  d"].join("\n"));
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 300 }), (values) => {
        const times = values.map(String);
        const forecast = { time: times, mean: values, intervals: { "80": [values, values] } as const };
        const lines = terminalChart({ title: "t", history: { time: times, values }, forecast }, 60, 6).split("\n");
        expect(lines).toHaveLength(8);
        expect(lines.slice(1, -1).join("")).toContain("●");
      }),
    );
  });

  test("the axis encloses the values with round steps, whatever their size", () => {
    expect(niceTicks(3, 97, 5).values).toEqual([0, 20, 40, 60, 80, 100]);
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.double({ noNaN: true, noDefaultInfinity: true }), (a, b) => {
        const { values } = niceTicks(Math.min(a, b), Math.max(a, b), 5);
        expect(values.every(Number.isFinite)).toBe(true);
        expect(values.length).toBeGreaterThan(1);
      }),
    );
    expect(escapeXml(`<a b="c">&'`)).toBe("&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
  });
});
