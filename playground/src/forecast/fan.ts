import { linear, linePath } from "../charts/scale.ts";
import type { SeriesForecast, ShownSeries } from "./wire.ts";

/** A fan chart as numbers: where everything stands in a picture of a given size. */
export interface Fan {
  readonly history: string;
  readonly mean: string;
  /** Widest first. */
  readonly bands: readonly { readonly level: string; readonly path: string }[];
  readonly marks: readonly { readonly y: number; readonly label: string }[];
  readonly times: readonly { readonly x: number; readonly label: string; readonly anchor: "start" | "middle" | "end" }[];
  /** Where the future begins. */
  readonly now: number;
  readonly x: (step: number) => number;
  readonly y: (value: number) => number;
  /** The nearest step to a place. */
  readonly stepAt: (x: number) => number;
  readonly steps: number;
}

export interface FanSize {
  readonly width: number;
  readonly height: number;
}

export const fanMargin = { left: 56, right: 14, top: 12, bottom: 26 };
const { left, right, top, bottom } = fanMargin;

/** The steps that stay in the picture: the future, and of the past four times as much, at least 60. */
export function cropped(series: ShownSeries, horizon: number): ShownSeries {
  const from = Math.max(0, series.values.length - Math.max(60, 4 * horizon));
  return { ...series, time: series.time.slice(from), values: series.values.slice(from) };
}

export function layoutFan(past: ShownSeries, forecast: SeriesForecast | undefined, { width, height }: FanSize): Fan {
  const bands = Object.entries(forecast?.intervals ?? {}).sort(([a], [b]) => Number(b) - Number(a));
  const mean = forecast?.mean ?? [];
  const before = past.values.length;
  const steps = before + mean.length;
  const shown = [...past.values, ...mean, ...bands.flatMap(([, [lo, hi]]) => [...lo, ...hi])].filter((value) => value !== null);
  const values = roundValues(Math.min(...shown), Math.max(...shown));
  const x = linear([0, Math.max(1, steps - 1)], [left, width - right]);
  // quarters, since the ends may be as far apart as numbers go
  const quarter = linear([values.at(0)! / 4, values.at(-1)! / 4], [height - bottom, top]);
  const y = (value: number) => quarter(value / 4);
  const place = (value: number | null) => (value === null ? undefined : y(value));
  const last = past.values.at(-1);
  const join = last === undefined || last === null || mean.length === 0 ? [] : [[x(before - 1), y(last)] as const];
  const digits = decimals(values);
  return {
    history: linePath(past.values.map((value, step) => [x(step), place(value)])),
    mean: linePath([...join, ...mean.map((value, step) => [x(before + step), y(value)] as const)]),
    bands: bands.map(([level, [lo, hi]]) => {
      const upper = hi.map((value, step) => [x(before + step), y(value)] as const);
      const lower = lo.map((value, step) => [x(before + step), y(value)] as const).reverse();
      return { level, path: `${linePath([...join, ...upper, ...lower])}Z` };
    }),
    marks: values.map((value) => ({ y: y(value), label: written(value, digits) })),
    times: timeMarks([...past.time, ...(forecast?.time ?? [])], x, width),
    now: before === 0 ? left : x(before - 1),
    ...{ x, y, steps },
    stepAt: (at) => Math.min(steps - 1, Math.max(0, Math.round(((at - left) / (width - right - left || 1)) * Math.max(1, steps - 1)))),
  };
}

/** Times at even places, as many as have room. */
function timeMarks(times: readonly string[], x: (step: number) => number, width: number): Fan["times"] {
  const longest = Math.max(1, ...times.map((time) => time.length));
  const room = Math.max(2, Math.min(7, Math.floor((width - left - right) / (longest * 6.5 + 24))));
  const places = times.length < 2 ? [0] : Array.from({ length: room }, (_, index) => Math.round((index * (times.length - 1)) / (room - 1)));
  return [...new Set(places)].map((step, index, list) => ({
    x: x(step),
    label: times[step] ?? "",
    anchor: index === 0 ? "start" : index === list.length - 1 ? "end" : "middle",
  }));
}

/** Round values that enclose both: steps of 1, 2 or 5 times a power of ten. */
export function roundValues(low: number, high: number): number[] {
  const span = high / 5 - low / 5 || Math.abs(high) / 5 || 1; // fifths before the difference: it may leave the numbers
  const power = 10 ** Math.floor(Math.log10(span));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= span * (1 - 1e-12)) ?? 10 * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const value = Number(((first + index) * step).toPrecision(12));
    return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value));
  });
}

const decimals = (values: readonly number[]) => Math.max(0, ...values.map((value) => (String(value).split(".")[1] ?? "").length));

function written(value: number, digits: number): string {
  const size = Math.abs(value);
  if (digits > 4 || size >= 1e7) return value === 0 ? "0" : value.toExponential(1);
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A number as one reads it: four digits that count. */
export function readable(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4 });
}
