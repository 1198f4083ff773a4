import Papa from "papaparse";
import { FormatError } from "../../errors.ts";
import { isMissing, parseNumber } from "./numbers.ts";
import { type Batch, columnNames, type TableReader } from "./read.ts";
import { parseStamp } from "./stamps.ts";

/** A record longer than this is a quote that nobody closed. */
const maxRecordChars = 4 << 20;

/** CSV and its relatives, in batches of about one megabyte of text. */
export async function readDelimited(text: AsyncIterable<string>, name: string, given: string | undefined): Promise<TableReader> {
  let delimiter = given ?? "";
  const parsed = parseChunks(text, name, delimiter, (guessed) => {
    delimiter = guessed;
  });
  const first = await parsed.next();
  if (first.done) throw new FormatError(name, "is empty");
  const [header, ...rest] = first.value;
  const cells = (header ?? []).map((cell) => cell.trim());
  // A line of numbers and times is data; a header names its columns.
  const hasHeader = !cells.every((cell) => isMissing(cell) || parseStamp(cell) !== undefined || !Number.isNaN(parseNumber(cell, ".")));
  const columns = hasHeader ? columnNames(cells, name) : cells.map((_, index) => `column${index + 1}`);
  async function* batches(): AsyncGenerator<Batch> {
    let firstRow = hasHeader ? 2 : 1;
    let rows: string[][] = hasHeader ? rest : (first.value as string[][]);
    for (;;) {
      yield { firstRow, rows };
      firstRow += rows.length;
      const next = await parsed.next();
      if (next.done) return;
      rows = next.value;
    }
  }
  return { name, format: delimiter === "\t" ? "tsv" : "csv", delimiter, columns, hasHeader, batches: batches() };
}

/**
 * Records of a stream of text. Complete records of a chunk are parsed at once; the unfinished tail waits for the next chunk. The tail
 * starts after the last line break outside of quotes.
 */
async function* parseChunks(
  chunks: AsyncIterable<string>,
  name: string,
  delimiter: string,
  onDelimiter: (delimiter: string) => void,
): AsyncGenerator<string[][]> {
  let tail = "";
  let isFirst = true;
  let row = 1;
  const parse = (text: string): string[][] => {
    if (isFirst) {
      delimiter ||= guessDelimiter(text);
      onDelimiter(delimiter);
      isFirst = false;
    }
    const { data, errors } = Papa.parse<string[]>(text, { delimiter, skipEmptyLines: false });
    const bad = errors.find(({ type }) => type === "Quotes");
    if (bad !== undefined) throw new FormatError(name, `row ${row + (bad.row ?? 0)}: ${bad.message.replace(/\.$/, "").toLowerCase()}`);
    if (/[\r\n]$/.test(text)) data.pop(); // the line break ends the last record, it begins none
    row += data.length;
    return data;
  };
  for await (const chunk of chunks) {
    const text = tail + chunk;
    const end = endOfRecords(text);
    tail = text.slice(end);
    if (tail.length > maxRecordChars) throw new FormatError(name, `row ${row}: a quote is not closed within ${maxRecordChars} characters`);
    if (end > 0) yield parse(text.slice(0, end));
  }
  if (tail !== "") yield parse(tail);
}

/** The index after the last line break that is not inside quotes; quotes are doubled inside, so counting them suffices. */
function endOfRecords(text: string): number {
  if (!text.includes('"')) return text.lastIndexOf("\n") + 1;
  let end = 0;
  let isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 34) isQuoted = !isQuoted;
    else if (char === 10 && !isQuoted) end = i + 1;
  }
  return end;
}

/** The separator that divides the first line into the most fields; of equals the one less usual inside of a field. */
function guessDelimiter(text: string): string {
  const counts = ["\t", ";", "|", ","].map(
    (delimiter) => [delimiter, Papa.parse<string[]>(text.slice(0, 1 << 16), { delimiter, preview: 1 }).data[0]?.length ?? 1] as const,
  );
  const [best] = counts.sort((a, b) => b[1] - a[1]);
  return best![1] > 1 ? best![0] : ",";
}
