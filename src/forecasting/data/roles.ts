import { FormatError, OptionError } from "../../errors.ts";
import { isMissing, parseNumber } from "./numbers.ts";
import type { Cell, TableReader } from "./read.ts";
import { NumericTimeReader, parseStamp } from "./stamps.ts";

/** long: a row is one time of one series. wide: a column is a series. rows: a row is a series, its columns are the times. */
export type Layout = "long" | "wide" | "rows";

export interface RoleOptions {
  readonly layout?: Layout;
  /** Column of times; several are the parts of a date (year, month or quarter, day). */
  readonly time?: string | readonly string[];
  readonly target?: string | readonly string[];
  /** Columns that together name a series. */
  readonly id?: string | readonly string[];
  /** Columns known only up to the last observation. */
  readonly covariates?: readonly string[];
  /** Columns known for the future too; rows after the last target give their values there. */
  readonly knownAhead?: readonly string[];
  /** Default: a point, or a comma where the sample shows it. */
  readonly decimal?: "." | ",";
}

/** Indices of columns by what they are for. */
export interface Roles {
  readonly layout: Layout;
  readonly time: readonly number[];
  readonly ids: readonly number[];
  readonly targets: readonly number[];
  readonly covariates: readonly { readonly column: number; readonly knownAhead: boolean; readonly kind: "number" | "category" }[];
  readonly decimal: "." | ",";
  /** Columns that no series is made of, with the reason. */
  readonly unused: readonly { readonly column: number; readonly because: string }[];
  /** Why the columns were taken for what they are, where no option said so. */
  readonly reasons: readonly string[];
}

const timeNames =
  /^(date|time|times|timestamp|datetime|ds|year|yr|month|quarter|week|period|step|index|t|ts|dt|day|date[_ -]?time|.*[_ -](date|time|at|ts))$/i;
const stepNames = /^(step|index|t|period|ds|time)$/i;
const idNames =
  /^(id|unique[_ -]?id|series|series[_ -]?(id|name)|item|sku|store|shop|product|country|region|city|state|symbol|ticker|name|category|group|channel|sensor|device|meter|location|site|.*[_ -]id|.*[_ -]key)$/i;
const targetNames = /^(y|value|values|target|sales|demand|count|quantity|qty|amount|units|price|close)$/i;

/**
 * Decides what each column is for, from its name and the first rows. What an option names is not guessed.
 *
 * @param rowNumbers  of the sample, for messages
 * @throws OptionError for a column that is not there or has two roles, FormatError where nothing can be forecast or the choice is open
 */
export function inferRoles(
  table: Pick<TableReader, "name" | "columns">,
  sample: readonly (readonly Cell[])[],
  options: RoleOptions,
  rowNumbers: readonly number[] = [],
): Roles {
  const columns = table.columns;
  const reasons: string[] = [];
  const unused: { column: number; because: string }[] = [];
  const named = resolveNames(columns, options);
  const decimal = options.decimal ?? guessDecimal(sample);
  const cellsOf = (column: number) =>
    sample.map((row) => row[column] ?? null).filter((cell) => cell !== null && !(typeof cell === "string" && isMissing(cell)));
  const kinds = columns.map((name, column) => columnKind(name, cellsOf(column), decimal));
  const isFree = (column: number) => !named.all.has(column);

  let time = named.time;
  if (time.length === 0 && options.layout !== "rows") {
    time = guessTime(columns, cellsOf, kinds, isFree);
    if (time.length > 0)
      reasons.push(`${list(time, columns)} holds the times: ${time.length > 1 ? "parts of a date" : "its first rows read as times"}`);
  }
  const isTaken = (column: number) => named.all.has(column) || time.includes(column);
  const free = columns.map((_, column) => column).filter((column) => !isTaken(column));

  const layout = options.layout ?? guessLayout(time, named, free, kinds, cellsOf, sample.length);
  if (layout === "rows") return rowsRoles(table.name, columns, named, kinds, decimal, reasons);

  let ids = named.id;
  if (ids.length === 0 && layout !== "wide") {
    ids = guessIds(columns, free, kinds, sample, time);
    if (ids.length > 0) reasons.push(`${list(ids, columns)} ${ids.length > 1 ? "name" : "names"} the series: text beside the times`);
  }
  let targets = named.target;
  const isNumbers = (column: number) => kinds[column] === "number" && !ids.includes(column);
  const numeric = free.filter((column) => isNumbers(column) && !isRowCounter(columns[column]!, column, cellsOf(column)));
  if (targets.length === 0) {
    const hasCovariates = named.covariates.size > 0;
    const likely = numeric.filter((column) => targetNames.test(columns[column]!));
    if (numeric.length === 0) throw new FormatError(table.name, noNumbers(columns, kinds, sample, rowNumbers, decimal));
    if (numeric.length === 1 || (ids.length === 0 && !hasCovariates)) targets = numeric;
    else if (likely.length === 1) targets = likely;
    else
      throw new OptionError("target", `${table.name} has several columns of numbers; name the one to forecast: ${list(numeric, columns)}`);
    reasons.push(
      targets.length > 1
        ? `every column of numbers is a series (${targets.length})`
        : `${list(targets, columns)} is the target: ${numeric.length === 1 ? "the only column of numbers" : "by its name"}`,
    );
  }
  for (const column of free) {
    if (ids.includes(column) || targets.includes(column)) continue;
    unused.push({
      column,
      because: kinds[column] === "empty" ? "no values in the first rows" : kinds[column] === "number" ? "not the target" : "text",
    });
  }
  const covariates = [...named.covariates].map(
    ([column, knownAhead]) => ({ column, knownAhead, kind: kinds[column] === "number" ? "number" : "category" }) as const,
  );
  return { layout: ids.length === 0 && targets.length > 1 ? "wide" : "long", time, ids, targets, covariates, decimal, unused, reasons };
}

