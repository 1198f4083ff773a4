import { FormatError, OptionError } from "../../errors.ts";
import type { Covariate, Frequency, Series, TimeGrid } from "../types.ts";
import {
  DAY,
  defaultSeasonalPeriod,
  fixedStep,
  formatTime,
  fromWall,
  HOUR,
  isCalendarStep,
  parseFrequency,
  timeAt,
  toWall,
  zoneOffset,
} from "./calendar.ts";
import { type Collected, collect, type Group, toNumber } from "./collect.ts";
import { inferFrequency } from "./frequency.ts";
import { type DuplicateRule, type GriddedGroup, putOnGrid } from "./grid.ts";
import { type Batch, openTable, type ReadOptions, type TableReader, type TableSource } from "./read.ts";
import { inferRoles, type RoleOptions, type Roles } from "./roles.ts";
import { exchangeDayAndMonth, TimeColumn, type TimeFacts } from "./time-column.ts";
import { type SeriesFacts, type Understood, understood } from "./understood.ts";

export interface LoadOptions extends ReadOptions, RoleOptions {
  /** As `parseFrequency` reads it; default: inferred. A coarser one than the rows' puts several rows into a step (see `duplicates`). */
  readonly frequency?: string;
  /** Steps in the season; default: by the frequency. */
  readonly seasonalPeriod?: number;
  /** IANA name. Times without a zone are read as of its clock on the wall, instants are shown in it. */
  readonly timeZone?: string;
  /** Whether 01/02/2020 is the first of February; default: by the whole column. */
  readonly dayFirst?: boolean;
  /** Default "mean". */
  readonly duplicates?: DuplicateRule;
  /** Numbers that stand for a missing value in the targets: 0, -999. */
  readonly missingValues?: readonly number[];
  /** Latest rows kept of each series, default 100,000: what bounds memory on a file of any size. */
  readonly history?: number;
}

export interface LoadedTable {
  /** In the order in which the file names them; none is empty or all missing. */
  readonly series: readonly Series[];
  readonly understood: Understood;
}

/** Names of a table's columns, whatever can be understood of them. @throws FormatError for a table that can't be read */
export async function tableColumns(source: TableSource, options: ReadOptions = {}): Promise<readonly string[]> {
  const { columns, batches } = await openTable(source, options);
  await batches[Symbol.asyncIterator]().return?.();
  return columns;
}

/** Rows looked at before roles are decided. */
const sampleRows = 2000;

/**
 * Reads a table as regular time series and says what was understood. Nothing is fitted, filled or scaled: a missing value stays NaN.
 *
 * @throws FormatError, with row and column where there are, for whatever can't be understood
 */
export async function loadTable(source: TableSource, options: LoadOptions = {}): Promise<LoadedTable> {
  const given = options.frequency === undefined ? undefined : parseFrequency(options.frequency);
  checkCount("seasonalPeriod", options.seasonalPeriod);
  checkCount("history", options.history);
  if (options.timeZone !== undefined) zoneOffset(options.timeZone, 0); // refuses an unknown one before the file is read
  const table = await openTable(source, options);
  const { sample, rowNumbers, batches } = await takeSample(table);
  if (sample.length === 0) throw new FormatError(table.name, "has no rows below its header");
  const roles = inferRoles(table, sample, options, rowNumbers);
  const collected =
    roles.layout === "rows" ? await collectRows(table, batches, roles, options) : await collectColumns(table, batches, roles, options);
  const { groups, clock, zoneNotes } = setClock(collected, options);
  for (const value of options.missingValues ?? []) {
    for (const { columns } of groups) for (const column of columns.slice(0, roles.targets.length)) replace(column, value, Number.NaN);
  }
  const isNumbered = collected.time === undefined || collected.time.kind === "step";
  // Numbered steps keep their numbers; a frequency then says only what the season is.
  const frequency: ChosenFrequency =
    given === undefined || isNumbered ? frequencyOf(table, collected.time, groups, clock) : { frequency: given };
  const gridOptions = {
    file: table.name,
    frequency: frequency.frequency,
    isGiven: given !== undefined,
    clock,
    duplicates: options.duplicates ?? "mean",
  };
  const seasonalPeriod = options.seasonalPeriod ?? defaultSeasonalPeriod(given ?? frequency.frequency);
  const series: Series[] = [];
  const facts: SeriesFacts[] = [];
  for (const group of groups) {
    const gridded = putOnGrid(group, gridOptions);
    for (const [index, column] of roles.targets.entries()) {
      if (roles.layout === "rows" && index > 0) break;
      const name = roles.layout === "rows" ? "" : table.columns[column]!;
      const id = group.id === "" ? name : roles.targets.length > 1 && name !== "" ? `${group.id} / ${name}` : group.id;
      const one = toSeries(id, gridded, index, roles, collected, table, seasonalPeriod);
      facts.push(one.facts);
      if (one.series !== undefined) series.push(one.series);
    }
  }
  if (series.length === 0)
    throw new FormatError(
      table.name,
      `every value of ${roles.targets
        .map((column) => `"${table.columns[column]}"`)
        .slice(0, 5)
        .join(", ")} is missing`,
    );
  return {
    series,
    understood: understood({
      table,
      roles,
      collected,
      frequency,
      clock,
      seasonalPeriod,
      isSeasonGiven: options.seasonalPeriod !== undefined,
      facts,
      notes: zoneNotes,
      duplicates: gridOptions.duplicates,
    }),
  };
}

