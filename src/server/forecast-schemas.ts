import { z } from "zod";

/**
 * The bodies of requests for forecasts: the options of `forecast()` under their own names, and the table. The answers are what
 * `chainrule forecast --json` prints.
 */

const text = z.string();
const name = text.min(1).max(1024);
const names = z.union([name, z.array(name).min(1).max(1024)]);
const count = z.int().min(0);
const cell = z.union([text, z.number(), z.boolean(), z.null()]);

const table = {
  /** CSV, TSV or JSON lines, as a file has it; or: */
  text: text.min(1).optional(),
  /** An object per row, its keys the columns. */
  rows: z.array(z.record(text, cell)).min(1).optional(),
  /** What `understood` and messages call the table. */
  name: name.optional(),
  format: z.enum(["csv", "tsv", "jsonl"]).optional(),
  delimiter: text.length(1).optional(),
  decimal: z.enum([".", ","]).optional(),
  time: names.optional(),
  target: names.optional(),
  id: names.optional(),
  covariates: z.array(name).max(1024).optional(),
  knownAhead: z.array(name).max(1024).optional(),
  layout: z.enum(["long", "wide", "rows"]).optional(),
  frequency: name.optional(),
  seasonalPeriod: z.int().min(1).max(100_000).optional(),
  timeZone: name.optional(),
  dayFirst: z.boolean().optional(),
  duplicates: z.enum(["mean", "sum", "first", "last", "error"]).optional(),
  missingValues: z.array(z.number()).max(64).optional(),
  history: z.int().min(1).max(1_000_000).optional(),
};

const hasOneTable = (body: { readonly text?: unknown; readonly rows?: unknown }) => (body.text === undefined) !== (body.rows === undefined);
const oneTable = { path: ["rows"], error: "give the table either as text or as rows" };

/** A table to look at: `last` steps of each series come back. */
export const tableRequest = z.strictObject({ ...table, last: z.int().min(1).max(10_000).optional() }).refine(hasOneTable, oneTable);

export const forecastRequest = z
  .strictObject({
    ...table,
    horizon: z.int().min(1),
    model: z.union([name, z.array(name).min(1).max(32)]).optional(),
    parameters: z.record(text, z.union([z.number(), z.boolean(), text.max(1024)])).optional(),
    levels: z.array(z.number().gt(0).lt(100)).max(16).optional(),
    adaptive: z.boolean().optional(),
    missing: z.enum(["interpolate", "previous", "zero"]).optional(),
    windows: z.int().min(1).max(1000).optional(),
    stride: z.int().min(1).optional(),
    refit: z.int().min(0).optional(),
    /** What was understood, how far the work is, and then the answer, as server-sent events. */
    stream: z.boolean().optional(),
  })
  .refine(hasOneTable, oneTable);

export type TableRequest = z.infer<typeof tableRequest>;
export type ForecastRequest = z.infer<typeof forecastRequest>;

/** What JSON makes of NaN is null. */
const number = z.number().nullable();
const understood = z.looseObject({
  source: z.looseObject({ name: text, format: text, rows: count, columns: count }),
  layout: z.enum(["long", "wide", "rows"]),
  frequency: z.looseObject({ name: text, isInferred: z.boolean() }),
  seasonalPeriod: z.strictObject({ steps: count, isInferred: z.boolean() }),
  ids: z.array(text),
  targets: z.array(text),
  unused: z.array(z.strictObject({ name: text, because: text })),
  series: z.looseObject({ count, start: text, end: text, missing: count, duplicates: count }),
  notes: z.array(z.strictObject({ level: z.enum(["info", "warning"]), text })),
});
const score = z.strictObject({
  model: text,
  ...{ series: count, windows: count },
  ...{ mse: number, mae: number, mase: number, smape: number, wql: number.optional(), conformalWql: number.optional(), skill: number },
});
export const forecastAnswer = z.strictObject({
  understood,
  chosen: z.strictObject({ model: text, because: text, table: z.array(score) }),
  coverage: z.array(
    z.strictObject({
      ...{ level: z.number(), pooled: z.number(), worstTenthOfSeries: z.number(), values: count },
      worstStep: z.strictObject({ step: count, coverage: z.number() }),
      byStep: z.array(number),
      bySeries: z.array(z.strictObject({ series: text, coverage: z.number() })),
    }),
  ),
  notes: z.array(text),
  forecasts: z.array(
    z.strictObject({
      series: text,
      time: z.array(text),
      mean: z.array(z.number()),
      intervals: z.record(text, z.tuple([z.array(z.number()), z.array(z.number())])),
    }),
  ),
});
export const tableAnswer = z.strictObject({
  columns: z.array(text),
  /** Absent where there is a problem. */
  understood: understood.optional(),
  series: z.array(z.strictObject({ series: text, time: z.array(text), values: z.array(number) })),
  /** Why the table can't be understood as it is, with the option that may help. */
  problem: z.strictObject({ code: text, message: text, param: text.nullable() }).optional(),
});
export const forecastEvent = z.union([
  z.strictObject({ understood }),
  z.strictObject({
    progress: z.strictObject({
      stage: text,
      model: text.optional(),
      done: count,
      total: count.optional(),
      secondsLeft: z.number().optional(),
    }),
  }),
  z.strictObject({ answer: forecastAnswer }),
]);
const parameter = z.looseObject({ summary: text, kind: z.enum(["integer", "number", "boolean", "choice"]) });
export const forecastModelsAnswer = z.array(
  z.strictObject({
    ...{ name: text, summary: text, source: z.strictObject({ title: text, url: text }) },
    /** Whether `auto` leaves it out, since it takes far longer than all others. */
    isOnRequest: z.boolean(),
    parameters: z.record(text, parameter),
  }),
);
