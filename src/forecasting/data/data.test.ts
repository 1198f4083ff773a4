import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FormatError, NotFoundError, OptionError } from "../../errors.ts";
import { formatTime } from "./calendar.ts";
import { describeUnderstood, type LoadOptions, loadTable } from "./index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "chainrule-data-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Loads text as a stream, cut into chunks of `size` bytes. */
function load(text: string, options: LoadOptions = {}, size = 1 << 16) {
  const bytes = Buffer.from(text);
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
  return loadTable(Readable.from(chunks, { objectMode: false }), options);
}

async function one(text: string, options: LoadOptions = {}) {
  const { series, understood } = await load(text, options);
  expect(series).toHaveLength(1);
  const { values, time, seasonalPeriod } = series[0]!;
  return {
    values: [...values],
    times: [...values].map((_, index) => formatTime(time, index)),
    seasonalPeriod,
    understood,
    series: series[0]!,
  };
}

const warnings = (facts: { notes: readonly { level: string; text: string }[] }) =>
  facts.notes.filter(({ level }) => level === "warning").map(({ text }) => text);

describe("formats", () => {
  const csv = 'date,sales,note\n2024-01-01,1,"a, ""b""\nc"\n2024-01-02,2.5,x\n2024-01-03,NA,\n2024-01-04,-4e1,y\n';

  test("CSV with quotes, a byte order mark and CRLF reads the same in chunks of any size", async () => {
    for (const size of [1, 7, 1 << 16]) {
      const { series } = await load(`\uFEFF${csv.replaceAll("\n", "\r\n")}`, { target: "sales" }, size);
      expect([...series[0]!.values]).toEqual([1, 2.5, Number.NaN, -40]);
    }
  });

  test("TSV, semicolons with decimal commas, JSON lines, gzip, Parquet and rows in memory give the same series", async () => {
    const expected = [1, 2.5, Number.NaN, -40];
    const rows = [
      { date: "2024-01-01", sales: 1 },
      { date: "2024-01-02", sales: 2.5 },
      { date: "2024-01-03", sales: null },
      { date: "2024-01-04", sales: -40 },
    ];
    const tsv = "date\tsales\n2024-01-01\t1\n2024-01-02\t2.5\n2024-01-03\t\n2024-01-04\t-40\n";
    const lines = rows.map((row) => JSON.stringify(row)).join("\n");
    const parquet = parquetWriteBuffer({
      columnData: [
        { name: "date", data: rows.map(({ date }) => new Date(date)), type: "TIMESTAMP" },
        { name: "sales", data: rows.map(({ sales }) => sales), type: "DOUBLE" },
      ],
    });
    await writeFile(join(folder, "sales.parquet"), Buffer.from(parquet));
    await writeFile(join(folder, "sales.csv.gz"), gzipSync(tsv.replaceAll("\t", ",")));
    const sources = {
      tsv: () => load(tsv),
      semicolons: () => load("date;sales\n2024-01-01;1\n2024-01-02;2,5\n2024-01-03;\n2024-01-04;-40,0\n"),
      lines: () => load(lines),
      memory: () => loadTable(rows),
      dates: () => loadTable(rows.map(({ date, sales }) => ({ date: new Date(date), sales }))),
      parquet: () => loadTable(join(folder, "sales.parquet")),
      "parquet on standard input": () => loadTable(Readable.from([Buffer.from(parquet)], { objectMode: false })),
      gzip: () => loadTable(join(folder, "sales.csv.gz")),
    };
    for (const [name, read] of Object.entries(sources)) {
      const { series } = await read();
      expect([...series[0]!.values], name).toEqual(expected);
      expect(series[0]!.time.start, name).toBe(Date.UTC(2024, 0, 1));
    }
  });

  test("a file without a header has numbered columns", async () => {
    const { understood, values } = await one("2024-01-01,5\n2024-01-02,6\n");
    expect(understood.source.hasHeader).toBe(false);
    expect(understood.targets).toEqual(["column2"]);
    expect(values).toEqual([5, 6]);
  });
});

