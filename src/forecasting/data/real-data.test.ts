/** Known defects of public files, read from the folder that CHAINRULE_DATA names. Shapes and dates are those that its README states. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type LoadOptions, loadTable } from "./index.ts";

const folder = process.env.CHAINRULE_DATA;

describe.skipIf(folder === undefined)("public files (CHAINRULE_DATA)", () => {
  const load = (file: string, options: LoadOptions = {}) => loadTable(join(folder!, file), options);

  test("ETTh1 is hourly without gaps; its train rows have the protocol's means and deviations", async () => {
    const digest = createHash("sha256")
      .update(readFileSync(join(folder!, "ett/ETTh1.csv")))
      .digest("hex");
    expect(digest.startsWith("f18de3ad269cef59bb07")).toBe(true);
    const { series, understood } = await load("ett/ETTh1.csv");
    expect(understood).toMatchObject({
      layout: "wide",
      frequency: { unit: "hour", count: 1, share: 1 },
      series: { count: 7, longest: 17_420, missing: 0 },
    });
    const facts = series.map(({ id, values }) => {
      const train = values.subarray(0, 8640);
      const mean = train.reduce((sum, value) => sum + value, 0) / train.length;
      return [id, mean.toFixed(6), Math.sqrt(train.reduce((sum, value) => sum + (value - mean) ** 2, 0) / train.length).toFixed(6)];
    });
    expect(facts).toEqual([
      ["HUFL", "7.937742", "5.812749"],
      ["HULL", "2.021039", "2.090105"],
      ["MUFL", "5.079771", "5.518794"],
      ["MULL", "0.746186", "1.926379"],
      ["LUFL", "2.781762", "1.023523"],
      ["LULL", "0.788453", "0.630237"],
      ["OT", "17.128262", "9.176491"],
    ]);
  });

  test("us_gasoline runs from new to old with the month first", async () => {
    const { series, understood } = await load("classic/us_gasoline.csv");
    expect(understood).toMatchObject({
      frequency: { unit: "week" },
      time: { order: { chosen: "month-first" } },
      series: { start: "1991-02-08", end: "2021-04-30", longest: 1578 },
    });
    expect([series[0]!.values[0], series[0]!.values[1577]]).toEqual([6621, 8864]);
    expect(understood.notes.map(({ text }) => text)).toContain("rows run from new to old; they were turned round");
  });

  test("co2 has days as YYYYMMDD and 59 missing weeks", async () => {
    const { understood } = await load("classic/co2.csv");
    expect(understood).toMatchObject({ time: { format: "YYYYMMDD" }, frequency: { unit: "week" }, series: { longest: 2284, missing: 59 } });
  });

  test("ILINet has columns that end years before the others", async () => {
    const { understood } = await load("illness/ILINet.csv");
    expect(understood.series.count).toBe(11);
    expect(understood.notes.some(({ level, text }) => level === "warning" && text.includes("AGE 25-64"))).toBe(true);
  });

  test("zeros at the end of the S&P 500 file are suspected", async () => {
    const { understood } = await load("finance/sp500-shiller-monthly.csv");
    expect(understood.notes.some(({ level, text }) => level === "warning" && text.includes("--missing 0"))).toBe(true);
  });

  test("VIX has business days, exchange rates 34 countries by month, M4 414 series as rows", async () => {
    expect((await load("finance/vix-daily.csv")).understood.frequency.unit).toBe("businessday");
    expect((await load("finance/fx-monthly.csv")).understood).toMatchObject({
      frequency: { unit: "month" },
      ids: ["Country"],
      series: { count: 34 },
    });
    const m4 = await load("m4/Hourly-train.csv", { frequency: "hourly" });
    expect(m4.understood).toMatchObject({
      layout: "rows",
      seasonalPeriod: { steps: 24 },
      series: { count: 414, shortest: 700, longest: 960 },
    });
  });

  test.each([
    ["AirPassengers", "month"],
    ["ausbeer", "quarter"],
    ["temps", "day"],
    ["sunspots", "year"],
    ["nile", "year"],
    ["macrodata", "quarter"],
    ["elnino", "year"],
    ["shampoo_sales", "month"],
    ["uschange", "quarter"],
    ["us-employment", "month"],
  ])("%s is read by the %s", async (file, unit) => {
    expect((await load(`classic/${file}.csv`)).understood.frequency.unit).toBe(unit);
  });
});
