import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, expect, test } from "vitest";
import { liveOwnerCount } from "../../ggml/index.ts";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { Packing } from "./batches.ts";
import { readSamples, type Sample } from "./samples.ts";
import { TokenFile } from "./token-file.ts";

const root = mkdtempSync(join(tmpdir(), "chainrule-data-"));
let count = 0;
const folder = (): string => {
  count += 1;
  const path = join(root, `${count}`);
  mkdirSync(path);
  return path;
};
afterAll(() => {
  rmSync(root, { recursive: true });
  expect(liveOwnerCount()).toBe(0);
});

/** Token 0 ends a text; a character is the token of its code. */
const characters: Tokenizer = {
  ...{ vocabSize: 1000, bos: undefined, eos: 0 as TokenId, addBos: false, endTokens: new Set([0 as TokenId]) },
  encode: (text) => Array.from(text, (one) => one.charCodeAt(0) as TokenId),
  piece: (token) => Buffer.from(String.fromCharCode(token)),
  decode: (tokens) => String.fromCharCode(...tokens),
};
const base = { format: "jsonl" as const, tokenizer: characters, vocabulary: "characters", contextLength: 64, bad: "stop" as const };

async function all(samples: AsyncIterable<Sample>): Promise<Sample[]> {
  const list: Sample[] = [];
  for await (const sample of samples) list.push(sample);
  return list;
}

test("lines that can't be used come with their number and reason, the others whole", async () => {
  const path = join(folder(), "data.jsonl");
  const lines = ['{"text":"a"}', "", '{"text":', '{"text":""}', '{"prompt":"q","completion":"ä"}\r', "[1]", '{"other":1}'];
  writeFileSync(
    path,
    Buffer.concat([Buffer.from(`${lines.join("\n")}\n`), Buffer.from([0x22, 0xff, 0x22, 0x0a]), Buffer.from('{"text":"end"}')]),
  );
  const samples = await all(readSamples(path, "jsonl"));
  expect(
    samples.map((sample) =>
      sample.kind !== "sample"
        ? [sample.line, sample.kind === "bad" && sample.reason]
        : [sample.line, ...sample.segments.map(({ text }) => text)],
    ),
  ).toEqual([
    [1, "a"],
    [3, expect.stringMatching(/^is not valid JSON/)],
    [4, "has an empty text"],
    [5, "q", "ä"],
    [6, "is no object"],
    [7, 'has neither "text", nor "prompt" and "completion", nor a conversation'],
    [8, "is not UTF-8"],
    [9, "end"],
  ]);
});

test("a file in mixed encodings is read where it is UTF-8, and every other line is named", async () => {
  const path = join(folder(), "data.jsonl");
  const row = (text: string) => JSON.stringify({ text });
  const latin1 = Buffer.from(`${row("caf\u00e9")}\n`, "latin1");
  writeFileSync(
    path,
    Buffer.concat([
      Buffer.from(`\ufeff${row("\u00e4")}\n`),
      latin1,
      Buffer.from(`${row("wide")}\n`, "utf16le"),
      Buffer.from(`\n${row("end")}`),
    ]),
  );
  const seen = (await all(readSamples(path, "jsonl"))).map((sample) =>
    sample.kind === "sample" ? [sample.line, sample.segments[0]!.text] : [sample.line, sample.kind === "bad" && sample.reason],
  );
  const zero = "has a zero byte, as UTF-16 has: it must be UTF-8";
  expect(seen).toEqual([
    [1, "\u00e4"],
    [2, "is not UTF-8"],
    [3, zero],
    [5, "end"],
  ]);
  const text = join(folder(), "data.txt");
  writeFileSync(text, Buffer.concat([Buffer.from("\ufeffone\n"), Buffer.from("tw\u00f6\n", "latin1"), Buffer.from("three\n")]));
  const parts = await all(readSamples(text, "text"));
  expect(parts.map((part) => (part.kind === "sample" ? part.segments[0]!.text : [part.line, part.kind === "bad" && part.reason]))).toEqual([
    [2, "is not UTF-8"],
    "one\nthree",
  ]);
});

test("a text's parts make the text", async () => {
  const path = join(folder(), "data.txt");
  const text = Array.from({ length: 3000 }, (_, i) => `line ${i}${i % 7 === 0 ? "\n" : ""}`).join("\n");
  writeFileSync(path, text);
  const samples = await all(readSamples(path, "text"));
  expect(samples.length).toBeGreaterThan(2);
  expect(samples.map((sample) => (sample.kind === "sample" ? sample.segments[0]!.text : "?")).join("")).toBe(text);
});

