import { OptionError } from "../errors.ts";
import { fillMissing } from "./missing.ts";
import type { Covariate, JsonObject } from "./types.ts";

/** Columns of x by step of the series, without holes; index t is the step t of the series. */
export interface Regressors {
  readonly sources: readonly RegressorSource[];
  /** One [N + H] and more per source. */
  readonly columns: readonly Float64Array[];
}

/** Where a column comes from. */
export interface RegressorSource {
  /** Name of the covariate. */
  readonly covariate: string;
  /** Steps before the one that it explains; 0 where it is known ahead. */
  readonly lag: number;
  /** Of a category: which one the column is 1 for, and all that were known when the model was fitted; the first has no column. */
  readonly category?: { readonly name: string; readonly all: readonly string[] };
}

export function nameOf({ covariate, lag, category }: RegressorSource): string {
  return `${covariate}${category === undefined ? "" : `=${category.name}`}${lag === 0 ? "" : `, ${lag} steps before`}`;
}

/**
 * Columns that are known `horizon` steps ahead: known ones as they are, others as of `horizon` steps before; a category as one column of 0 and 1 per
 * category but the first, which the others are compared with.
 *
 * @param length  steps of the series
 * @throws OptionError where a known one has fewer than `horizon` values after the end
 */
export function toRegressors(covariates: readonly Covariate[], length: number, horizon: number, series: string): Regressors {
  const sources = covariates.flatMap(({ name, knownAhead, categories }): RegressorSource[] => {
    const plain = { covariate: name, lag: knownAhead ? 0 : horizon };
    return categories === undefined
      ? [plain]
      : categories.slice(1).map((category) => ({ ...plain, category: { name: category, all: categories } }));
  });
  const columns = sources.map((source) => {
    const values = valuesOf(source, covariates.find(({ name }) => name === source.covariate)!);
    if (source.lag > 0) {
      const filled = fillMissing(values, "previous");
      return Float64Array.from(
        { length: length + horizon },
        (_, step) => filled[Math.max(0, Math.min(step - horizon, filled.length - 1))]!,
      );
    }
    const known = numKnown(values) - length;
    if (known < horizon) {
      const named = series === "" ? "" : ` of series ${series}`;
      throw new OptionError(
        "knownAhead",
        `"${nameOf(source)}"${named} has ${Math.max(0, known)} values after the last target, the horizon needs ${horizon}: add rows with the target left empty`,
      );
    }
    return fillMissing(values.subarray(0, length + known), "previous");
  });
  return { sources, columns };
}

/** Values up to the last one that isn't missing. */
function numKnown(values: Float64Array): number {
  return values.findLastIndex((value) => !Number.isNaN(value)) + 1;
}

/** The covariate as the column needs it: numbers as they are, categories, which a table codes by their order in it, as 0 and 1. */
function valuesOf({ category }: RegressorSource, { name, values, categories }: Covariate): Float64Array {
  if (category === undefined && categories === undefined) return values;
  if (category === undefined || categories === undefined)
    throw new OptionError(
      "covariates",
      `"${name}" is ${categories === undefined ? "numbers, and was text" : "text, and was numbers"} when the model was fitted`,
    );
  const unknown = categories.find((one) => !category.all.includes(one));
  if (unknown !== undefined)
    throw new OptionError(
      "covariates",
      `"${name}" has the category "${unknown}", which the model was not fitted with (${category.all.join(", ")}); forecast again from the whole table`,
    );
  const code = categories.indexOf(category.name);
  return values.map((value) => (Number.isNaN(value) ? Number.NaN : value === code ? 1 : 0));
}

/**
 * The columns after `count` more steps of the series, as far as the covariates of these (and, of those known ahead, of later ones) tell.
 *
 * @param position    steps of the series so far
 * @param covariates  index 0 is the step `position`; a column whose covariate isn't among them stays as it is
 * @throws OptionError for a covariate that is text and was numbers or the other way round, for an unknown category, and where a column ends before the new steps do
 */
export function extended({ sources, columns }: Regressors, position: number, count: number, covariates: readonly Covariate[]): Regressors {
  const grown = columns.map((column, k) => {
    const source = sources[k]!;
    const covariate = covariates.find(({ name }) => name === source.covariate);
    if (covariate === undefined) return column;
    const all = valuesOf(source, covariate);
    const fresh = source.lag === 0 ? all.subarray(0, numKnown(all)) : all.subarray(0, count);
    const start = position + source.lag;
    const longer = new Float64Array(Math.max(column.length, start + fresh.length)).fill(Number.NaN);
    longer.set(column);
    for (const [step, value] of fresh.entries()) if (!Number.isNaN(value)) longer[start + step] = value;
    return fillMissing(longer, "previous");
  });
  const short = grown.findIndex((column) => column.length < position + count);
  if (short >= 0) {
    const missing = position + count - grown[short]!.length;
    throw new OptionError(
      "covariates",
      `"${sources[short]!.covariate}" has no values for the last ${missing} of the ${count} new steps; give their rows with that column`,
    );
  }
  return { sources, columns: grown };
}

/** Undefined for what is no source. */
export function readSource(saved: JsonObject): RegressorSource | undefined {
  const { covariate, lag, category } = saved;
  if (typeof covariate !== "string" || !Number.isSafeInteger(lag) || (lag as number) < 0) return undefined;
  if (category === undefined) return { covariate, lag: lag as number };
  const { name, all } = category as { name?: unknown; all?: unknown };
  if (typeof name !== "string" || !Array.isArray(all) || !all.every((one) => typeof one === "string")) return undefined;
  return { covariate, lag: lag as number, category: { name, all } };
}