function replace(values: Float64Array, from: number, to: number): void {
  for (let i = 0; i < values.length; i++) if (values[i] === from) values[i] = to;
}

function checkCount(option: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
    throw new OptionError(option, `must be an integer >= 1, got ${value}`);
}

/** The first rows, and all rows including them. */
async function takeSample(
  table: TableReader,
): Promise<{ sample: Batch["rows"]; rowNumbers: readonly number[]; batches: AsyncIterable<Batch> }> {
  const iterator = table.batches[Symbol.asyncIterator]();
  const held: Batch[] = [];
  const sample: Batch["rows"][number][] = [];
  const rowNumbers: number[] = [];
  while (sample.length < sampleRows) {
    const { done, value } = await iterator.next();
    if (done) break;
    held.push(value);
    for (const [index, row] of value.rows.entries()) {
      if (sample.length >= sampleRows) break;
      if (row.length < table.columns.length && row.every((cell) => cell === null || cell === "")) continue;
      sample.push(row);
      rowNumbers.push(value.firstRow + index);
    }
  }
  async function* all(): AsyncGenerator<Batch> {
    try {
      for (let batch = held.shift(); batch !== undefined; batch = held.shift()) yield batch;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return { sample, rowNumbers, batches: all() };
}

function collectColumns(table: TableReader, batches: AsyncIterable<Batch>, roles: Roles, options: LoadOptions): Promise<Collected> {
  const collectOptions = {
    history: options.history ?? 100_000,
    ...(options.dayFirst !== undefined && { dayFirst: options.dayFirst }),
    ...(options.signal && { signal: options.signal }),
  };
  return collect(table, batches, roles, collectOptions, (groups) => {
    // Both orders are possible everywhere: the right one leaves fewer holes.
    const fill = (change: (ms: number) => number) => inferFrequency(groups.map((times) => distinct(times.map(change))))?.occupancy ?? 0;
    const [monthFirst, dayFirst] = [fill((ms) => ms), fill(exchangeDayAndMonth)];
    return Math.abs(monthFirst - dayFirst) < 0.01 ? undefined : dayFirst > monthFirst;
  });
}

/** The layout "rows": the header holds times where it reads as times, otherwise the values are numbered. */
async function collectRows(table: TableReader, batches: AsyncIterable<Batch>, roles: Roles, options: LoadOptions): Promise<Collected> {
  const clock = new TimeColumn(table.name, "the header", options.dayFirst);
  let times: Float64Array | undefined;
  let facts: TimeFacts | undefined;
  try {
    const raw = Float64Array.from(roles.targets, (column) => clock.read(table.columns[column]!, 1, () => {}));
    const finished = clock.finish(
      () => options.dayFirst,
      () => {
        for (let i = 0; i < raw.length; i++) raw[i] = exchangeDayAndMonth(raw[i]!);
      },
    );
    times = raw.map(finished.toMs);
    facts = finished.facts;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error; // names such as V1, V2: no times
  }
  const seen = new Set<string>();
  const groups: Group[] = [];
  let numRows = 0;
  for await (const { firstRow, rows } of batches) {
    options.signal?.throwIfAborted();
    for (const [r, cells] of rows.entries()) {
      if (cells.every((cell) => cell === null || cell === "")) continue;
      numRows++;
      const id = roles.ids.map((column) => String(cells[column] ?? "")).join(" / ");
      if (seen.has(id)) throw new FormatError(table.name, `row ${firstRow + r}: a second row for the series "${id}"`);
      seen.add(id);
      const values = Float64Array.from(roles.targets, (column) =>
        toNumber(cells[column] ?? null, roles.decimal, table, firstRow + r, column),
      );
      const last = values.findLastIndex((value) => !Number.isNaN(value)) + 1;
      const length = Math.max(1, last);
      const from = Math.max(0, length - (options.history ?? 100_000));
      const at = times ?? Float64Array.from(values, (_, index) => index);
      groups.push({ id, times: at.slice(from, length), columns: [values.slice(from, length)], numDropped: from });
    }
  }
  return { groups, numRows, time: facts, categories: [] };
}

/** Ascending, each time once. */
function distinct(times: Float64Array): Float64Array {
  const sorted = times.slice().sort();
  return sorted.filter((time, index) => index === 0 || time !== sorted[index - 1]);
}

/** Gives times their zone: those of the wall become instants where a zone is named. */
function setClock(
  collected: Collected,
  options: LoadOptions,
): { groups: readonly Group[]; clock: TimeGrid["clock"]; zoneNotes: Understood["notes"] } {
  const { groups, time } = collected;
  const zone = options.timeZone;
  if (zone !== undefined && (time === undefined || time.kind === "step")) throw new OptionError("timeZone", "the table has no dates");
  if (time?.kind === "instant") return { groups, clock: zone === undefined ? "utc" : { zone }, zoneNotes: [] };
  if (zone === undefined || time === undefined) return { groups, clock: "local", zoneNotes: [] };
  let skipped = 0;
  const resolved = groups.map((group) => {
    // The hour that comes twice: its first row is the earlier one, unless the file runs backwards.
    const isBackwards = group.times.length > 1 && group.times[0]! > group.times.at(-1)!;
    const taken = new Set<number>();
    const times = group.times.map((wall) => {
      const instants = fromWall(zone, wall);
      if (instants.length === 0) {
        skipped++;
        return wall - zoneOffset(zone, wall - DAY);
      }
      const inOrder = isBackwards ? [...instants].reverse() : instants;
      const free = inOrder.find((instant) => !taken.has(instant)) ?? inOrder[0]!;
      if (instants.length > 1) taken.add(free);
      return free;
    });
    return { ...group, times };
  });
  const zoneNotes =
    skipped === 0
      ? []
      : [
          {
            level: "warning" as const,
            text: `${skipped} times don't exist in ${zone} (daylight saving begins); they were read as the hour after`,
          },
        ];
  return { groups: resolved, clock: { zone }, zoneNotes };
}

export interface ChosenFrequency {
  readonly frequency: Frequency;
  readonly share?: number;
  readonly occupancy?: number;
}

function frequencyOf(table: TableReader, time: TimeFacts | undefined, groups: readonly Group[], clock: TimeGrid["clock"]): ChosenFrequency {
  if (time === undefined || time.kind === "step") return { frequency: { unit: "step", count: stepOf(groups) } };
  const lists = groups
    .slice(0, 200)
    .map(({ times }) => distinct(typeof clock === "object" ? times.map((utc) => toWall(clock.zone, utc)) : times));
  let inferred = inferFrequency(lists);
  // Steps within a day are counted in elapsed time: on the wall a change of daylight saving would look like a gap.
  if (inferred !== undefined && typeof clock === "object" && !isCalendarStep(inferred.frequency))
    inferred = inferFrequency(groups.slice(0, 200).map(({ times }) => distinct(times)));
  if (inferred === undefined) return { frequency: { unit: "day", count: 1 } };
  if (inferred.share < 0.5 && inferred.occupancy < 0.5) {
    const share = Math.round(100 * inferred.share);
    throw new FormatError(
      table.name,
      `the times are not evenly spaced: the most common step (${inferred.frequency.count} ${inferred.frequency.unit}) is only ${share} % of them; choose a step with --frequency, for example daily, and what to do with several rows in it with --duplicates`,
    );
  }
  return inferred;
}

/** The most common distance of numbered steps. */
function stepOf(groups: readonly Group[]): number {
  const votes = new Map<number, number>();
  for (const { times } of groups.slice(0, 200)) {
    const sorted = distinct(times);
    for (let i = 1; i < sorted.length; i++) {
      const distance = sorted[i]! - sorted[i - 1]!;
      votes.set(distance, (votes.get(distance) ?? 0) + 1);
    }
  }
  const [best] = [...votes].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return Math.max(1, Math.round(best?.[0] ?? 1));
}

const maxCategories = 50;

/** One target of a group from its first to its last value; its covariates reach to the end of the group. */
function toSeries(
  id: string,
  gridded: GriddedGroup,
  index: number,
  roles: Roles,
  collected: Collected,
  table: TableReader,
  seasonalPeriod: number,
): { series?: Series; facts: SeriesFacts } {
  const values = gridded.columns[index]!;
  const first = values.findIndex((value) => !Number.isNaN(value));
  const last = values.findLastIndex((value) => !Number.isNaN(value));
  const kept = first < 0 ? new Float64Array(0) : values.slice(first, last + 1);
  const missing = kept.reduce((count, value) => count + (Number.isNaN(value) ? 1 : 0), 0);
  const time = { ...gridded.time, start: first <= 0 ? gridded.time.start : timeAt(gridded.time, first) };
  const isConstant = kept.length > 1 && kept.every((value) => Number.isNaN(value) || value === kept[0]);
  const facts: SeriesFacts = {
    ...{
      id,
      length: kept.length,
      missing,
      isConstant,
      zeroEnds: zeroEnds(kept),
      grid: gridded.facts,
      future: kept.length === 0 ? 0 : values.length - last - 1,
    },
    ...(kept.length > 0 && { start: formatTime(time, 0), end: formatTime(time, kept.length - 1) }),
    ...(kept.length > 0 && { suspectsDaylightSaving: looksLikeDaylightSaving(gridded, kept.length) }),
  };
  if (kept.length === 0) return { facts };
  const covariates = roles.covariates.map(({ column, knownAhead }, c): Covariate => {
    const values = gridded.columns[roles.targets.length + c]!.slice(first, knownAhead ? undefined : last + 1);
    const name = table.columns[column]!;
    const categories = collected.categories[c];
    if (categories !== undefined && categories.length > maxCategories)
      throw new OptionError(
        knownAhead ? "knownAhead" : "covariates",
        `the column "${name}" has ${categories.length} categories; at most ${maxCategories} are coded`,
      );
    return { name, values, knownAhead, ...(categories && { categories }) };
  });
  return { series: { id, values: kept, time, seasonalPeriod, ...(roles.covariates.length > 0 && { covariates }) }, facts };
}

/** Zeros at the beginning and at the end of a series that is never zero between them: how "not available" is often written. */
function zeroEnds(values: Float64Array): number {
  const first = values.findIndex((value) => value !== 0);
  const last = values.findLastIndex((value) => value !== 0);
  if (first < 0 || values.subarray(first, last + 1).includes(0)) return 0;
  return first + (values.length - 1 - last);
}

/** Times of the wall within days that miss an hour on a Sunday in spring and repeat one in autumn. */
function looksLikeDaylightSaving(gridded: GriddedGroup, length: number): boolean {
  const { time, facts } = gridded;
  if (time.clock !== "local" || isCalendarStep(time.frequency) || time.frequency.unit === "step") return false;
  const years = (length * (fixedStep(time.frequency) ?? 0)) / (365 * DAY);
  const perChange = time.frequency.unit === "hour" ? 1 : HOUR / (fixedStep(time.frequency) ?? HOUR);
  return (
    facts.duplicates > 0 &&
    facts.gaps > 0 &&
    facts.duplicates <= Math.ceil(years + 1) * perChange &&
    facts.gaps <= Math.ceil(years + 1) * perChange
  );
}
