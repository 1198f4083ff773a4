import { FormatError } from "../../errors.ts";
import { dateToMs, HOUR, MINUTE } from "./calendar.ts";
import type { Cell } from "./read.ts";
import { NumericTimeReader, numericTimeToMs, parseStamp } from "./stamps.ts";

/** How the times of a file were read. */
export interface TimeFacts {
  readonly format: string;
  /** Where day and month could be exchanged: what was chosen, and by what evidence. */
  readonly order?: { readonly chosen: "day-first" | "month-first"; readonly because: string; readonly isCertain: boolean };
  /** Offsets from UTC that the stamps carry, such as "+02:00". */
  readonly offsets: readonly string[];
  readonly kind: "wall" | "instant" | "step";
}

/**
 * Reads a column of times cell by cell. Three questions are answered by the whole column: what its numbers count, whether the day
 * or the month comes first, and whether its stamps are instants. Until then `read` returns raw numbers for `finish().toMs`.
 */
export class TimeColumn {
  private readonly file: string;
  private readonly column: string;
  private readonly numbers = new NumericTimeReader();
  private readonly formats = new Set<string>();
  private readonly offsets = new Set<number>();
  private kind: "wall" | "instant" | "number" | undefined;
  private order: "open" | "day-first" | "month-first" | undefined;
  private evidence = "";
  private hasOther = false;
  private firstRow = 0;
  private numSlashed = 0;
  /** True while stored stamps are month-first readings that may turn out to be day-first. */
  get isOrderOpen(): boolean {
    return this.order === "open";
  }

  constructor(file: string, column: string, dayFirst?: boolean) {
    this.file = file;
    this.column = column;
    if (dayFirst !== undefined) {
      this.order = dayFirst ? "day-first" : "month-first";
      this.evidence = "option";
    }
  }

  /**
   * @param onDayFirst  called when this cell shows that the day comes first: raw stamps returned so far are to be exchanged
   *                    by `exchangeDayAndMonth`
   * @returns a raw number for `toMs`
   * @throws FormatError that names row, column and cell
   */
  read(cell: Cell, row: number, onDayFirst: () => void): number {
    if (cell instanceof Date) return this.note("instant", "date", cell.getTime(), cell, row);
    if (typeof cell === "boolean" || cell === null) throw this.error(row, cell, "is not a time");
    if (typeof cell === "number" && !Number.isFinite(cell)) throw this.error(row, cell, "is not a time");
    const stamp = typeof cell === "number" ? { ms: cell, kind: "number" as const, format: "number" } : parseStamp(cell);
    if (stamp === undefined) throw this.error(row, cell, "is not a time");
    if (stamp.kind === "number") this.numbers.add(stamp.ms);
    if ("offset" in stamp && stamp.offset !== undefined) this.offsets.add(stamp.offset);
    const isSlashed = "dayFirst" in stamp || "order" in stamp;
    if (isSlashed ? this.hasOther : this.numSlashed > 0) throw this.error(row, cell, "is written in another way than the rows before");
    if (!isSlashed) {
      this.hasOther = true;
      return this.note(stamp.kind, stamp.format, stamp.ms, cell, row);
    }
    this.numSlashed++;
    const shown = "order" in stamp ? stamp.order : undefined;
    if (shown !== undefined) this.settle(shown, cell, row, onDayFirst);
    else this.order ??= "open";
    const ms = this.order === "day-first" && stamp.dayFirst !== undefined ? stamp.dayFirst : stamp.ms;
    const format = this.order === "open" ? "" : this.order === "day-first" ? "day, month, year" : "month, day, year";
    return this.note(stamp.kind, format, ms, cell, row);
  }

  private settle(shown: "day-first" | "month-first", cell: Cell, row: number, onDayFirst: () => void): void {
    if (this.order === shown) return;
    if (this.order === "day-first" || this.order === "month-first") {
      throw this.error(
        row,
        cell,
        `can only be read ${shown}, but ${this.evidence === "option" ? "the option says" : this.evidence} ${this.order}`,
      );
    }
    const wasOpen = this.order === "open";
    this.order = shown;
    this.evidence = `row ${row} ("${String(cell)}") says`;
    if (wasOpen && shown === "day-first") onDayFirst();
  }

  private note(kind: "wall" | "instant" | "number", format: string, ms: number, cell: Cell, row: number): number {
    if (this.kind === undefined) {
      this.kind = kind;
      this.firstRow = row;
    } else if (this.kind !== kind) {
      const says = { wall: "a time without a zone", instant: "an instant with an offset from UTC", number: "a number" };
      throw this.error(row, cell, `is ${says[kind]}, but row ${this.firstRow} holds ${says[this.kind]}`);
    }
    if (format !== "") this.formats.add(format);
    return ms;
  }

  /** @param isDayFirst  asked where both orders are possible in every row; undefined means that nothing tells */
  finish(isDayFirst: () => boolean | undefined, onDayFirst: () => void): { facts: TimeFacts; toMs: (raw: number) => number } {
    const offsets = [...this.offsets].sort((a, b) => a - b).map(offsetText);
    if (this.kind === "number") {
      const reading = this.numbers.decide();
      const kind = reading === "step" ? "step" : reading.startsWith("epoch") ? "instant" : "wall";
      return { facts: { format: reading, offsets, kind }, toMs: (raw) => numericTimeToMs(reading, raw) };
    }
    const kind = this.kind ?? "wall";
    const toMs = (raw: number) => raw;
    if (this.order === "open") {
      const answer = isDayFirst();
      const chosen = answer === true ? "day-first" : "month-first";
      if (answer === true) onDayFirst();
      const because = answer === undefined ? "no row tells day from month" : "so the times are evenly spaced";
      const format = answer === true ? "day, month, year" : "month, day, year";
      return { facts: { format, order: { chosen, because, isCertain: answer !== undefined }, offsets, kind }, toMs };
    }
    const order =
      this.order !== undefined && this.numSlashed > 0
        ? { chosen: this.order, because: this.evidence.replace(/ says$/, ""), isCertain: true }
        : undefined;
    return { facts: { format: [...this.formats].join("; "), ...(order && { order }), offsets, kind }, toMs };
  }

  private error(row: number, cell: Cell, what: string): FormatError {
    return new FormatError(this.file, `row ${row}, column "${this.column}": ${JSON.stringify(cell)} ${what}`);
  }
}

/** The date with the roles of day and month exchanged; both are at most 12. Its own inverse. */
export function exchangeDayAndMonth(ms: number): number {
  const date = new Date(ms);
  const midnight = dateToMs(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate());
  return dateToMs(date.getUTCFullYear(), date.getUTCDate(), date.getUTCMonth() + 1) + (ms - midnight);
}

export function offsetText(offset: number): string {
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  const size = Math.abs(offset);
  return `${offset < 0 ? "-" : "+"}${two(size / HOUR)}:${two((size % HOUR) / MINUTE)}`;
}