describe("layouts and roles", () => {
  test("long: text beside the times names the series", async () => {
    const { series, understood } = await load("day,shop,sales\n2024-01-01,b,1\n2024-01-02,b,2\n2024-01-01,a,3\n2024-01-02,a,4\n");
    expect(series.map(({ id, values }) => [id, [...values]])).toEqual([
      ["b", [1, 2]],
      ["a", [3, 4]],
    ]);
    expect(understood).toMatchObject({ layout: "long", ids: ["shop"], targets: ["sales"] });
  });

  test("numbers named like an id are one where times repeat", async () => {
    const { understood } = await load("date,store,sales\n2024-01-01,1,9\n2024-01-01,2,8\n2024-01-02,1,9\n2024-01-02,2,7\n");
    expect(understood).toMatchObject({ ids: ["store"], targets: ["sales"] });
  });

  test("wide: every column of numbers is a series", async () => {
    const { series, understood } = await load("date,a,b\n2024-01-01,1,10\n2024-01-02,2,20\n");
    expect(understood.layout).toBe("wide");
    expect(series.map(({ id, values }) => [id, ...values])).toEqual([
      ["a", 1, 2],
      ["b", 10, 20],
    ]);
  });

  test("rows: a row is a series, padded at its end; a header of months gives the times", async () => {
    const plain = await load("V1,V2,V3,V4\nH1,1,2,3\nH2,4,5,\n", { frequency: "hourly" });
    expect(plain.series.map(({ id, values, seasonalPeriod }) => [id, seasonalPeriod, ...values])).toEqual([
      ["H1", 24, 1, 2, 3],
      ["H2", 24, 4, 5],
    ]);
    const dated = await load("item,2024-01,2024-02,2024-03\nx,1,2,3\ny,4,5,6\n");
    expect(dated.understood.frequency.name).toBe("monthly");
    expect(formatTime(dated.series[1]!.time, 2)).toBe("2024-03-01");
  });

  test("several columns of numbers beside an id leave the target open", async () => {
    const text = "date,item,p,q\n2024-01-01,a,1,2\n2024-01-02,a,1,2\n";
    await expect(load(text)).rejects.toThrow('target: standard input has several columns of numbers; name the one to forecast: "p", "q"');
    expect((await load(text, { target: "q" })).series[0]!.values).toEqual(new Float64Array([2, 2]));
  });

  test("covariates: categories are coded in their order, known ones reach past the last target", async () => {
    const text = "date,y,promo,day,rain\n2024-01-01,1,0,mon,3\n2024-01-02,2,1,tue,4\n2024-01-03,,1,wed,\n";
    const { series, understood } = await one(text, { target: "y", knownAhead: ["promo", "day"], covariates: ["rain"] });
    expect(series.covariates).toEqual([
      { name: "rain", knownAhead: false, values: new Float64Array([3, 4]) },
      { name: "promo", knownAhead: true, values: new Float64Array([0, 1, 1]) },
      { name: "day", knownAhead: true, values: new Float64Array([0, 1, 2]), categories: ["mon", "tue", "wed"] },
    ]);
    expect(understood.series.details[0]!.future).toBe(1);
  });

  test("an option that names no column, or one twice, is refused by name", async () => {
    await expect(load("date,y\n2024-01-01,1\n", { target: "z" })).rejects.toThrow(
      'target: there is no column "z"; the columns are date, y',
    );
    await expect(load("date,y\n2024-01-01,1\n", { time: "date", id: "date" })).rejects.toThrow(
      'id: the column "date" is already taken as time',
    );
  });
});

