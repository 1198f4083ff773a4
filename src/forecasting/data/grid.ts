import { FormatError } from "../../errors.ts";
import type { Frequency, TimeGrid } from "../types.ts";
import {
  DAY,
  dateToMs,
  describeFrequency,
  fixedStep,
  formatTime,
  fromWall,
  indexOfTime,
  isCalendarStep,
  monthIndex,
  monthsPerStep,
  toWall,
  zoneOffset,
} from "./calendar.ts";
import type { Group } from "./collect.ts";

/** What becomes of several rows of one series at one step. */
export type DuplicateRule = "mean" | "sum" | "first" | "last" | "error";

/** The rows of one id on a regular grid: index i of every column is step i of `time`. */
export interface GriddedGroup {
  readonly id: string;
  readonly time: TimeGrid;
  readonly columns: readonly Float64Array[];
  readonly facts: GridFacts;
}

export interface GridFacts {
  readonly rows: number;
  /** Steps without a row between the first and the last. */
  readonly gaps: number;
  /** Rows at a step that already had one, and how many of them hold other values. */
  readonly duplicates: number;
  readonly conflicts: number;
  /** Rows whose time lies beside the grid and was moved to the nearest step. */
  readonly offGrid: number;
  readonly isSorted: boolean;
  readonly isDescending: boolean;
  readonly numDropped: number;
}

export interface GridOptions {
  readonly file: string;
  readonly frequency: Frequency;
  /** True: the user named the frequency, so rows between two steps belong to the step that began. False: it was inferred. */
  readonly isGiven: boolean;
  readonly clock: TimeGrid["clock"];
  readonly duplicates: DuplicateRule;
}

/**
 * Puts rows in the order of time on a regular grid. Steps without a row are NaN in every column.
 *
 * @throws FormatError for duplicates under the rule "error", and for a grid so empty that the frequency can't be right
 */
export function putOnGrid(group: Group, options: GridOptions): GriddedGroup {
  const { times } = group;
  const { order, isSorted, isDescending } = sortOrder(times);
  const first = times[order[0]!]!;
  let grid: TimeGrid = { frequency: options.frequency, start: first, clock: options.clock };
  let round: "nearest" | "down" = "nearest";
  if (options.isGiven && !times.every((time) => indexOfTime(grid, time).exact)) {
    grid = { ...grid, start: beginningOfStep(first, options.frequency, options.clock) };
    round = "down";
  }
  const length = indexOfTime(grid, times[order.at(-1)!]!, round).index + 1;
  if (length > 10_000 + 50 * times.length) {
    const named = group.id === "" ? "" : `series ${group.id}: `;
    throw new FormatError(
      options.file,
      `${named}${times.length} rows on ${length} steps (${describeFrequency(options.frequency)}) from ${formatTime(grid, 0)} to ${formatTime(grid, length - 1)}: a time is wrong, or the frequency is; name it with --frequency`,
    );
  }
  const columns = group.columns.map(() => new Float64Array(length).fill(Number.NaN));
  const counts = new Uint32Array(length);
  let [duplicates, conflicts, offGrid] = [0, 0, 0];
  for (const row of order) {
    const { index, exact } = indexOfTime(grid, times[row]!, round);
    if (!exact && round === "nearest") offGrid++;
    if (counts[index]!++ > 0) {
      duplicates++;
      const differs = group.columns.some((values, column) => !Object.is(values[row], columns[column]![index]));
      if (differs) conflicts++;
      if (options.duplicates === "error") {
        const named = group.id === "" ? "" : `series ${group.id} has `;
        throw new FormatError(
          options.file,
          `${named}two rows at ${formatTime(grid, index)}; choose what to do with --duplicates mean | sum | first | last`,
        );
      }
    }
    group.columns.forEach((values, column) => {
      merge(columns[column]!, index, values[row]!, options.duplicates);
    });
  }
  if (options.duplicates === "mean" && duplicates > 0) divideByCounts(group, grid, round, columns);
  let gaps = 0;
  for (const count of counts) if (count === 0) gaps++;
  const facts = { rows: times.length, gaps, duplicates, conflicts, offGrid, isSorted, isDescending, numDropped: group.numDropped };
  return { id: group.id, time: grid, columns, facts };
}

/** Row numbers by time; rows of equal time keep their order in the file. */
function sortOrder(times: Float64Array): { order: Uint32Array; isSorted: boolean; isDescending: boolean } {
  const order = Uint32Array.from(times, (_, row) => row);
  let [isSorted, isDescending] = [true, times.length > 1];
  for (let i = 1; i < times.length; i++) {
    if (times[i]! < times[i - 1]!) isSorted = false;
    else isDescending = false;
  }
  if (!isSorted) order.sort((a, b) => times[a]! - times[b]! || a - b);
  return { order, isSorted, isDescending };
}

/** Adds under "mean" (divided afterwards) and "sum"; a missing value changes nothing. */
function merge(column: Float64Array, index: number, value: number, rule: DuplicateRule): void {
  const before = column[index]!;
  if (Number.isNaN(value)) return;
  if (Number.isNaN(before) || rule === "last") column[index] = value;
  else if (rule === "sum" || rule === "mean") column[index] = before + value;
}

function divideByCounts(group: Group, grid: TimeGrid, round: "nearest" | "down", columns: readonly Float64Array[]): void {
  const counts = new Uint32Array(columns[0]?.length ?? 0);
  const indices = Array.from(group.times, (time) => indexOfTime(grid, time, round).index);
  columns.forEach((column, c) => {
    counts.fill(0);
    group.columns[c]!.forEach((value, row) => {
      if (!Number.isNaN(value)) counts[indices[row]!]!++;
    });
    for (let i = 0; i < column.length; i++) {
      if (counts[i]! <= 1) continue;
      if (Number.isFinite(column[i])) column[i]! /= counts[i]!;
      else column[i] = runningMean(group.columns[c]!, indices, i); // the sum left the range of a double, the mean doesn't
    }
  });
}

function runningMean(values: Float64Array, indices: readonly number[], index: number): number {
  let [mean, count] = [0, 0];
  values.forEach((value, row) => {
    if (indices[row] === index && !Number.isNaN(value)) mean += value / ++count - mean / count;
  });
  return mean;
}

/** The last boundary of a step at or before a time: full hour, midnight, first of the month or quarter, 1 January. */
function beginningOfStep(time: number, frequency: Frequency, clock: TimeGrid["clock"]): number {
  const months = monthsPerStep(frequency);
  const fixed = fixedStep(frequency);
  if (!isCalendarStep(frequency)) return Math.floor(time / fixed!) * fixed!;
  const wall = typeof clock === "object" ? toWall(clock.zone, time) : time;
  let begin = Math.floor(wall / DAY) * DAY;
  if (months !== undefined) {
    const at = Math.floor(monthIndex(wall) / months) * months;
    begin = dateToMs(Math.floor(at / 12), (at % 12) + 1, 1);
  }
  if (typeof clock !== "object") return begin;
  return fromWall(clock.zone, begin)[0] ?? begin - zoneOffset(clock.zone, begin - DAY);
}
