import { DAY, dateToMs, HOUR, MINUTE, SECOND, WEEK, weekday } from "./calendar.ts";

/** What one cell says: a time on the wall, an instant, or a number whose meaning only the whole column tells. */
export interface Stamp {
  /** Milliseconds (of UTC for "instant"; of the wall, read as UTC, for "wall"); the number itself for "number". */
  readonly ms: number;
  readonly kind: "wall" | "instant" | "number";
  /** The same cell read as day-first; present where both readings are dates. `ms` is then the month-first reading. */
  readonly dayFirst?: number;
  /** Set where day and month stand before the year and only one order is a date. */
  readonly order?: "day-first" | "month-first";
  /** Milliseconds that the cell's own offset adds to UTC; present for "instant". */
  readonly offset?: number;
  readonly format: string;
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const time = String.raw`(?:[T ,]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*([AaPp]\.?[Mm]\.?)?)?`;
const zone = String.raw`\s*(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?`;
const weekdayName = "(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[, ]\\s*)?";
const iso = new RegExp(String.raw`^(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2}))?${time}${zone}$`);
const yearLast = new RegExp(String.raw`^(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})${time}$`);
const compact = /^(\d{4})(\d{2})(\d{2})T(\d{2}):?(\d{2})(?::?(\d{2}))?(Z|[+-]\d{2}:?\d{2})?$/;
const quarter = /^(?:(\d{4})[- ]?Q([1-4])|Q([1-4])[- ]?(\d{4}))$/i;
const isoWeek = /^(\d{4})-?W(\d{2})(?:-?([1-7]))?$/i;
const dayMonthName = new RegExp(`^${weekdayName}(\\d{1,2})(?:st|nd|rd|th)?[- ]([a-z]{3,9})\\.?[- ,]+(\\d{4}|\\d{2})${time}${zone}$`, "i");
const monthNameDay = new RegExp(`^${weekdayName}([a-z]{3,9})\\.? (\\d{1,2})(?:st|nd|rd|th)?,? +(\\d{4})${time}${zone}$`, "i");
const monthNameYear = /^(?:([a-z]{3,9})\.?[- ](\d{4})|(\d{4})[- ]([a-z]{3,9}))$/i;

/** Reads one cell of a time column, or says that it is no time. Times that don't exist (31 April, 25:00) are none. */
export function parseStamp(text: string): Stamp | undefined {
  const fast = parsePlainIso(text);
  if (fast !== undefined) return fast;
  const cell = text.trim();
  if (/^[+-]?\d+(?:\.\d+)?$/.test(cell)) return { ms: Number(cell), kind: "number", format: "number" };
  let m = iso.exec(cell);
  if (m !== null) {
    const day = m[4] === undefined ? 1 : Number(m[4]);
    if (m[4] === undefined && m[5] !== undefined) return undefined; // "2020-01 10:00" names no day
    return build(Number(m[1]), Number(m[3]), day, clock(m, 5), m[10], m[4] === undefined ? "year-month" : "ISO 8601");
  }
  m = yearLast.exec(cell);
  if (m !== null) return parseYearLast(m);
  m = compact.exec(cell);
  if (m !== null) {
    const ms = clockMs(Number(m[4]), Number(m[5]), Number(m[6] ?? 0), 0);
    return build(Number(m[1]), Number(m[2]), Number(m[3]), ms, m[7], "ISO 8601, compact");
  }
  m = quarter.exec(cell);
  if (m !== null) return build(Number(m[1] ?? m[4]), 3 * Number(m[2] ?? m[3]) - 2, 1, 0, undefined, "year and quarter");
  m = isoWeek.exec(cell);
  if (m !== null) return parseIsoWeek(Number(m[1]), Number(m[2]), Number(m[3] ?? 1));
  m = dayMonthName.exec(cell);
  if (m !== null) return build(fullYear(m[3]!), monthNumber(m[2]!), Number(m[1]), clock(m, 4), m[9], "day, name of the month, year");
  m = monthNameDay.exec(cell);
  if (m !== null) return build(Number(m[3]), monthNumber(m[1]!), Number(m[2]), clock(m, 4), m[9], "name of the month, day, year");
  m = monthNameYear.exec(cell);
  if (m !== null) return build(Number(m[2] ?? m[3]), monthNumber(m[1] ?? m[4]!), 1, 0, undefined, "name of the month and year");
  return undefined;
}

/** `YYYY-MM-DD` and `YYYY-MM-DD hh:mm:ss` without a regular expression: nearly every file, and the cost of reading large ones. */
function parsePlainIso(text: string): Stamp | undefined {
  if ((text.length !== 10 && text.length !== 19) || text.charCodeAt(4) !== 45 || text.charCodeAt(7) !== 45) return undefined;
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  let ms = 0;
  if (text.length === 19) {
    const separator = text.charCodeAt(10);
    if ((separator !== 32 && separator !== 84) || text.charCodeAt(13) !== 58 || text.charCodeAt(16) !== 58) return undefined;
    ms = clockMs(digits(text, 11, 13), digits(text, 14, 16), digits(text, 17, 19), 0);
  }
  const at = dateToMs(year, month, day, ms);
  return Number.isNaN(at) ? undefined : { ms: at, kind: "wall", format: "ISO 8601" };
}

function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

function parseYearLast(m: RegExpExecArray): Stamp | undefined {
  const [a, b, year] = [Number(m[1]), Number(m[3]), fullYear(m[4]!)];
  const ms = clock(m, 5);
  const dayFirst = build(year, b, a, ms, undefined, "day, month, year");
  if (m[2] === ".") return dayFirst; // points are written between day and month where the day comes first
  const monthFirst = build(year, a, b, ms, undefined, "month, day, year");
  if (monthFirst === undefined) return dayFirst && { ...dayFirst, order: "day-first" };
  if (dayFirst === undefined) return { ...monthFirst, order: "month-first" };
  return { ...monthFirst, dayFirst: dayFirst.ms, format: "month/day or day/month, year" };
}

function parseIsoWeek(year: number, week: number, day: number): Stamp | undefined {
  const january4 = dateToMs(year, 1, 4); // lies in week 1 by definition
  const ms = january4 - weekday(january4) * DAY + (week - 1) * WEEK + (day - 1) * DAY;
  return week >= 1 && week <= 53 ? { ms, kind: "wall", format: "ISO week" } : undefined;
}

function build(year: number, month: number, day: number, ms: number, offset: string | undefined, format: string): Stamp | undefined {
  const wall = dateToMs(year, month, day, ms);
  if (Number.isNaN(wall)) return undefined;
  if (offset === undefined) return { ms: wall, kind: "wall", format };
  const ahead = offsetMs(offset);
  return { ms: wall - ahead, kind: "instant", offset: ahead, format };
}

function offsetMs(text: string): number {
  if (!/^[+-]/.test(text)) return 0;
  const plain = text.slice(1).replace(":", "");
  const size = Number(plain.slice(0, 2)) * HOUR + Number(plain.slice(2) || 0) * MINUTE;
  return text.startsWith("-") ? -size : size;
}

/** Time of day from the five groups at `first`: hours, minutes, seconds, fraction, AM or PM. 0 without one. */
function clock(m: RegExpExecArray, first: number): number {
  if (m[first] === undefined) return 0;
  let hours = Number(m[first]);
  const half = m[first + 4]?.[0]?.toLowerCase();
  if (half !== undefined) {
    if (hours < 1 || hours > 12) return Number.NaN;
    hours = (hours % 12) + (half === "p" ? 12 : 0);
  }
  return clockMs(hours, Number(m[first + 1]), Number(m[first + 2] ?? 0), Number(`0.${m[first + 3] ?? 0}`));
}

function clockMs(hours: number, minutes: number, seconds: number, fraction: number): number {
  const isDayEnd = hours === 24 && minutes === 0 && seconds === 0;
  if ((hours > 23 && !isDayEnd) || minutes > 59 || seconds > 59) return Number.NaN;
  return hours * HOUR + minutes * MINUTE + seconds * SECOND + Math.floor(fraction * 1000 + 1e-6);
}

/** Two digits: 70 to 99 are of the last century. */
function fullYear(text: string): number {
  const year = Number(text);
  return text.length === 4 ? year : year + (year >= 70 ? 1900 : 2000);
}

function monthNumber(name: string): number {
  const short = name.slice(0, 3).toLowerCase();
  const index = months.indexOf(short);
  const full = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"][
    index
  ];
  return full?.startsWith(name.toLowerCase()) || name.toLowerCase() === "sept" ? index + 1 : Number.NaN;
}

