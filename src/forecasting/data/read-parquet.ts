import { asyncBufferFromFile, parquetMetadataAsync, parquetRead, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { FormatError } from "../../errors.ts";
import { type Batch, columnNames, type ReadOptions, type TableReader, toCell } from "./read.ts";

/** Rows handed on at a time. Memory is the column chunks of one row group: the format's own unit of reading. */
const batchRows = 16_384;

/** Parquet with flat columns; row groups are read one by one. */
export async function readParquet(path: string, name: string, options: ReadOptions): Promise<TableReader> {
  const broken = (cause: unknown): FormatError =>
    cause instanceof FormatError ? cause : new FormatError(name, `is not a readable Parquet file (${(cause as Error).message})`, { cause });
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file).catch((cause) => {
    throw broken(cause);
  });
  const fields = parquetSchema(metadata).children;
  // A time without a zone arrives as the instant that reads like it in UTC: it is given back as text of the wall.
  const isLocal = fields.map(({ element }) => {
    const logical = element.logical_type;
    return (
      element.type === "INT96" ||
      element.converted_type === "DATE" ||
      logical?.type === "DATE" ||
      (logical?.type === "TIMESTAMP" && !logical.isAdjustedToUTC)
    );
  });
  const flat = fields.flatMap(({ children }, index) => (children.length === 0 ? [index] : []));
  const columns = columnNames(
    flat.map((index) => fields[index]!.element.name),
    name,
  );
  if (columns.length === 0) throw new FormatError(name, "has no flat columns");
  async function* batches(): AsyncGenerator<Batch> {
    let groupStart = 0;
    for (const group of metadata.row_groups) {
      const groupEnd = groupStart + Number(group.num_rows);
      let rows: unknown[][] = [];
      await parquetRead({
        ...{ file, metadata, compressors, columns, rowStart: groupStart, rowEnd: groupEnd },
        onComplete: (complete) => {
          rows = complete;
        },
      }).catch((cause) => {
        throw broken(cause);
      });
      for (let start = 0; start < rows.length; start += batchRows) {
        options.signal?.throwIfAborted();
        const firstRow = groupStart + start + 1;
        yield {
          firstRow,
          rows: rows.slice(start, start + batchRows).map((row, index) => row.map((value, column) => cell(value, firstRow + index, column))),
        };
      }
      groupStart = groupEnd;
      options.onBytes?.(groupStart, Number(metadata.num_rows));
    }
  }
  function cell(value: unknown, row: number, column: number) {
    if (value instanceof Date && isLocal[flat[column]!]) return value.toISOString().slice(0, 19).replace("T", " ");
    return toCell(value, name, row, columns[column]!);
  }
  return { name, format: "parquet", columns, hasHeader: true, batches: batches() };
}
