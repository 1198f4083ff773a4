import { FormatError, MemoryError } from "../../errors.ts";
import { isMissing, parseNumber } from "./numbers.ts";
import type { Batch, Cell, TableReader } from "./read.ts";
import type { Roles } from "./roles.ts";
import { exchangeDayAndMonth, TimeColumn, type TimeFacts } from "./time-column.ts";

/** Numbers kept at most, over all series: 1 GB of float64. */
const maxNumbers = 128 << 20;

/** The rows of one id in the order of the file, as columns. */
export interface Group {
  readonly id: string;
  /** [N] milliseconds of the wall or of UTC, or step numbers. */
  readonly times: Float64Array;
  /** One [N] per target, then one per covariate; NaN is missing. */
  readonly columns: readonly Float64Array[];
  /** Older rows that were left out to keep `history` of them. */
  readonly numDropped: number;
}

export interface Collected {
  readonly groups: readonly Group[];
  readonly numRows: number;
  readonly time: TimeFacts | undefined;
  /** Categories of each covariate that is text, in order of appearance, coded 0, 1, 2 …; undefined for numbers. */
  readonly categories: readonly (readonly string[] | undefined)[];
}

export interface CollectOptions {
  readonly dayFirst?: boolean;
  /** Latest rows kept of each series. */
  readonly history: number;
  readonly signal?: AbortSignal;
}

/**
 * Reads all rows into columns of numbers, one group per id. Memory is bounded by the numbers kept (at most `history` rows per series
 * and 1 GB in all), not by the file.
 *
 * @param decideOrder  asked where every row leaves open whether day or month comes first
 * @throws FormatError with row and column for text among numbers, a ragged row or an unreadable time
 * @throws MemoryError when more than 128 Mi numbers are to be kept
 */
export async function collect(
  table: TableReader,
  batches: AsyncIterable<Batch>,
  roles: Roles,
  options: CollectOptions,
  decideOrder: (groups: readonly Float64Array[]) => boolean | undefined,
): Promise<Collected> {
  const timeName = roles.time.map((column) => table.columns[column]).join(" + ");
  const clock = roles.time.length > 0 ? new TimeColumn(table.name, timeName, options.dayFirst) : undefined;
  const valueColumns = [...roles.targets, ...roles.covariates.map(({ column }) => column)];
  const categories = [
    ...roles.targets.map(() => undefined),
    ...roles.covariates.map(({ kind }) => (kind === "category" ? new Map<string, number>() : undefined)),
  ];
  const groups = new Map<string, GrowingGroup>();
  let numRows = 0;
  let kept = 0;
  const exchange = () => {
    for (const group of groups.values()) for (let i = 0; i < group.length; i++) group.times[i] = exchangeDayAndMonth(group.times[i]!);
  };
  const width = table.columns.length;
  for await (const { firstRow, rows } of batches) {
    options.signal?.throwIfAborted();
    for (let r = 0; r < rows.length; r++) {
      const cells = rows[r]!;
      const row = firstRow + r;
      if (isBlank(cells)) continue;
      if (cells.length !== width && !isPadded(cells, width)) {
        throw new FormatError(
          table.name,
          `row ${row}: has ${cells.length} fields, expected ${width} (${table.columns.slice(0, 6).join(", ")}${width > 6 ? " …" : ""})`,
        );
      }
      numRows++;
      const id = roles.ids.length === 0 ? "" : roles.ids.map((column) => idText(cells[column]!, table, row, column)).join(" / ");
      let group = groups.get(id);
      if (group === undefined) {
        group = new GrowingGroup(valueColumns.length);
        groups.set(id, group);
      }
      const time =
        clock === undefined ? group.length + group.numDropped : clock.read(timeCell(cells, roles.time, table, row), row, exchange);
      const before = group.capacity;
      group.push(time);
      for (let c = 0; c < valueColumns.length; c++) {
        const column = valueColumns[c]!;
        const codes = categories[c];
        const cell = cells[column] ?? null;
        group.columns[c]![group.length - 1] = codes === undefined ? toNumber(cell, roles.decimal, table, row, column) : toCode(cell, codes);
      }
      if (group.length >= 2 * options.history && clock?.isOrderOpen !== true) group.keepLatest(options.history);
      kept += (group.capacity - before) * (valueColumns.length + 1);
      if (kept > maxNumbers) {
        const neededBytes = kept * 8;
        throw new MemoryError(
          `${table.name}: more than ${maxNumbers} numbers to keep at row ${row}; lower --history (now ${options.history}) or name fewer columns`,
          { neededBytes, availableBytes: maxNumbers * 8 },
        );
      }
    }
  }
  const finished = clock?.finish(
    () => decideOrder([...groups.values()].slice(0, 100).map((group) => group.times.slice(0, group.length))),
    exchange,
  );
  const done = [...groups].map(([id, group]): Group => {
    group.keepLatest(options.history);
    const times = group.times.slice(0, group.length);
    if (finished !== undefined) for (let i = 0; i < times.length; i++) times[i] = finished.toMs(times[i]!);
    return { id, times, columns: group.columns.map((values) => values.slice(0, group.length)), numDropped: group.numDropped };
  });
  return {
    groups: done,
    numRows,
    time: finished?.facts,
    categories: categories.slice(roles.targets.length).map((codes) => codes && [...codes.keys()]),
  };
}