/** How a column of plain numbers counts time. */
export type NumericTime =
  | "year"
  | "YYYYMM"
  | "YYYYMMDD"
  | "epoch seconds"
  | "epoch milliseconds"
  | "epoch microseconds"
  | "epoch nanoseconds"
  | "step";

/** What a column of numbers can be; fed with every cell, so that no reading is taken that a later row contradicts. */
export class NumericTimeReader {
  private isInteger = true;
  private isYear = true;
  private isYearMonth = true;
  private isDate = true;
  private smallest = Number.POSITIVE_INFINITY;
  private largest = Number.NEGATIVE_INFINITY;

  add(value: number): void {
    if (value < this.smallest) this.smallest = value;
    if (value > this.largest) this.largest = value;
    if (this.isInteger && !Number.isInteger(value)) this.isInteger = false;
    if (this.isYear && !(value >= 1000 && value <= 2999)) this.isYear = false;
    if (this.isYearMonth && Number.isNaN(yearMonth(value))) this.isYearMonth = false;
    if (this.isDate && Number.isNaN(yearMonthDay(value))) this.isDate = false;
  }

  /**
   * The reading of the whole column. Dates and years win over epochs (19580329 is a day, not August 1970); epochs are told by
   * their size, as instants after 1973; small numbers count steps.
   */
  decide(): NumericTime {
    if (this.isInteger && this.isDate) return "YYYYMMDD";
    if (this.isInteger && this.isYearMonth) return "YYYYMM";
    if (this.isInteger && this.isYear) return "year";
    const size = Math.max(Math.abs(this.smallest), Math.abs(this.largest));
    if (size >= 1e17) return "epoch nanoseconds";
    if (size >= 1e14) return "epoch microseconds";
    if (size >= 1e11) return "epoch milliseconds";
    return size >= 1e8 ? "epoch seconds" : "step";
  }
}

/** Milliseconds of a number under a reading (of the wall for dates and years, of UTC for epochs); the number itself for steps. */
export function numericTimeToMs(reading: NumericTime, value: number): number {
  switch (reading) {
    case "year":
      return dateToMs(value, 1, 1);
    case "YYYYMM":
      return yearMonth(value);
    case "YYYYMMDD":
      return yearMonthDay(value);
    case "epoch seconds":
      return Math.round(value * 1000);
    case "epoch milliseconds":
      return Math.round(value);
    case "epoch microseconds":
      return Math.floor(value / 1e3);
    case "epoch nanoseconds":
      return Math.floor(value / 1e6);
    case "step":
      return value;
    default:
      return reading satisfies never;
  }
}

function yearMonth(value: number): number {
  const year = Math.floor(value / 100);
  return value >= 100_000 && year >= 1000 && year <= 2999 ? dateToMs(year, value % 100, 1) : Number.NaN;
}

function yearMonthDay(value: number): number {
  const year = Math.floor(value / 10_000);
  return year >= 1000 && year <= 2999 ? dateToMs(year, Math.floor(value / 100) % 100, value % 100) : Number.NaN;
}
