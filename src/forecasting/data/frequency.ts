import type { Frequency } from "../types.ts";
import { DAY, HOUR, indexOfTime, MINUTE, monthIndex, SECOND, weekday } from "./calendar.ts";

/** Steps looked at; enough to tell any frequency, few enough to be free. */
const maxSteps = 50_000;

export interface InferredFrequency {
  readonly frequency: Frequency;
  /** Part of the steps between neighbouring times that are exactly one step of it. */
  readonly share: number;
  /** Part of the grid between first and last time that holds an observation. */
  readonly occupancy: number;
}

/**
 * The regular step of one or several series, by the most common distance between neighbouring times. Days, months, quarters and years
 * are steps of the calendar; weekdays alone are business days. undefined where no two times differ.
 *
 * @param lists  ascending times without repetition, of the wall where days matter
 */
export function inferFrequency(lists: readonly Float64Array[]): InferredFrequency | undefined {
  const votes = new Map<string, { frequency: Frequency; count: number }>();
  let steps = 0;
  for (const times of lists) {
    for (let i = 1; i < times.length && steps < maxSteps; i++, steps++) {
      const frequency = classify(times[i - 1]!, times[i]!);
      const key = `${frequency.count} ${frequency.unit}`;
      const vote = votes.get(key);
      if (vote === undefined) votes.set(key, { frequency, count: 1 });
      else vote.count++;
    }
  }
  if (steps === 0) return undefined;
  const ranked = [...votes.values()].sort((a, b) => b.count - a.count || span(a.frequency) - span(b.frequency));
  let { frequency, count } = ranked[0]!;
  if (frequency.unit === "day" && frequency.count === 1 && skipsWeekends(lists)) {
    frequency = { unit: "businessday", count: 1 };
    for (const vote of votes.values()) if (vote.frequency.unit === "day" && vote.frequency.count === 3) count += vote.count;
  }
  if (frequency.unit === "month" && frequency.count % 12 === 0) frequency = { unit: "year", count: frequency.count / 12 };
  else if (frequency.unit === "month" && frequency.count === 3) frequency = { unit: "quarter", count: 1 };
  return { frequency, share: count / steps, occupancy: occupancy(lists, frequency) };
}

/** A distance as a step: of months where the day of the month stays (or stays the last), otherwise of weeks, days or time. */
function classify(from: number, to: number): Frequency {
  const distance = to - from;
  const days = Math.round(distance / DAY);
  // An hour more or less than whole days: midnights on both sides of a change of daylight saving, seen as instants.
  if (days >= 1 && Math.abs(distance - days * DAY) <= HOUR) {
    const months = monthIndex(to) - monthIndex(from);
    const [a, b] = [new Date(from).getUTCDate(), new Date(to).getUTCDate()];
    const isMonthly = months >= 1 && (a === b || (a >= 28 && b >= 28 && days % 7 !== 0) || (a > 25 && b > 25 && days >= 28 && days !== 28));
    if (isMonthly) return { unit: "month", count: months };
    return days % 7 === 0 ? { unit: "week", count: days / 7 } : { unit: "day", count: days };
  }
  for (const [unit, length] of [
    ["hour", HOUR],
    ["minute", MINUTE],
    ["second", SECOND],
  ] as const) {
    if (distance % length === 0) return { unit, count: distance / length };
  }
  return { unit: "millisecond", count: Math.max(1, Math.round(distance)) };
}

/** Rough length for comparing frequencies, in milliseconds. */
function span({ unit, count }: Frequency): number {
  const length = {
    step: 1,
    millisecond: 1,
    second: SECOND,
    minute: MINUTE,
    hour: HOUR,
    day: DAY,
    businessday: DAY,
    week: 7 * DAY,
    month: 30 * DAY,
    quarter: 91 * DAY,
    year: 365 * DAY,
  };
  return length[unit] * count;
}

/** Two weeks of days and more, none of them on a Saturday or Sunday. */
function skipsWeekends(lists: readonly Float64Array[]): boolean {
  let seen = 0;
  for (const times of lists) {
    for (const time of times) {
      if (weekday(time) >= 5) return false;
      if (++seen >= maxSteps) return true;
    }
  }
  return seen >= 10;
}

function occupancy(lists: readonly Float64Array[], frequency: Frequency): number {
  let observed = 0;
  let cells = 0;
  for (const times of lists) {
    if (times.length < 2) continue;
    observed += times.length;
    cells += indexOfTime({ frequency, start: times[0]!, clock: "local" }, times.at(-1)!).index + 1;
  }
  return cells === 0 ? 0 : Math.min(1, observed / cells);
}
