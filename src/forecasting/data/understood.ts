import type { Frequency, TimeGrid } from "../types.ts";
import { describeFrequency } from "./calendar.ts";
import type { Collected } from "./collect.ts";
import type { DuplicateRule, GridFacts } from "./grid.ts";
import type { ChosenFrequency } from "./load.ts";
import type { TableReader } from "./read.ts";
import type { Layout, Roles } from "./roles.ts";
import type { TimeFacts } from "./time-column.ts";

/** What was understood of a table before anything is fitted: plain data, the same in the library, `--json` and reports. */
export interface Understood {
  readonly source: {
    readonly name: string;
    readonly format: string;
    readonly delimiter?: string;
    readonly hasHeader: boolean;
    readonly rows: number;
    readonly columns: number;
  };
  readonly layout: Layout;
  readonly time?: TimeFacts & { readonly columns: readonly string[]; readonly clock: TimeGrid["clock"] };
  /** `share`: part of the steps that are exactly one step of it; absent where the frequency was given or there are no dates. */
  readonly frequency: Frequency & { readonly name: string; readonly isInferred: boolean; readonly share?: number };
  readonly seasonalPeriod: { readonly steps: number; readonly isInferred: boolean };
  readonly ids: readonly string[];
  readonly targets: readonly string[];
  readonly covariates: readonly {
    readonly name: string;
    readonly knownAhead: boolean;
    readonly kind: "number" | "category";
    readonly categories?: readonly string[];
  }[];
  readonly unused: readonly { readonly name: string; readonly because: string }[];
  readonly decimal: "." | ",";
  readonly series: {
    readonly count: number;
    /** Steps from first to last value. */
    readonly shortest: number;
    readonly longest: number;
    readonly start: string;
    readonly end: string;
    readonly missing: number;
    readonly duplicates: number;
    readonly duplicateRule: DuplicateRule;
    /** Ids without a single value, left out. */
    readonly empty: readonly string[];
    readonly constant: readonly string[];
    readonly details: readonly SeriesFacts[];
  };
  readonly notes: readonly { readonly level: "info" | "warning"; readonly text: string }[];
}

export interface SeriesFacts {
  readonly id: string;
  readonly start?: string;
  readonly end?: string;
  readonly length: number;
  readonly missing: number;
  /** Steps after the last value that hold covariates only. */
  readonly future: number;
  readonly isConstant: boolean;
  /** Zeros at both ends of a series without other zeros. */
  readonly zeroEnds: number;
  readonly grid: GridFacts;
  readonly suspectsDaylightSaving?: boolean;
}

interface Parts {
  readonly table: TableReader;
  readonly roles: Roles;
  readonly collected: Collected;
  readonly frequency: ChosenFrequency;
  readonly clock: TimeGrid["clock"];
  readonly seasonalPeriod: number;
  readonly isSeasonGiven: boolean;
  readonly facts: readonly SeriesFacts[];
  readonly notes: Understood["notes"];
  readonly duplicates: DuplicateRule;
}

export function understood(parts: Parts): Understood {
  const { table, roles, collected, frequency, clock, facts } = parts;
  const name = (column: number) => table.columns[column]!;
  const full = facts.filter(({ length }) => length > 0);
  const sum = (value: (one: SeriesFacts) => number) => facts.reduce((total, one) => total + value(one), 0);
  const isInferred = frequency.share !== undefined || collected.time === undefined || collected.time.kind === "step";
  return {
    source: {
      ...{ name: table.name, format: table.format, hasHeader: table.hasHeader, rows: collected.numRows, columns: table.columns.length },
      ...(table.delimiter && { delimiter: table.delimiter }),
    },
    layout: roles.layout,
    ...(collected.time && { time: { ...collected.time, columns: roles.time.map(name), clock } }),
    frequency: {
      ...frequency.frequency,
      name: describeFrequency(frequency.frequency),
      isInferred,
      ...(frequency.share !== undefined && { share: frequency.share }),
    },
    seasonalPeriod: { steps: parts.seasonalPeriod, isInferred: !parts.isSeasonGiven },
    ids: roles.ids.map(name),
    targets: roles.layout === "rows" ? [] : roles.targets.map(name),
    covariates: roles.covariates.map(({ column, knownAhead, kind }, index) => {
      const categories = collected.categories[index];
      return { name: name(column), knownAhead, kind, ...(categories && { categories }) };
    }),
    unused: roles.unused.map(({ column, because }) => ({ name: name(column), because })),
    decimal: roles.decimal,
    series: {
      count: full.length,
      shortest: Math.min(...full.map(({ length }) => length)),
      longest: full.reduce((most, { length }) => Math.max(most, length), 0),
      start: full.map(({ start }) => start!).sort(byNumberOrText)[0]!,
      end: full
        .map(({ end }) => end!)
        .sort(byNumberOrText)
        .at(-1)!,
      missing: sum(({ missing }) => missing),
      duplicates: [...new Set(facts.map(({ grid }) => grid))].reduce((total, grid) => total + grid.duplicates, 0),
      duplicateRule: parts.duplicates,
      empty: facts.filter(({ length }) => length === 0).map(({ id }) => id),
      constant: facts.filter(({ isConstant }) => isConstant).map(({ id }) => id),
      details: facts,
    },
    notes: [...roles.reasons.map((text) => ({ level: "info" as const, text })), ...parts.notes, ...findNotes(parts)],
  };
}