test("Parquet rows are read group by group", async () => {
  const path = join(folder(), "data.parquet");
  const columnData = [{ name: "text", data: ["one", "", "three"], type: "STRING" as const }];
  parquetWriteFile({ filename: path, columnData, rowGroupSize: 2 });
  const samples = await all(readSamples(path, "parquet"));
  expect(samples.map((sample) => (sample.kind === "sample" ? sample.segments[0]!.text : sample.kind === "bad" && sample.reason))).toEqual([
    "one",
    "has an empty text",
    "three",
  ]);
  expect(samples.map(({ line }) => line)).toEqual([1, 2, 3]);
});

test.each([true, false])("conversations of a group of rows that is read in parts are whole (offset index: %s)", async (offsetIndex) => {
  const path = join(folder(), "data.parquet");
  const rows = Array.from({ length: 3000 }, (_, row) =>
    Array.from({ length: 2 * (1 + (row % 3)) }, (_, turn) => ({
      role: turn % 2 === 0 ? "user" : "assistant",
      content: `${row}.${turn} ${String.fromCharCode(97 + (row % 26)).repeat((row * 37) % 3000)}`,
    })),
  );
  const text = { type: "BYTE_ARRAY", repetition_type: "OPTIONAL", converted_type: "UTF8" } as const;
  parquetWriteFile({
    filename: path,
    columnData: [{ name: "messages", data: rows, offsetIndex }],
    schema: [
      { name: "root", num_children: 1 },
      { name: "messages", repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", repetition_type: "OPTIONAL", num_children: 2 },
      { name: "role", ...text },
      { name: "content", ...text },
    ],
    ...{ codec: "UNCOMPRESSED", rowGroupSize: rows.length, pageSize: 2 ** 17 },
  });
  expect(statSync(path).size).toBeGreaterThan(16 << 20);
  const samples = await all(readSamples(path, "parquet"));
  expect(samples).toHaveLength(rows.length);
  for (const [row, sample] of samples.entries()) expect(sample).toEqual({ kind: "chat", line: row + 1, messages: rows[row] });
});

test("a Parquet row whose text is not UTF-8 is named", async () => {
  const path = join(folder(), "data.parquet");
  const broken = Buffer.from("caf\u00e9", "latin1");
  const columnData = [{ name: "text", data: [Buffer.from("caf\u00e9"), broken, Buffer.from("\ufffd")], type: "BYTE_ARRAY" as const }];
  parquetWriteFile({ filename: path, columnData });
  const seen = (await all(readSamples(path, "parquet"))).map((sample) =>
    sample.kind === "sample" ? sample.segments[0]!.text : [sample.line, sample.kind === "bad" && sample.reason],
  );
  expect(seen).toEqual(["caf\u00e9", [2, "is not UTF-8"], "\ufffd"]); // a replacement character that the file has is a character
});

test("of what a cut left, the description is made again and other files are named", async () => {
  const path = join(folder(), "data.jsonl");
  writeFileSync(path, '{"text":"ab"}\n{"text":"cde"}\n');
  const place = folder();
  const prepare = async () => {
    using file = await TokenFile.prepare(path, place, base);
    return [...file.lengths];
  };
  expect(await prepare()).toEqual([3, 4]);
  const whole = readFileSync(join(place, "description.json"));
  for (const size of [0, 1, whole.length >> 1]) {
    truncateSync(join(place, "description.json"), size);
    expect(await prepare()).toEqual([3, 4]);
    expect(readFileSync(join(place, "description.json")).equals(whole)).toBe(true);
  }
  for (const name of ["documents.bin", "tokens.bin"]) {
    truncateSync(join(place, name), 3);
    await expect(prepare()).rejects.toThrow(new RegExp(`${name}: has another size than its description says`));
    rmSync(join(place, "description.json"));
    expect(await prepare()).toEqual([3, 4]);
  }
});

test("while tokens are written there is no description, nor are leavings of it in the way", async () => {
  const path = join(folder(), "data.jsonl");
  writeFileSync(path, '{"text":"ab"}\n{"text":"cde"}\n');
  const place = folder();
  for (const vocabulary of ["one", "another"]) {
    const seen: string[][] = [];
    using file = await TokenFile.prepare(path, place, { ...base, vocabulary, onTokens: () => seen.push(readdirSync(place)) });
    expect(seen.flat()).not.toContain("description.json"); // killed here, a run makes the tokens again
    expect(seen[0]!.filter((name) => name.endsWith(".partial"))).toHaveLength(1);
    expect(readdirSync(place).sort()).toEqual(["description.json", "documents.bin", "tokens.bin"]);
    expect(file.lengths).toHaveLength(2);
    writeFileSync(join(place, "tokens.bin.0123.partial"), "of a killed run");
  }
});

test("a bad sample stops with its line, or is skipped and reported", async () => {
  const path = join(folder(), "data.jsonl");
  writeFileSync(path, `{"text":"good"}\n{"text":"${"x".repeat(64)}"}\nnonsense\n{"text":"fine"}\n`);
  await expect(TokenFile.prepare(path, folder(), base)).rejects.toThrow(/data\.jsonl: line 2 has 65 tokens, more than the context of 64/);
  const reported: unknown[] = [];
  using file = await TokenFile.prepare(path, folder(), { ...base, bad: "skip", onBad: (bad) => reported.push(bad) });
  expect(reported).toMatchObject([{ line: 2 }, { line: 3, reason: expect.stringContaining("JSON") }]);
  expect([...file.lengths]).toEqual([5, 5]);
  expect(file.description.bad).toBe(2);
});

test("tokens of a prompt are read and not learned; what was prepared is opened again", async () => {
  const path = join(folder(), "data.jsonl");
  writeFileSync(path, '{"prompt":"ab","completion":"cd"}\n');
  const place = folder();
  for (const _ of [1, 2]) {
    using file = await TokenFile.prepare(path, place, base);
    const ids = new Int32Array(5);
    const isLearned = new Uint8Array(5);
    file.read(0, 0, ids, isLearned);
    expect([...ids]).toEqual([97, 98, 99, 100, 0]);
    expect([...isLearned]).toEqual([0, 0, 1, 1, 1]);
  }
});

test("an epoch holds every token of the training documents once, and every next token of a document is learned once", async () => {
  const runs = process.env.CHAINRULE_SOAK ? 500 : 25;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 2, maxLength: 30 }),
      fc.integer({ min: 2, max: 20 }),
      fc.integer({ min: 1, max: 3 }),
      fc.nat(1000),
      async (lengths, length, sequences, seed) => {
        const place = folder();
        const path = join(place, "data.jsonl");
        // every document has one letter of its own, so that a row tells where it is from
        writeFileSync(path, lengths.map((n, i) => JSON.stringify({ text: String.fromCharCode(100 + i).repeat(n) })).join("\n"));
        using file = await TokenFile.prepare(path, place, base);
        const packing = new Packing(file, { sequences, length, seed, validation: 0 });
        const batches = Math.ceil(packing.windowsPerEpoch / sequences);
        const read = new Map<number, number>();
        const learned = new Map<number, number>();
        let windows = 0;
        for (let number = 0; number < batches; number += 1) {
          const batch = packing.training(number);
          for (let sequence = 0; sequence < sequences && windows < packing.windowsPerEpoch; sequence += 1, windows += 1) {
            for (let row = sequence * length; row < (sequence + 1) * length; row += 1) {
              const document = batch.documents[row]!;
              if (document === -1) continue;
              read.set(document, (read.get(document) ?? 0) + 1);
              expect([0, 100 + document]).toContain(batch.ids[row]);
              if (batch.isTarget[row] === 0) continue;
              learned.set(document, (learned.get(document) ?? 0) + 1);
              expect([0, 100 + document]).toContain(batch.targets[row]);
            }
          }
        }
        for (const [document, n] of lengths.entries()) {
          expect(read.get(document)).toBe(n + 1); // with the end token
          expect(learned.get(document)).toBe(n);
        }
        expect(packing.training(batches + 3)).toEqual(new Packing(file, { sequences, length, seed, validation: 0 }).training(batches + 3));
      },
    ),
    { numRuns: runs },
  );
});

test("held-out documents are in no training batch", async () => {
  const place = folder();
  const path = join(place, "data.jsonl");
  writeFileSync(path, Array.from({ length: 60 }, (_, i) => JSON.stringify({ text: `text ${i}` })).join("\n"));
  using file = await TokenFile.prepare(path, place, base);
  const packing = new Packing(file, { sequences: 2, length: 16, seed: 1, validation: 0.2 });
  const documents = (batches: Iterable<{ from: readonly number[] }>) => new Set([...batches].flatMap(({ from }) => from));
  const training = documents(Array.from({ length: packing.windowsPerEpoch }, (_, number) => packing.training(number)));
  const heldOut = documents(packing.validation(1000));
  expect(training.size + heldOut.size).toBe(60);
  expect([...heldOut].filter((document) => training.has(document))).toEqual([]);
  expect(heldOut.size).toBe(packing.validationDocuments);
});