type ColumnKind = "number" | "time" | "text" | "empty";

function columnKind(name: string, cells: readonly Cell[], decimal: "." | ","): ColumnKind {
  if (cells.length === 0) return "empty";
  const isNumber = (cell: Cell) => typeof cell === "number" || (typeof cell === "string" && !Number.isNaN(parseNumber(cell, decimal)));
  if (cells.every(isNumber)) return "number";
  const numTimes = cells.filter((cell) => cell instanceof Date || (typeof cell === "string" && parseStamp(cell) !== undefined)).length;
  if (numTimes === cells.length || (timeNames.test(name) && numTimes > cells.length / 2)) return "time";
  // A column of numbers with a stray word is a column of numbers with an error in it, which is reported with its row.
  return cells.filter(isNumber).length > 0.9 * cells.length && cells.length >= 10 ? "number" : "text";
}

function guessTime(
  columns: readonly string[],
  cellsOf: (column: number) => readonly Cell[],
  kinds: readonly ColumnKind[],
  isFree: (column: number) => boolean,
): readonly number[] {
  const indices = columns.map((_, column) => column).filter(isFree);
  const written = indices.filter((column) => kinds[column] === "time");
  const best = written.find((column) => timeNames.test(columns[column]!)) ?? written[0];
  if (best !== undefined) return [best];
  const numbered = indices.filter((column) => kinds[column] === "number" && timeNames.test(columns[column]!));
  for (const column of numbered) {
    const reader = new NumericTimeReader();
    for (const cell of cellsOf(column)) reader.add(Number(cell));
    const reading = reader.decide();
    if (reading === "step" && !stepNames.test(columns[column]!)) continue;
    if (reading !== "year") return [column];
    const part = numbered.find((other) => /^(month|quarter)$/i.test(columns[other]!));
    const day =
      part !== undefined && /^month$/i.test(columns[part]!) ? numbered.find((other) => /^day$/i.test(columns[other]!)) : undefined;
    return [column, part, day].filter((index) => index !== undefined);
  }
  return [];
}

function guessLayout(
  time: readonly number[],
  named: Named,
  free: readonly number[],
  kinds: readonly ColumnKind[],
  cellsOf: (column: number) => readonly Cell[],
  numRows: number,
): Layout {
  if (time.length > 0 || named.target.length > 0 || free.length < 3) return "long";
  const first = free[0]!;
  const names = cellsOf(first);
  const isNamed = kinds[first] === "text" && names.length === numRows && new Set(names).size === names.length;
  return isNamed && free.slice(1).every((column) => kinds[column] === "number" || kinds[column] === "empty") ? "rows" : "long";
}

function rowsRoles(
  file: string,
  columns: readonly string[],
  named: Named,
  kinds: readonly ColumnKind[],
  decimal: "." | ",",
  reasons: string[],
): Roles {
  if (named.time.length > 0) throw new OptionError("time", "in the layout rows the header holds the times; leave it out");
  if (named.covariates.size > 0) throw new OptionError("covariates", "the layout rows has no place for covariates");
  const ids = named.id.length > 0 ? named.id : columns.flatMap((_, column) => (kinds[column] === "text" ? [column] : [])).slice(0, 1);
  const targets = columns.flatMap((_, column) => (ids.includes(column) ? [] : [column]));
  if (ids.length === 0 || targets.length === 0)
    throw new FormatError(file, "the layout rows needs a column of names and columns of values");
  reasons.push(`every row is a series named by ${list(ids, columns)}: the other columns hold its values in order`);
  return { layout: "rows", time: [], ids, targets, covariates: [], decimal, unused: [], reasons };
}