describe("times", () => {
  test.each([
    ["hourly", ["2024-03-31 00:00", "2024-03-31 01:00", "2024-03-31 02:00"], "hourly", 24],
    ["quarter-hourly", ["2024-01-01T00:00:00Z", "2024-01-01T00:15:00Z", "2024-01-01T00:30:00Z"], "every 15 minutes", 96],
    ["daily", ["2024-02-28", "2024-02-29", "2024-03-01"], "daily", 7],
    ["weekly", ["2024-W52", "2025-W01", "2025-W02"], "weekly", 52],
    ["month ends", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"], "monthly", 12],
    ["quarters", ["1970 Q3", "1970 Q4", "1971 Q1"], "quarterly", 4],
    ["years", ["1999", "2000", "2001"], "yearly", 1],
    ["YYYYMMDD", ["19580329", "19580405", "19580412"], "weekly", 52],
    ["epoch seconds", ["1700000000", "1700003600", "1700007200"], "hourly", 24],
    ["epoch milliseconds", ["1700000000000", "1700000060000", "1700000120000"], "every minute", 1440],
    ["month names", ["1 Jan 2024", "1 Feb 2024", "1 Mar 2024"], "monthly", 12],
    ["AM and PM", ["1/31/2024 11:00 PM", "2/1/2024 12:00 AM", "2/1/2024 1:00 AM"], "hourly", 24],
    ["German", ["01.02.2024", "02.02.2024", "03.02.2024"], "daily", 7],
  ])("%s", async (_, times, name, season) => {
    const { understood, values } = await one(`time,y\n${times.map((time, index) => `"${time}",${index}`).join("\n")}\n`);
    expect(understood.frequency.name).toBe(name);
    expect(understood.seasonalPeriod.steps).toBe(season);
    expect(values).toEqual(times.map((_, index) => index));
  });

  test("business days skip weekends and count holidays as gaps", async () => {
    const days = ["04", "05", "08", "09", "10", "11", "12", "16", "17", "18", "19", "22"]; // January 2024; the 15th is a holiday
    const { understood, times, values } = await one(`date,y\n${days.map((day) => `2024-01-${day},1`).join("\n")}\n`);
    expect(understood.frequency.unit).toBe("businessday");
    expect(times.slice(5, 9)).toEqual(["2024-01-11", "2024-01-12", "2024-01-15", "2024-01-16"]);
    expect(values[7]).toBeNaN();
  });

  test("day and month are told apart by one row of the whole column, wherever it stands", async () => {
    const days = Array.from({ length: 40 }, (_, index) => new Date(Date.UTC(2024, 0, 1 + index)));
    const dayFirst = days.map((day) => `${day.getUTCDate()}/${day.getUTCMonth() + 1}/2024`);
    const { understood, times } = await one(`date,y\n${dayFirst.map((day) => `${day},1`).join("\n")}\n`);
    expect(understood.time!.order).toEqual({ chosen: "day-first", because: 'row 14 ("13/1/2024")', isCertain: true });
    expect(times).toEqual(days.map((day) => day.toISOString().slice(0, 10)));
    expect(understood.series.missing).toBe(0);
  });

  test("where no row tells, the order that leaves fewer holes is taken; where nothing tells, a warning says so", async () => {
    const monthly = Array.from(
      { length: 24 },
      (_, index) => `01/${String((index % 12) + 1).padStart(2, "0")}/${2022 + Math.floor(index / 12)},1`,
    );
    const even = await one(`date,y\n${monthly.join("\n")}\n`);
    expect(even.understood.time!.order!.chosen).toBe("day-first");
    expect(even.understood.frequency.name).toBe("monthly");
    const open = await one(`date,y\n${monthly.slice(0, 12).join("\n")}\n`);
    expect(open.understood.time!.order!.isCertain).toBe(false);
    expect(warnings(open.understood)[0]).toContain("--day-first");
    expect((await one(`date,y\n${monthly.slice(0, 12).join("\n")}\n`, { dayFirst: true })).understood.frequency.name).toBe("monthly");
  });

  test("day-first and month-first rows in one column are refused with row and column", async () => {
    const text = "date,y\n13/01/2024,1\n01/14/2024,2\n";
    await expect(load(text)).rejects.toThrow(
      'row 3, column "date": "01/14/2024" can only be read month-first, but row 2 ("13/01/2024") says day-first',
    );
  });

  test("the hour that daylight saving repeats is two steps of a named zone, and the one it leaves out is none", async () => {
    const autumn = "t,y\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n2024-10-27 03:00,4\n";
    const { values, times } = await one(autumn, { timeZone: "Europe/Berlin" });
    expect(values).toEqual([1, 2, 3, 4]);
    expect(times).toEqual([
      "2024-10-27T01:00:00+02:00",
      "2024-10-27T02:00:00+02:00",
      "2024-10-27T02:00:00+01:00",
      "2024-10-27T03:00:00+01:00",
    ]);
    const spring = "t,y\n2024-03-31 00:00,0\n2024-03-31 01:00,1\n2024-03-31 03:00,3\n2024-03-31 04:00,4\n";
    expect((await one(spring, { timeZone: "Europe/Berlin" })).values).toEqual([0, 1, 3, 4]);
    expect((await one(spring)).values).toEqual([0, 1, Number.NaN, 3, 4]);
  });

  test("days of a named zone stay days through a change of daylight saving", async () => {
    const text = "t,y\n2024-03-29T23:00:00Z,30\n2024-03-30T23:00:00Z,31\n2024-03-31T22:00:00Z,1\n2024-04-01T22:00:00Z,2\n";
    const { times, values } = await one(text, { timeZone: "Europe/Berlin" });
    expect(times).toEqual(["2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02"]);
    expect(values).toEqual([30, 31, 1, 2]);
  });

  test("two time zones are brought to UTC with a warning; a stamp without one among them is refused", async () => {
    const { values, understood } = await one(
      "t,y\n2024-01-01T00:00:00+05:00,1\n2023-12-31T20:00:00+00:00,2\n2023-12-31T21:00:00+00:00,3\n",
    );
    expect(values).toEqual([1, 2, 3]);
    expect(warnings(understood)[0]).toContain("+00:00, +05:00");
    await expect(load("t,y\n2024-01-01T00:00:00Z,1\n2024-01-01 01:00:00,2\n")).rejects.toThrow(
      'row 3, column "t": "2024-01-01 01:00:00" is a time without a zone',
    );
    await expect(one("t,y\n2024-01-01,1\n2024-01-02,2\n", { timeZone: "Mars/Base" })).rejects.toThrow(OptionError);
  });

  test("a coarser frequency puts rows together by the rule", async () => {
    const text = `t,y\n${Array.from({ length: 48 }, (_, hour) => `2024-01-0${1 + Math.floor(hour / 24)} ${String(hour % 24).padStart(2, "0")}:00,${hour}`).join("\n")}\n`;
    expect((await one(text, { frequency: "daily", duplicates: "sum" })).values).toEqual([276, 852]);
    expect((await one(text, { frequency: "daily" })).values).toEqual([11.5, 35.5]);
    expect((await one(text, { frequency: "12h", duplicates: "last" })).values).toEqual([11, 23, 35, 47]);
    await expect(load(text, { frequency: "daily", duplicates: "error" })).rejects.toThrow("two rows at 2024-01-01");
    await expect(load(text, { frequency: "5m" })).rejects.toThrow(OptionError);
  });
});

describe("hostile input", () => {
  test.each<[string, string, RegExp]>([
    [
      "text in the value column",
      "date,y\n2024-01-01,1\n2024-01-02,abc\n",
      /no column of numbers.*; row 3, column "y": "abc" is not a number/,
    ],
    ["text and nothing else", "date,y\n2024-01-01,a\n2024-01-02,b\n", /no column of numbers to forecast \("date": time, "y": text\)$/],
    ["text after a blank line", "date,y\n2024-01-01,1\n\n2024-01-02,abc\n", /row 4, column "y": "abc" is not a number/],
    [
      "text among many values",
      `date,y\n${Array.from({ length: 28 }, (_, day) => `2024-01-${String(day + 1).padStart(2, "0")},${day === 20 ? "many" : day}`).join("\n")}`,
      /row 22, column "y": "many" is not a number/,
    ],
    ["infinity", "date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,1e999\n", /row 4, column "y": "1e999" is not a number/],
    ["a ragged row", "date,y\n2024-01-01,1\n2024-01-02\n", /row 3: has 1 fields, expected 2/],
    ["a row too long", "date,y\n2024-01-01,1\n2024-01-02,2,3\n", /row 3: has 3 fields, expected 2/],
    ["all missing", "date,y,z\n2024-01-01,,\n2024-01-02,NA,\n", /no column of numbers/],
    ["a header alone", "date,y\n", /no rows below its header/],
    ["nothing", "", /is empty/],
    [
      "an impossible date",
      "date,y\n2024-01-30,1\n2024-01-31,1\n2024-02-30,1\n",
      /no column|row 4, column "date": "2024-02-30" is not a time/,
    ],
    ["irregular times", "date,y\n2024-01-01,1\n2024-01-02,1\n2024-02-10,1\n2024-05-20,2\n2027-01-01,3\n", /not evenly spaced/],
    [
      "a stray century",
      `date,y\n${Array.from({ length: 20 }, (_, day) => `2024-01-${String(day + 1).padStart(2, "0")},1`).join("\n")}\n0024-01-21,1\n`,
      /a time is wrong/,
    ],
    ["an open quote", `date,y\n2024-01-01,"1\n${"2024-01-02,2\n".repeat(3)}`, /row 2: .*quote/],
    ["binary data", "\0\0\0\0", /binary data/],
    ["a JSON array", "[{}]", /JSON array/],
    ["broken JSON", '{"t":1,"y":2}\n{"t":\n', /row 2: is not valid JSON/],
    ["a list in JSON", '{"t":1,"y":[2]}\n', /row 1, column "y": expected a number, text, date or null, got a list/],
    ["one name for two columns", "date,y,y\n2024-01-01,1,2\n", /two columns are named "y"/],
  ])("%s is named", async (_, text, message) => {
    const failed = load(text);
    await expect(failed).rejects.toThrow(FormatError);
    await expect(failed).rejects.toThrow(message);
  });

  test("a named target with text in it says row and column", async () => {
    await expect(load("date,y\n2024-01-01,1\n2024-01-02,abc\n", { target: "y" })).rejects.toThrow(
      'row 3, column "y": "abc" is not a number',
    );
  });

  test("a file that is not UTF-8, a broken gzip file and broken Parquet are named", async () => {
    await expect(loadTable(Readable.from([Buffer.from("date,größe\n2024-01-01,1\n", "latin1")]))).rejects.toThrow("is not UTF-8");
    const cut = gzipSync("date,y\n2024-01-01,1\n").subarray(0, 24);
    await expect(loadTable(Readable.from([cut]))).rejects.toThrow(/gzip data is broken|unexpected end/);
    await writeFile(join(folder, "broken.parquet"), "PAR1 nothing of the kind");
    await expect(loadTable(join(folder, "broken.parquet"))).rejects.toThrow(FormatError);
    await expect(loadTable(join(folder, "none.csv"))).rejects.toThrow(NotFoundError);
  });

  test("unsorted, duplicated, constant, one row and 1e308 are legal and reported", async () => {
    const unsorted = await one("date,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n2024-01-02,4\n");
    expect(unsorted.values).toEqual([1, 3, 3]);
    expect(unsorted.understood.notes.map(({ text }) => text).join("\n")).toMatch(
      /not in the order of time[\s\S]*1 rows fall on a step that already has one, 1 with other values/,
    );
    expect((await one("date,y\n2024-01-01,7\n")).values).toEqual([7]);
    expect((await one("date,y\n2024-01-01,7\n2024-01-02,7\n")).understood.series.constant).toEqual(["y"]);
    expect((await one("date,y\n2024-01-01,1e308\n2024-01-01,1.5e308\n2024-01-02,-1e308\n")).values).toEqual([1.25e308, -1e308]);
  });

  test("a series without values is left out by name, zeros at the ends are suspected", async () => {
    const { series, understood } = await load("date,a,b\n2024-01-01,,0\n2024-01-02,,5\n2024-01-03,,6\n", { target: ["a", "b"] });
    expect(series.map(({ id }) => id)).toEqual(["b"]);
    expect(understood.series.empty).toEqual(["a"]);
    expect(warnings(understood).join()).toContain("--missing 0");
    const trimmed = await load("date,a,b\n2024-01-01,1,0\n2024-01-02,2,5\n2024-01-03,3,6\n", { missingValues: [0] });
    expect([...trimmed.series[1]!.values]).toEqual([5, 6]);
    expect(formatTime(trimmed.series[1]!.time, 0)).toBe("2024-01-02");
  });

  test("only the latest rows are kept, by time and not by place in the file", async () => {
    const rows = Array.from({ length: 500 }, (_, day) => [new Date(Date.UTC(2020, 0, 1 + day)).toISOString().slice(0, 10), day]);
    const shuffled = rows.map((row, index) => rows[(index * 211) % 500] ?? row);
    const { values, understood } = await one(`date,y\n${shuffled.map((row) => row.join(",")).join("\n")}\n`, { history: 30 });
    expect(values).toEqual(Array.from({ length: 30 }, (_, index) => 470 + index));
    expect(understood.notes.some(({ text }) => text.startsWith("470 older rows"))).toBe(true);
  });

  test("whatever the bytes, the answer is a table or a named error", async () => {
    const cell = fc.oneof(
      fc.constantFrom("2024-01-01", "1/2/2024", "13/1/2024", "5", "1e308", "NA", '"', "x", "Q1 2020", "2024-01-01T00:00:00Z", "0"),
      fc.string({ maxLength: 6 }),
    );
    const table = fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(table, fc.integer({ min: 1, max: 40 }), async (rows, size) => {
        const text = rows.map((row) => row.join(",")).join("\n");
        try {
          const { series, understood } = await load(text, {}, size);
          for (const { values } of series) {
            expect(values.length).toBeGreaterThan(0);
            expect(values.every((value) => Number.isNaN(value) || Number.isFinite(value))).toBe(true);
            expect(values.at(-1)).not.toBeNaN();
          }
          expect(describeUnderstood(understood)).toContain("frequency");
        } catch (error) {
          if (!(error instanceof FormatError || error instanceof OptionError)) throw error;
        }
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 20_000 : 500 },
    );
  });

  test.runIf(process.env.CHAINRULE_SOAK)("2 GB are read in bounded memory", { timeout: 1_200_000 }, async () => {
    const block = Buffer.from(
      Array.from({ length: 40_000 }, (_, row) => `${1_700_000_000 + row},${row % 97},some text that nobody needs,${row}\n`).join(""),
    );
    async function* bytes() {
      yield Buffer.from("epoch,y,note,other\n");
      for (let sent = 0; sent < 2 << 30; sent += block.length) yield block;
    }
    const { series } = await loadTable(Readable.from(bytes(), { objectMode: false }), { time: "epoch", target: "y", history: 10_000 });
    expect(series[0]!.values.length).toBeGreaterThan(0);
    expect(process.resourceUsage().maxRSS * 1024).toBeLessThan(600e6);
  });
});

test("the report names what was understood, a fact a line", async () => {
  const { understood } = await load("day,shop,sales\n2024-01-01,b,1\n2024-01-02,b,2\n2024-01-01,a,3\n2024-01-03,a,4\n");
  expect(describeUnderstood(understood).split("\n")).toEqual([
    "source     standard input: csv, separated by commas, 4 rows, 3 columns",
    "layout     long: a row is one time of a series",
    'time       "day" (ISO 8601, no time zone), 2024-01-01 to 2024-01-03',
    "frequency  daily, inferred (50.0 % of the steps); season 7 steps",
    'series     2 by "shop" of "sales", 2 to 3 steps, 1 missing values',
    'note       "day" holds the times: its first rows read as times',
    'note       "shop" names the series: text beside the times',
    'note       "sales" is the target: the only column of numbers',
    "warning    1 steps have no row in 1 of 2 series",
    "warning    1 of 2 series end before 2024-01-03 (b at 2024-01-02); each is forecast from its own end",
  ]);
});
