import { describe, expect, test } from "vitest";
import { OptionError } from "../errors.ts";
import { type FittedTable, forecast, loadForecasts, loadTable } from "./index.ts";

const saved = (fitted: FittedTable) => loadForecasts(JSON.parse(JSON.stringify(fitted)));

describe("models with covariates are updated", () => {
  /** A shop whose sales know the week, the weather of the day (announced) and a promotion (announced); a formula scatters both. */
  const kinds = ["dry", "wet", "snow"] as const;
  const effects = { dry: 0, wet: -15, snow: -30 };
  const days = Array.from({ length: 140 }, (_, day) => {
    const sky = kinds[((day * day * 3 + day) % 7) % 3]!;
    const promo = (day * day) % 11 === 4 ? 1 : 0;
    const sales = 200 + 20 * Math.sin((2 * Math.PI * day) / 7) + 40 * promo + effects[sky] + 2 * Math.sin(day * day * 1.7);
    return { date: new Date(Date.UTC(2024, 0, 1 + day)).toISOString().slice(0, 10), sales, promo, sky };
  });
  const roles = { target: "sales", knownAhead: ["promo", "sky"] };
  /** Rows from one day to another, whose sales are known up to `known`. */
  const rows = (from: number, known: number, to: number) =>
    days.slice(from, to).map((row, index) => (from + index < known ? row : { ...row, sales: null }));
  const fit = async () => (await forecast(rows(0, 100, 107), { ...roles, horizon: 7, model: "seasonal-naive" })).fitted;
  const read = async (from: number, known: number, to: number) => (await loadTable(rows(from, known, to), roles)).series;

  test("beyond what was known: the forecast is the season of what the covariates leave, and their effects at the new days", async () => {
    const fitted = await fit();
    const { parameters } = fitted.series[0]!.fitted;
    const effect = (day: number) => {
      const { promo, sky } = days[day]!;
      return promo * (parameters["effect of promo"] as number) + ((parameters[`effect of sky=${sky}`] as number | undefined) ?? 0);
    };
    expect(Object.keys(parameters).filter((name) => name.includes("sky="))).toHaveLength(2);
    const from = days.findIndex(({ sky }, day) => day > 95 && sky !== days[0]!.sky); // so the new rows name the categories in another order
    expect(from).toBeLessThan(100);
    const [later] = fitted.update(await read(from, 130, 137)).forecast(7, []);
    expect(later!.time[0]).toBe(days[130]!.date);
    later!.mean.forEach((value, step) => {
      const day = 130 + step;
      expect(value).toBeCloseTo(days[day - 7]!.sales - effect(day - 7) + effect(day), 9);
    });
  });

  test("at once, day by day, and saved between: the same forecasts", async () => {
    const fitted = await fit();
    const atOnce = fitted.update(await read(100, 130, 137)).forecast(7, [80]);
    let one = fitted;
    for (let day = 100; day < 130; day += 3) one = saved(one.update(await read(day, day + 3, day + 10)));
    expect(one.forecast(7, [80])).toEqual(atOnce);
  });

  test("a column that isn't known ahead goes on with its values: equal to a fit of all rows where its effect is exact", async () => {
    const cause = (step: number) => (step * step) % 13;
    const all = Array.from({ length: 120 }, (_, step) => ({ step, cause: cause(step), y: 5 + 3 * cause(Math.max(0, step - 2)) }));
    const options = { time: "step", target: "y", covariates: ["cause"], horizon: 2, model: "naive" } as const;
    const { fitted } = await forecast(all.slice(0, 90), options);
    const { series } = await loadTable(all.slice(90), options);
    const [whole] = (await forecast(all, options)).forecasts;
    for (const one of [fitted, saved(fitted)]) {
      const [later] = one.update(series).forecast(2, []);
      later!.mean.forEach((value, step) => {
        expect(value).toBeCloseTo(whole!.mean[step]!, 9);
      });
    }
  });

  test("announcements without new sales reach further ahead, and change what was announced", async () => {
    const fitted = await fit();
    expect(() => fitted.forecast(14, [])).toThrow("covariates are known for 7 steps ahead, 14 were asked for");
    const announced = rows(99, 100, 114).map((row) => (row.date === days[103]!.date ? { ...row, promo: 1 } : row));
    const { series } = await loadTable(announced, roles);
    expect(days[103]!.promo).toBe(0);
    const [before] = fitted.forecast(7, []);
    const [after] = fitted.update(series).forecast(14, []);
    const promotion = fitted.series[0]!.fitted.parameters["effect of promo"] as number;
    expect(after!.mean.slice(0, 7)).toEqual(before!.mean.map((value, step) => (step === 3 ? expect.closeTo(value + promotion, 9) : value)));
  });

  test("missing columns, other kinds and unknown categories are refused by name", async () => {
    const fitted = await fit();
    const updated = async (change: (row: (typeof days)[number]) => Readonly<Record<string, unknown>>, options: object = roles) => {
      const { series } = await loadTable(days.slice(100, 130).map(change), { target: "sales", ...options });
      return () => fitted.update(series);
    };
    expect(await updated((row) => row, { knownAhead: ["sky"] })).toThrow(OptionError);
    expect(await updated((row) => row, { knownAhead: ["sky"] })).toThrow(
      'update: series "sales": covariates: "promo" has no values for the last 23 of the 30 new steps; give their rows with that column',
    );
    expect(await updated((row) => ({ ...row, promo: row.promo === 1 ? "yes" : "no" }))).toThrow(
      '"promo" is text, and was numbers when the model was fitted',
    );
    expect(await updated((row) => ({ ...row, sky: row.sky === "wet" ? "hail" : row.sky }))).toThrow(
      '"sky" has the category "hail", which the model was not fitted with (dry, wet, snow); forecast again from the whole table',
    );
  });
});