class GrowingGroup {
  length = 0;
  numDropped = 0;
  times = new Float64Array(16);
  columns: Float64Array<ArrayBuffer>[];

  constructor(numColumns: number) {
    this.columns = Array.from({ length: numColumns }, () => new Float64Array(16));
  }

  get capacity(): number {
    return this.times.length;
  }

  push(time: number): void {
    if (this.length === this.times.length) {
      this.times = grown(this.times);
      this.columns = this.columns.map(grown);
    }
    this.times[this.length++] = time;
  }

  /** Drops all but the `count` latest rows; their order in the file is kept. */
  keepLatest(count: number): void {
    if (this.length <= count) return;
    const latest = Float64Array.from(this.times.subarray(0, this.length)).sort();
    const oldest = latest[this.length - count]!;
    // Of several rows at the oldest time kept, the later ones stay.
    let surplus = 0;
    for (let i = 0; i < this.length; i++) if (this.times[i]! >= oldest) surplus++;
    surplus -= count;
    let to = 0;
    for (let from = 0; from < this.length; from++) {
      const time = this.times[from]!;
      if (time < oldest || (time === oldest && surplus-- > 0)) continue;
      this.times[to] = time;
      for (const values of this.columns) values[to] = values[from]!;
      to++;
    }
    this.numDropped += this.length - to;
    this.length = to;
  }
}

function grown(values: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(values.length * 2);
  larger.set(values);
  return larger;
}

function isBlank(cells: readonly Cell[]): boolean {
  return cells.every((cell) => cell === null || (typeof cell === "string" && cell.trim() === ""));
}

/** Longer than the header by empty cells only: the delimiter at the end of the line. */
function isPadded(cells: readonly Cell[], width: number): boolean {
  return cells.length > width && cells.slice(width).every((cell) => cell === "");
}

function timeCell(cells: readonly Cell[], columns: readonly number[], table: TableReader, row: number): Cell {
  if (columns.length === 1) return cells[columns[0]!] ?? null;
  const [year, part, day] = columns.map((column) => Number(cells[column]));
  const isQuarter = /quarter/i.test(table.columns[columns[1]!]!);
  const two = (n: number) => String(n).padStart(2, "0");
  if ([year, part, day ?? 1].some((n) => !Number.isInteger(n))) {
    throw new FormatError(
      table.name,
      `row ${row}: ${columns.map((column) => JSON.stringify(cells[column])).join(", ")} are no parts of a date`,
    );
  }
  return isQuarter ? `${year}-Q${part}` : `${year}-${two(part!)}${day === undefined ? "" : `-${two(day)}`}`;
}

function idText(cell: Cell, table: TableReader, row: number, column: number): string {
  const text = cell === null ? "" : String(cell instanceof Date ? cell.toISOString() : cell).trim();
  if (text === "") throw new FormatError(table.name, `row ${row}, column "${table.columns[column]}": the id is empty`);
  return text;
}

export function toNumber(
  cell: Cell,
  decimal: "." | ",",
  table: Pick<TableReader, "name" | "columns">,
  row: number,
  column: number,
): number {
  if (cell === null || (typeof cell === "string" && isMissing(cell)) || (typeof cell === "number" && Number.isNaN(cell))) return Number.NaN;
  const value = typeof cell === "number" ? cell : typeof cell === "string" ? parseNumber(cell, decimal) : Number.NaN;
  if (Number.isFinite(value)) return value;
  const shown = typeof cell === "number" ? String(cell) : JSON.stringify(cell);
  const size = typeof cell === "number" || /^[+-]?(\d|inf)/i.test(String(cell)) ? "is not a finite number" : "is not a number";
  throw new FormatError(table.name, `row ${row}, column "${table.columns[column]}": ${shown} ${size}`);
}

function toCode(cell: Cell, codes: Map<string, number>): number {
  if (cell === null || (typeof cell === "string" && isMissing(cell))) return Number.NaN;
  const text = cell instanceof Date ? cell.toISOString() : String(cell);
  let code = codes.get(text);
  if (code === undefined) {
    code = codes.size;
    codes.set(text, code);
  }
  return code;
}
