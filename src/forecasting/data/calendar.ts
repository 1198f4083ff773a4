import { OptionError } from "../../errors.ts";
import type { Frequency, TimeGrid } from "../types.ts";

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const WEEK = 7 * DAY;

/** Length in milliseconds of a step whose length is fixed; months, quarters, years and business days have none. */
export function fixedStep({ unit, count }: Frequency): number | undefined {
  const lengths: Partial<Record<Frequency["unit"], number>> = {
    millisecond: 1,
    second: SECOND,
    minute: MINUTE,
    hour: HOUR,
    day: DAY,
    week: WEEK,
  };
  const length = unit === "step" ? 1 : lengths[unit];
  return length === undefined ? undefined : length * count;
}

/** Months in a step of months, quarters or years. */
export function monthsPerStep({ unit, count }: Frequency): number | undefined {
  return unit === "month" ? count : unit === "quarter" ? 3 * count : unit === "year" ? 12 * count : undefined;
}

/** True for days and everything longer: such steps follow the calendar on the wall, not elapsed time. */
export function isCalendarStep({ unit }: Frequency): boolean {
  return ["day", "businessday", "week", "month", "quarter", "year"].includes(unit);
}

/**
 * The season that a frequency suggests, in steps: a day of hours or minutes, a week of days, a year of weeks, months or quarters;
 * 1 where there is none or where it is no whole number of steps. Seconds: the minute.
 */
export function defaultSeasonalPeriod({ unit, count }: Frequency): number {
  const perSeason = {
    step: 1,
    millisecond: 1000,
    second: 60,
    minute: 1440,
    hour: 24,
    day: 7,
    businessday: 5,
    week: 52,
    month: 12,
    quarter: 4,
    year: 1,
  }[unit];
  return perSeason % count === 0 ? perSeason / count : 1;
}

/** "hourly", "every 15 minutes", "business days". */
export function describeFrequency({ unit, count }: Frequency): string {
  if (unit === "step") return "numbered steps";
  if (count > 1) return `every ${count} ${unit === "businessday" ? "business day" : unit}s`;
  if (unit === "businessday") return "business days";
  return { millisecond: "every millisecond", second: "every second", minute: "every minute", hour: "hourly", day: "daily", week: "weekly", month: "monthly", quarter: "quarterly", year: "yearly" }[unit]; // biome-ignore format: one table
}

const names: Readonly<Record<string, Frequency["unit"]>> = {
  ...{ ms: "millisecond", millisecond: "millisecond", s: "second", sec: "second", second: "second", secondly: "second" },
  ...{ min: "minute", t: "minute", minute: "minute", minutely: "minute", h: "hour", hour: "hour", hourly: "hour" },
  ...{
    d: "day",
    day: "day",
    daily: "day",
    b: "businessday",
    businessday: "businessday",
    "business-day": "businessday",
    "business-daily": "businessday",
  },
  ...{ w: "week", week: "week", weekly: "week", month: "month", monthly: "month", q: "quarter", quarter: "quarter", quarterly: "quarter" },
  ...{ y: "year", a: "year", year: "year", yearly: "year", annual: "year", step: "step" },
};

/**
 * Reads a frequency as people write it: "hourly", "15min", "2 weeks", "business-daily", or the letters s min h d b w q y
 * (no m: it is a minute to some and a month to others).
 *
 * @throws OptionError for anything else
 */
export function parseFrequency(text: string): Frequency {
  const match = /^\s*(\d*)\s*([a-z-]+?)\s*$/i.exec(text);
  const word = match?.[2]?.toLowerCase() ?? "";
  const unit = names[word] ?? names[word.replace(/s$/, "")];
  const count = match?.[1] ? Number(match[1]) : 1;
  if (unit === undefined || !Number.isSafeInteger(count) || count < 1 || count > 1e6) {
    throw new OptionError(
      "frequency",
      `"${text}" is not one of hourly, daily, business-daily, weekly, monthly, quarterly, yearly, or a number with a unit (15min, 2weeks)`,
    );
  }
  return { unit, count };
}

/** Milliseconds from UTC to the clock on the wall of `zone` at an instant: +3,600,000 in Berlin in winter. */
export function zoneOffset(zone: string, utc: number): number {
  if (zone === "UTC") return 0;
  // Offsets change at whole quarter-hours (1970 and later), so one look-up serves them.
  const slot = Math.floor(utc / (15 * MINUTE));
  let offsets = offsetCache.get(zone);
  if (offsets === undefined) {
    offsets = new Map();
    offsetCache.set(zone, offsets);
  }
  let offset = offsets.get(slot);
  if (offset === undefined) {
    offset = lookUpOffset(zone, slot * 15 * MINUTE);
    if (offsets.size > 200_000) offsets.clear();
    offsets.set(slot, offset);
  }
  return offset;
}

const offsetCache = new Map<string, Map<number, number>>();
const formatters = new Map<string, Intl.DateTimeFormat>();

function lookUpOffset(zone: string, utc: number): number {
  let formatter = formatters.get(zone);
  if (formatter === undefined) {
    const fields = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" } as const;
    try {
      formatter = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", ...fields });
    } catch (cause) {
      throw Object.assign(new OptionError("timeZone", `"${zone}" is not an IANA time zone such as Europe/Berlin or UTC`), { cause });
    }
    formatters.set(zone, formatter);
  }
  const part: Record<string, number> = {};
  for (const { type, value } of formatter.formatToParts(utc)) part[type] = Number(value);
  return Date.UTC(part.year!, part.month! - 1, part.day!, part.hour!, part.minute!, part.second!) - utc;
}