/** Text columns, and columns named like ids, until (time, id) is unique in the sample. */
function guessIds(
  columns: readonly string[],
  free: readonly number[],
  kinds: readonly ColumnKind[],
  sample: readonly (readonly Cell[])[],
  time: readonly number[],
): readonly number[] {
  const isIdName = (column: number) => idNames.test(columns[column]!);
  const candidates = [
    ...free.filter((column) => kinds[column] === "text" && isIdName(column)),
    ...free.filter((column) => kinds[column] === "number" && isIdName(column) && isWholeNumbers(sample, column)),
    ...free.filter((column) => kinds[column] === "text" && !isIdName(column)),
  ];
  const isUnique = (ids: readonly number[]) => {
    const keys = sample.map((row) => JSON.stringify([...time, ...ids].map((column) => row[column])));
    return new Set(keys).size === keys.length;
  };
  const isConstant = (column: number) => new Set(sample.map((row) => row[column])).size === 1;
  const chosen = candidates.filter((column) => kinds[column] === "text" && (isIdName(column) || isConstant(column)));
  for (const column of candidates) {
    if (time.length > 0 && isUnique(chosen)) break;
    if (!chosen.includes(column) && (time.length > 0 || isIdName(column))) chosen.push(column);
  }
  return chosen.sort((a, b) => a - b);
}

function isWholeNumbers(sample: readonly (readonly Cell[])[], column: number): boolean {
  return sample.every((row) => Number.isInteger(Number(row[column])));
}

/** The unnamed first column 0, 1, 2 … that data frames write. */
function isRowCounter(name: string, column: number, cells: readonly Cell[]): boolean {
  return (
    column === 0 &&
    /^(column1|unnamed.*|index)$/i.test(name) &&
    cells.every((cell, row) => Number(cell) === row + Number(cells[0]) && Number(cells[0]) <= 1)
  );
}

/** A decimal comma: some cell reads as a number only with one, and none only with a point. */
function guessDecimal(sample: readonly (readonly Cell[])[]): "." | "," {
  let onlyComma = false;
  for (const row of sample) {
    for (const cell of row) {
      if (typeof cell !== "string" || !/\d/.test(cell)) continue;
      const [point, comma] = [!Number.isNaN(parseNumber(cell, ".")), !Number.isNaN(parseNumber(cell, ","))];
      if (point && !comma) return ".";
      if (comma && !point) onlyComma = true;
    }
  }
  return onlyComma ? "," : ".";
}

interface Named {
  readonly time: readonly number[];
  readonly id: readonly number[];
  readonly target: readonly number[];
  readonly covariates: ReadonlyMap<number, boolean>;
  readonly all: ReadonlySet<number>;
}

function resolveNames(columns: readonly string[], options: RoleOptions): Named {
  const all = new Map<number, string>();
  const take = (option: string, names: string | readonly string[] | undefined): number[] =>
    (typeof names === "string" ? [names] : (names ?? [])).map((name) => {
      const column = columns.indexOf(name);
      if (column < 0) throw new OptionError(option, `there is no column "${name}"; the columns are ${columns.slice(0, 30).join(", ")}`);
      if (all.has(column)) throw new OptionError(option, `the column "${name}" is already taken as ${all.get(column)}`);
      all.set(column, option);
      return column;
    });
  const [time, id, target] = [take("time", options.time), take("id", options.id), take("target", options.target)];
  const covariates = new Map<number, boolean>();
  for (const column of take("covariates", options.covariates)) covariates.set(column, false);
  for (const column of take("knownAhead", options.knownAhead)) covariates.set(column, true);
  return { time, id, target, covariates, all: new Set(all.keys()) };
}

function list(indices: readonly number[], columns: readonly string[]): string {
  const names = indices.map((index) => `"${columns[index]}"`);
  return names.length > 12 ? `${names.slice(0, 12).join(", ")} and ${names.length - 12} more` : names.join(", ");
}

/** Names the columns by their kinds and, of the column with the most numbers, the first cell that is none. */
function noNumbers(
  columns: readonly string[],
  kinds: readonly ColumnKind[],
  sample: readonly (readonly Cell[])[],
  rowNumbers: readonly number[],
  decimal: "." | ",",
): string {
  const isText = (cell: Cell | undefined): cell is string => typeof cell === "string" && !isMissing(cell);
  const isNumber = (cell: Cell | undefined) => typeof cell === "number" || (isText(cell) && !Number.isNaN(parseNumber(cell, decimal)));
  const counts = columns.map((_, column) => (kinds[column] === "text" ? sample.filter((row) => isNumber(row[column])).length : 0));
  const likely = counts.indexOf(Math.max(...counts));
  const bad = counts[likely]! > 0 ? sample.findIndex((row) => isText(row[likely]) && !isNumber(row[likely])) : -1;
  const first =
    bad < 0 || rowNumbers[bad] === undefined
      ? ""
      : `; row ${rowNumbers[bad]}, column "${columns[likely]}": ${JSON.stringify(sample[bad]![likely])} is not a number`;
  const list = columns.slice(0, 20).map((name, column) => `"${name}": ${kinds[column]}`);
  return `has no column of numbers to forecast (${list.join(", ")})${first}`;
}
