/** Published and measured check values of the public data sets, read from the folder that CHAINRULE_DATA names. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { rollingForecasts } from "./backtest.ts";
import { forecast, loadTable } from "./index.ts";
import { meanAbsoluteError, meanAbsoluteScaledError, meanSquaredError, seasonalScale, symmetricMape } from "./metrics.ts";

const folder = process.env.CHAINRULE_DATA;

describe.skipIf(folder === undefined)("public data (CHAINRULE_DATA)", () => {
  const m4 = async () => {
    const load = async (part: string) => (await loadTable(join(folder!, `m4/Hourly-${part}.csv`), { frequency: "hourly" })).series;
    return { train: await load("train"), test: await load("test") };
  };

  test("M4 hourly: sMAPE and MASE of naive and seasonal naive are the competition's", async () => {
    const { train, test: truth } = await m4();
    const plan = { horizon: 48, origins: train.map(({ values }) => [values.length]), refit: 0, missing: "interpolate" as const };
    for (const [name, smape, mase] of [
      ["naive", 43.003, 11.608],
      ["seasonal-naive", 13.912, 1.193],
    ] as const) {
      const forecasts = await rollingForecasts([{ name, parameters: {} }], train, plan);
      const means = truth.map(({ values }, index) => {
        const { mean } = forecasts[index]![0]!;
        return [symmetricMape(values, mean), meanAbsoluteScaledError(values, mean, seasonalScale(train[index]!.values, 24))] as const;
      });
      const average = (column: 0 | 1) => means.reduce((sum, row) => sum + row[column], 0) / means.length;
      expect(average(0)).toBeCloseTo(smape, 3);
      expect(average(1)).toBeCloseTo(mase, 3);
    }
  });

  test("M4 hourly: intervals made from the train part cover 80 % within 5 points and 95 % within 3, pooled", async () => {
    const { test: truth } = await m4();
    const { forecasts } = await forecast(join(folder!, "m4/Hourly-train.csv"), {
      horizon: 48,
      model: "seasonal-naive",
      frequency: "hourly",
    });
    for (const [level, tolerance] of [
      [80, 0.05],
      [95, 0.03],
    ] as const) {
      let hits = 0;
      truth.forEach(({ values }, index) => {
        const [lo, hi] = forecasts[index]!.intervals[level]!;
        values.forEach((value, step) => {
          if (value >= lo[step]! && value <= hi[step]!) hits++;
        });
      });
      expect(Math.abs(hits / (truth.length * 48) - level / 100)).toBeLessThan(tolerance);
    }
  });

  test("ETTh1: the protocol's naive columns over every window, on the scale of the train rows", async () => {
    const { series } = await loadTable(join(folder!, "ett/ETTh1.csv"));
    const scaled = series.map(({ values }) => {
      const train = values.subarray(0, 8640);
      const mean = train.reduce((sum, value) => sum + value, 0) / 8640;
      const deviation = Math.sqrt(train.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 8640);
      return { values: values.map((value) => (value - mean) / deviation).slice(0, 14_400), seasonalPeriod: 24 };
    });
    const origins = Array.from({ length: 2880 - 96 + 1 }, (_, index) => 11_520 + index);
    expect(origins).toHaveLength(2785);
    for (const [name, parameters, mse, mae] of [
      ["naive", {}, 1.2944, 0.7132],
      ["seasonal-naive", {}, 0.5122, 0.4333],
    ] as const) {
      let [squared, absolute] = [0, 0];
      for (const one of scaled) {
        const [windows] = await rollingForecasts([{ name, parameters }], [one], {
          horizon: 96,
          origins: [origins],
          refit: 0,
          missing: "interpolate",
        });
        windows!.forEach(({ mean }, index) => {
          const actual = one.values.subarray(origins[index]!, origins[index]! + 96);
          squared += meanSquaredError(actual, mean);
          absolute += meanAbsoluteError(actual, mean);
        });
      }
      expect(squared / (7 * 2785)).toBeCloseTo(mse, 4);
      expect(absolute / (7 * 2785)).toBeCloseTo(mae, 4);
    }
  });
});