function byNumberOrText(a: string, b: string): number {
  return Number(a) - Number(b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** Whatever a reader of the forecasts should know about the data; warnings are things that may be wrong. */
function findNotes({ collected, facts, frequency, duplicates, clock, table }: Parts): Understood["notes"] {
  const notes: { level: "info" | "warning"; text: string }[] = [];
  const warn = (text: string) => notes.push({ level: "warning", text });
  const info = (text: string) => notes.push({ level: "info", text });
  const { time } = collected;
  if (!table.hasHeader) info("the file has no header line; its columns are numbered");
  if (time?.order !== undefined) {
    if (time.order.isCertain) info(`dates are ${time.order.chosen}: ${time.order.because}`);
    else warn(`dates may be day-first or month-first (${time.order.because}); read ${time.order.chosen}, --day-first says otherwise`);
  }
  if (time !== undefined && time.offsets.length > 1) {
    warn(
      `times carry ${time.offsets.length} offsets from UTC (${time.offsets.slice(0, 6).join(", ")}); all were brought to UTC${clock === "utc" ? ", --time-zone names the zone whose days count" : ""}`,
    );
  }
  if (frequency.share === undefined && time !== undefined && time.kind !== "step" && facts.every(({ length }) => length <= 1)) {
    warn("one time per series: the frequency can't be seen; taken as daily, --frequency says otherwise");
  }
  // The columns of a wide table share their rows: what happened to these is counted once.
  const grids = [...new Map(facts.map((one) => [one.grid, one])).values()];
  const count = (test: (one: SeriesFacts) => boolean) => grids.filter(test).length;
  const total = (value: (one: SeriesFacts) => number) => grids.reduce((sum, one) => sum + value(one), 0);
  const inSeries = (number: number) => (grids.length === 1 ? "" : ` in ${number} of ${grids.length} series`);
  const descending = count(({ grid }) => grid.isDescending);
  if (descending > 0) info(`rows run from new to old${inSeries(descending)}; they were turned round`);
  const unsorted = count(({ grid }) => !grid.isSorted && !grid.isDescending);
  if (unsorted > 0) info(`rows were not in the order of time${inSeries(unsorted)}; they were sorted`);
  const duplicated = total(({ grid }) => grid.duplicates);
  const conflicting = total(({ grid }) => grid.conflicts);
  if (duplicated > 0) {
    const repeated = count(({ grid }) => grid.duplicates > 0);
    const text = `${duplicated} rows fall on a step that already has one${inSeries(repeated)}, ${conflicting} with other values; rule: ${duplicates}`;
    if (conflicting > 0) warn(text);
    else info(text);
  }
  const moved = total(({ grid }) => grid.offGrid);
  if (moved > 0)
    warn(
      `${moved} times lie beside the regular grid${inSeries(count(({ grid }) => grid.offGrid > 0))}; they were moved to the nearest step`,
    );
  const gaps = total(({ grid }) => grid.gaps);
  if (gaps > 0) warn(`${gaps} steps have no row${inSeries(count(({ grid }) => grid.gaps > 0))}`);
  if (facts.some(({ suspectsDaylightSaving }) => suspectsDaylightSaving === true)) {
    warn("hours repeat and are left out as daylight saving does; --time-zone (for example Europe/Berlin) tells the repeated hours apart");
  }
  const dropped = total(({ grid }) => grid.numDropped);
  if (dropped > 0) info(`${dropped} older rows were left out (--history keeps more)`);
  const empty = facts.filter(({ length }) => length === 0).map(({ id }) => id);
  if (empty.length > 0)
    warn(`no value at all in ${empty.length} series, left out: ${empty.slice(0, 5).join(", ")}${empty.length > 5 ? " …" : ""}`);
  const latest = facts
    .flatMap(({ end }) => (end === undefined ? [] : [end]))
    .sort(byNumberOrText)
    .at(-1);
  const ended = facts.filter(({ end }) => end !== undefined && end !== latest);
  if (ended.length > 0 && time !== undefined) {
    const shown = ended.slice(0, 3).map(({ id, end }) => `${id} at ${end}`);
    warn(
      `${ended.length} of ${facts.length} series end before ${latest} (${shown.join(", ")}${ended.length > 3 ? " …" : ""}); each is forecast from its own end`,
    );
  }
  const zeros = facts.filter(({ zeroEnds, length }) => zeroEnds > 0 && zeroEnds < length);
  if (zeros.length > 0) {
    const shown = zeros.slice(0, 3).map(({ id, zeroEnds }) => `${id}: ${zeroEnds}`);
    warn(
      `zeros at the ends of ${zeros.length} series that are never zero otherwise (${shown.join(", ")}${zeros.length > 3 ? " …" : ""}): if they mean "not available", --missing 0`,
    );
  }
  const constant = facts.filter(({ isConstant }) => isConstant).length;
  if (constant > 0) info(`${constant} series ${constant === 1 ? "is" : "are"} constant`);
  return notes;
}

/** The report as text, one fact a line. */
export function describeUnderstood(facts: Understood): string {
  const { source, time, frequency, series } = facts;
  const lines: [string, string][] = [];
  const rows = `${source.rows.toLocaleString("en")} rows, ${source.columns.toLocaleString("en")} columns`;
  const delimiter =
    source.delimiter === undefined
      ? ""
      : `, separated by ${({ ",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars" } as Record<string, string>)[source.delimiter] ?? JSON.stringify(source.delimiter)}`;
  lines.push(["source", `${source.name}: ${source.format}${delimiter}, ${rows}${facts.decimal === "," ? ", decimal comma" : ""}`]);
  lines.push([
    "layout",
    { long: "long: a row is one time of a series", wide: "wide: a column is a series", rows: "rows: a row is a series" }[facts.layout],
  ]);
  if (time === undefined) lines.push(["time", "none: steps are numbered"]);
  else {
    const zone =
      time.kind === "step" ? "" : time.clock === "local" ? ", no time zone" : time.clock === "utc" ? ", UTC" : `, ${time.clock.zone}`;
    lines.push([
      "time",
      `${time.columns.map((column) => `"${column}"`).join(" + ") || "the header"} (${time.format}${zone}), ${series.start} to ${series.end}`,
    ]);
  }
  const share = frequency.share === undefined ? "" : `, inferred (${percent(frequency.share)} of the steps)`;
  lines.push([
    "frequency",
    `${frequency.name}${share}; season ${facts.seasonalPeriod.steps === 1 ? "none" : `${facts.seasonalPeriod.steps} steps`}`,
  ]);
  const length = series.shortest === series.longest ? `${series.longest}` : `${series.shortest} to ${series.longest}`;
  const by = facts.ids.length > 0 ? ` by ${facts.ids.map((id) => `"${id}"`).join(", ")}` : "";
  const targets =
    facts.targets.length === 0
      ? ""
      : ` of ${facts.targets
          .slice(0, 12)
          .map((target) => `"${target}"`)
          .join(", ")}${facts.targets.length > 12 ? " …" : ""}`;
  lines.push(["series", `${series.count.toLocaleString("en")}${by}${targets}, ${length} steps, ${series.missing} missing values`]);
  for (const { name, knownAhead, kind, categories } of facts.covariates) {
    const what = kind === "category" ? `${categories?.length ?? 0} categories` : "numbers";
    lines.push(["covariate", `"${name}" (${what}), ${knownAhead ? "known ahead" : "known up to now"}`]);
  }
  if (facts.unused.length > 0)
    lines.push([
      "unused",
      facts.unused
        .slice(0, 12)
        .map(({ name, because }) => `"${name}" (${because})`)
        .join(", "),
    ]);
  for (const { level, text } of facts.notes) lines.push([level === "warning" ? "warning" : "note", text]);
  return lines.map(([label, text]) => `${label.padEnd(10)} ${text}`).join("\n");
}

function percent(share: number): string {
  return share === 1 ? "100 %" : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
}
