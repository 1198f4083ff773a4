import { formatTime } from "../data/index.ts";
import type { ForecastResult } from "../forecast.ts";
import type { FanChart } from "./fan-chart.ts";

/** What a picture shows of a forecast and of its series' past: four horizons, at least 60 steps, at most 1000. */
export function shownHistory({ series }: Pick<ForecastResult, "series">, forecast: ForecastResult["forecasts"][number]): FanChart {
  const { values, time } = series.find(({ id }) => id === forecast.series)!;
  const shown = Math.min(values.length, Math.max(4 * forecast.mean.length, 60), 1000);
  const from = values.length - shown;
  const times = Array.from({ length: shown }, (_, index) => formatTime(time, from + index));
  return { title: forecast.series || "forecast", history: { time: times, values: [...values.subarray(from)] }, forecast };
}