/** The clock on the wall at `utc`, as milliseconds that read as UTC. */
export function toWall(zone: string, utc: number): number {
  return utc + zoneOffset(zone, utc);
}

/**
 * The instants at which the clock on the wall of `zone` shows `wall`: one, two in ascending order (the hour that comes twice when
 * daylight saving ends), or none (the hour that is left out).
 */
export function fromWall(zone: string, wall: number): readonly number[] {
  const offsets = new Set([zoneOffset(zone, wall - DAY), zoneOffset(zone, wall + DAY)]);
  const instants = [...offsets].map((offset) => wall - offset).filter((utc) => toWall(zone, utc) === wall);
  return instants.sort((a, b) => a - b);
}

/** Milliseconds of a date that must exist: NaN for 31 April, month 13 or hour 25. Years 0 to 9999. */
export function dateToMs(year: number, month: number, day: number, ms = 0): number {
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month) || ms < 0 || ms > DAY) return Number.NaN;
  return daysFromCivil(year, month, day) * DAY + ms;
}

export function daysInMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** Days since 1970-01-01 in the Gregorian calendar; years start in March so that the leap day comes last. */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468;
}

/** Months since year 0. */
export function monthIndex(ms: number): number {
  const date = new Date(ms);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** 0 is Monday. */
export function weekday(ms: number): number {
  return (((Math.floor(ms / DAY) + 3) % 7) + 7) % 7;
}

/** Business days before `ms`, counted from Monday 1969-12-29; a weekend counts as the Monday after it. */
function businessDayNumber(ms: number): number {
  const day = Math.floor(ms / DAY) + 3;
  const week = Math.floor(day / 7);
  return week * 5 + Math.min(day - week * 7, 5);
}

/** Milliseconds on the wall for grids that follow the calendar, of UTC for the others; the index for numbered steps. */
function gridStart(grid: TimeGrid): number {
  return typeof grid.clock === "object" && isCalendarStep(grid.frequency) ? toWall(grid.clock.zone, grid.start) : grid.start;
}

/**
 * Time of a step of the grid, on the scale of `grid.start` (see `TimeGrid`). Steps of days and longer keep the clock on the wall, so
 * midnight stays midnight through a change of daylight saving. Months keep the day of the month, shortened to the month's length;
 * a start at a month's end keeps to the end.
 */
export function timeAt(grid: TimeGrid, index: number): number {
  const { frequency, clock } = grid;
  const wall = stepFrom(gridStart(grid), frequency, index);
  if (typeof clock !== "object" || !isCalendarStep(frequency)) return wall;
  return fromWall(clock.zone, wall)[0] ?? wall - zoneOffset(clock.zone, wall - DAY);
}

function stepFrom(start: number, frequency: Frequency, index: number): number {
  const fixed = fixedStep(frequency);
  if (fixed !== undefined) return start + index * fixed;
  const timeOfDay = start - Math.floor(start / DAY) * DAY;
  const months = monthsPerStep(frequency);
  if (months === undefined) {
    const number = businessDayNumber(start) + index * frequency.count;
    const week = Math.floor(number / 5);
    return (week * 7 + (number - week * 5) - 3) * DAY + timeOfDay;
  }
  const at = monthIndex(start) + index * months;
  const [year, month] = [Math.floor(at / 12), (at % 12) + 1];
  const first = new Date(start);
  const startsAtEnd = first.getUTCDate() === daysInMonth(first.getUTCFullYear(), first.getUTCMonth() + 1);
  const length = daysInMonth(year, month);
  return dateToMs(year, month, startsAtEnd ? length : Math.min(first.getUTCDate(), length), timeOfDay);
}

/**
 * The step nearest to a time on the scale of `grid.start` (ties go up) or the last one before it, and whether the time lies on it exactly. A month, quarter or
 * year is found by its month alone, so that a stamp on the last working day still belongs to it.
 */
export function indexOfTime(grid: TimeGrid, time: number, round: "nearest" | "down" = "nearest"): { index: number; exact: boolean } {
  const { frequency, clock } = grid;
  const start = gridStart(grid);
  const at = typeof clock === "object" && isCalendarStep(frequency) ? toWall(clock.zone, time) : time;
  const fixed = fixedStep(frequency);
  const months = monthsPerStep(frequency);
  let position: number;
  if (fixed !== undefined) position = (at - start) / fixed;
  else if (months !== undefined) position = (monthIndex(at) - monthIndex(start)) / months;
  else position = (businessDayNumber(at) - businessDayNumber(start)) / frequency.count;
  const index = Math.floor(position + (round === "nearest" ? 0.5 : 0));
  return { index, exact: months === undefined ? stepFrom(start, frequency, index) === at : index === position };
}

/** ISO 8601 text of a step: a date for days and longer at midnight, otherwise date and time, with the offset where a zone is known. */
export function formatTime(grid: TimeGrid, index: number): string {
  const time = timeAt(grid, index);
  if (grid.frequency.unit === "step") return String(time);
  const offset = typeof grid.clock === "object" ? zoneOffset(grid.clock.zone, time) : 0;
  const wall = time + offset;
  const iso = new Date(wall).toISOString();
  if (isCalendarStep(grid.frequency) && wall % DAY === 0) return iso.slice(0, 10);
  const text = wall % SECOND === 0 ? iso.slice(0, 19) : iso.slice(0, 23);
  if (grid.clock === "local") return text;
  if (grid.clock === "utc") return `${text}Z`;
  const minutes = Math.abs(offset) / MINUTE;
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  return `${text}${offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}
