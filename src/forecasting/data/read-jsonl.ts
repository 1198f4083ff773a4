import { FormatError } from "../../errors.ts";
import { type Batch, type Cell, type TableReader, toCell } from "./read.ts";

/** A longer line is not a row of a table. */
const maxLineChars = 16 << 20;

/** One JSON object per line. Columns are the keys of the first batch of rows; a new key in a later one is an error, a missing one a null. */
export async function readJsonLines(text: AsyncIterable<string>, name: string): Promise<TableReader> {
  const parsed = parseLines(text, name);
  const first = await parsed.next();
  if (first.done) throw new FormatError(name, "has no rows");
  const columns = [...new Set(first.value.rows.flatMap((row) => Object.keys(row)))];
  const known = new Map(columns.map((column, index) => [column, index]));
  async function* batches(): AsyncGenerator<Batch> {
    for (let next: IteratorResult<ObjectBatch> = first; !next.done; next = await parsed.next()) {
      const { firstRow, rows } = next.value;
      yield { firstRow, rows: rows.map((row, index) => toCells(row, firstRow + index)) };
    }
  }
  function toCells(row: Record<string, unknown>, number: number): Cell[] {
    const cells: Cell[] = new Array(columns.length).fill(null);
    for (const key of Object.keys(row)) {
      const index = known.get(key);
      if (index === undefined) throw new FormatError(name, `row ${number}: the key "${key}" is in none of the first rows`);
      cells[index] = toCell(row[key], name, number, key);
    }
    return cells;
  }
  return { name, format: "jsonl", columns, hasHeader: true, batches: batches() };
}

interface ObjectBatch {
  readonly firstRow: number;
  readonly rows: readonly Record<string, unknown>[];
}

async function* parseLines(chunks: AsyncIterable<string>, name: string): AsyncGenerator<ObjectBatch> {
  let tail = "";
  let row = 1;
  const parse = (lines: readonly string[]): ObjectBatch => {
    const firstRow = row;
    row += lines.length;
    return { firstRow, rows: lines.map((line, index) => parseObject(line, name, firstRow + index)) };
  };
  for await (const chunk of chunks) {
    const lines = (tail + chunk).split("\n");
    tail = lines.pop()!;
    if (tail.length > maxLineChars) throw new FormatError(name, `row ${row}: a line is longer than ${maxLineChars} characters`);
    if (lines.length > 0) yield parse(lines);
  }
  if (tail.trim() !== "") yield parse([tail]);
}

/** A blank line is a row without values, so that rows keep their line numbers. */
function parseObject(line: string, name: string, row: number): Record<string, unknown> {
  if (line.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new FormatError(name, `row ${row}: is not valid JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FormatError(name, `row ${row}: expected a JSON object`);
  return value as Record<string, unknown>;
}
