import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, describe, expect, test } from "vitest";
import { TrainingError } from "../../src/errors.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { load } from "../../src/index.ts";
import { trainBpe } from "../../src/tokenizer/index.ts";
import { vocabularyMetadata, writeRandomModel } from "../../src/training/from-scratch.ts";
import { type Metrics, type TrainFileOptions, trainFile } from "../../src/training/index.ts";
import { openSafetensors } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const loader = new URL("../../src/models/testing/typescript.mjs", import.meta.url).href;
const worker = fileURLToPath(new URL("../support/train-worker.ts", import.meta.url));

/** Sentences of a few words in a fixed order, so that a model has something to learn. */
function corpus(path: string, lines = 120): void {
  const next = random(5);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const sentence = () => `the ${pick(["cat", "dog", "bird"])} ${pick(["sees", "hears"])} the ${pick(["tree", "house", "river"])}.`;
  writeFileSync(path, Array.from({ length: lines }, () => JSON.stringify({ text: `${sentence()} ${sentence()}` })).join("\n"));
}

const options = (folder: string, name: string): TrainFileOptions => ({
  data: join(folder, "data.jsonl"),
  start: {
    kind: "scratch",
    shape: { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 64 },
    vocabulary: { size: 300 },
  },
  steps: 30,
  out: join(folder, name),
  sequences: 2,
  length: 32,
  accumulate: 2,
  learningRate: 3e-3,
  average: 0.9,
  validation: 0.1,
  seed: 7,
});

const metricsOf = (folder: string): Metrics[] =>
  readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test("the loss falls, on the held-out documents too, and the folder has what a run leaves", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const seen: number[] = [];
  const report = join(folder.path, "run", "report.html");
  let live = "";
  const result = await trainFile(
    { ...options(folder.path, "run"), recompute: true },
    {
      onStart: ({ memory }) => seen.push(memory.passBytes),
      onProgress: ({ step }) => {
        if (step === 2) live = readFileSync(report, "utf8");
      },
    },
  );
  expect(live).toMatch(/http-equiv="refresh".*1 steps/); // a browser that shows it follows the run …
  expect(readFileSync(report, "utf8")).not.toContain("refresh"); // … to its end
  expect(result).toMatchObject({ isFinished: true, step: 30 });
  const metrics = metricsOf(join(folder.path, "run"));
  expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  expect(metrics[0]!.loss).toBeCloseTo(Math.log(300), 0); // an untrained model spreads its belief over the vocabulary
  expect(metrics.at(-1)!.loss).toBeLessThan(metrics[0]!.loss - 1);
  expect(metrics.at(-1)!.validationLoss).toBeLessThan(metrics[0]!.validationLoss! - 1);
  expect(readFileSync(report, "utf8")).toContain("What it writes");
  for (const name of ["model.gguf", "report.html", "checkpoint-000000030.safetensors"])
    expect(existsSync(join(folder.path, "run", name))).toBe(true);
  expect(readFileSync(report, "utf8")).toMatch(/<path d="M[\d., L]+/);
  expect(seen[0]).toBeGreaterThan(0);
});

test("a look's sample is what the engine writes greedily with the model that was saved", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const { average: _, ...rest } = options(folder.path, "run");
  const settings = { ...rest, steps: 90 };
  await trainFile(settings);
  const samples = metricsOf(settings.out).flatMap(({ sample }) => (sample === undefined ? [] : [sample]));
  expect(samples.length).toBeGreaterThan(10);
  expect(new Set(samples.map(({ prompt }) => prompt)).size).toBe(1);
  const { prompt, text } = samples.at(-1)!;
  await using model = await load(join(settings.out, "model.gguf"), { threads: 1 });
  expect((await model.generate(prompt, { maxTokens: 24 })).text).toBe(text);
  expect(text).toMatch(/ (cat|dog|bird|tree|house|river)/);
  expect(samples[0]!.text).not.toMatch(/ (cat|dog|bird|tree|house|river)/);
});

test("recomputation takes less memory and changes no loss", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const runs = await Promise.all(
    [false, true].map(async (recompute) => {
      let passBytes = 0;
      const shape = { hiddenSize: 32, blocks: 6, heads: 2, contextLength: 64 };
      const start = { kind: "scratch" as const, shape, vocabulary: { size: 300 } };
      const settings = { ...options(folder.path, `${recompute}`), start, recompute, steps: 4 };
      await trainFile(settings, { onStart: ({ memory }) => (passBytes = memory.passBytes) });
      return { passBytes, losses: metricsOf(settings.out).map(({ loss }) => loss) };
    }),
  );
  expect(runs[1]!.passBytes).toBeLessThan(0.8 * runs[0]!.passBytes);
  for (const [i, loss] of runs[0]!.losses.entries()) expect(runs[1]!.losses[i]).toBeCloseTo(loss, 5);
});

test("a folder that exists is refused, and one that does not exist is not resumed", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  mkdirSync(join(folder.path, "taken"));
  await expect(trainFile(options(folder.path, "taken"))).rejects.toThrow(/^out: .*taken exists/);
  await expect(trainFile({ ...options(folder.path, "none"), resume: true })).rejects.toThrow(/^out: .*none does not exist/);
});

test("a run that is refused leaves no folder, one that was stopped before its first step does", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const settings = options(folder.path, "run");
  const tiny = fileURLToPath(new URL("../../assets/tiny.gguf", import.meta.url));
  const refused: [Partial<TrainFileOptions>, RegExp][] = [
    [{ learningRate: 0 }, /^learningRate: must be a number > 0, got 0/],
    [{ clip: -1 }, /^clip: must be > 0, got -1/],
    [{ validation: 0.9 }, /^validation: must be in \[0, 0.5\], got 0.9/],
    [{ warmupSteps: 31 }, /^warmupSteps: must be a whole number in \[0, 30\], got 31/],
    [{ checkpointEvery: { seconds: 0 } }, /^checkpointEvery: must be > 0, got 0/],
    [{ sequences: 1.5 }, /^sequences: must be a whole number >= 1, got 1.5/],
    [{ length: 65 }, /^length: 65 tokens are more than the model's context of 64/],
    [{ start: { kind: "model", path: join(folder.path, "none.gguf") } }, /none\.gguf/],
    [{ start: { kind: "model", path: tiny }, adapter: "lora,targets=qkv" }, /^targets: .*qkv/],
    [{ data: join(folder.path, "none.jsonl") }, /none\.jsonl/],
  ];
  for (const [change, message] of refused) {
    await expect(trainFile({ ...settings, ...change })).rejects.toThrow(message);
    expect(existsSync(settings.out), `${message}`).toBe(false);
  }
  const bad = join(folder.path, "bad.jsonl");
  writeFileSync(bad, `${readFileSync(settings.data, "utf8")}\nno JSON\n`);
  await expect(trainFile({ ...settings, data: bad })).rejects.toThrow(/line 121 is not valid JSON/);
  expect(existsSync(settings.out)).toBe(false);

  const controller = new AbortController();
  const onStage = (stage: string) => stage === "reading the data" && controller.abort(new Error("stopped"));
  await expect(trainFile(settings, { onStage, signal: controller.signal })).rejects.toThrow("stopped");
  expect(existsSync(settings.out)).toBe(true);
  expect((await trainFile({ ...settings, resume: true })).isFinished).toBe(true);
});

test("a run goes on with its own options only, and says so when the threads are others", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const settings = { ...options(folder.path, "run"), steps: 4 };
  await trainFile(settings);
  await expect(trainFile({ ...settings, resume: true, learningRate: 1e-3 })).rejects.toThrow(
    "learningRate: the run to be resumed has 0.003, not 0.001",
  );
  const notices: string[] = [];
  await trainFile({ ...settings, resume: true, threads: 2 }, { onNotice: (notice) => notices.push(notice) });
  expect(notices).toEqual(["the run began with 1 threads and goes on with 2: its losses will differ in the last bits"]);
});

test("an aborted run stops after its step and goes on to the same losses", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const whole = options(folder.path, "whole");
  await trainFile(whole);
  const parts = options(folder.path, "parts");
  const controller = new AbortController();
  const stop = ({ step }: Metrics) => step === 11 && controller.abort();
  expect(await trainFile(parts, { signal: controller.signal, onProgress: stop })).toMatchObject({ isFinished: false, step: 11 });
  expect(await trainFile({ ...parts, resume: true })).toMatchObject({ isFinished: true, step: 30 });
  expect(readFileSync(join(parts.out, "metrics.jsonl"), "utf8")).toBe(readFileSync(join(whole.out, "metrics.jsonl"), "utf8"));
  expect(readFileSync(join(parts.out, "model.gguf")).equals(readFileSync(join(whole.out, "model.gguf")))).toBe(true);
});

/** A model that is there already, with a vocabulary of its own. */
async function writeBase(path: string): Promise<void> {
  const tokenizer = vocabularyMetadata(await trainBpe(["the cat sees the house. the dog hears the river."], { vocabSize: 270 }));
  const shape = { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 64 };
  await writeRandomModel(path, { name: "base", shape, tokenizer, seed: 3 });
}

/** Pairs of answers, of which the longer words are preferred. */
function pairs(path: string): void {
  const next = random(6);
  const word = (length: number) => Array.from({ length }, () => "abcde"[Math.floor(next() * 5)]).join("");
  const row = (i: number) => ({ prompt: `say ${i % 7}:`, chosen: ` ${word(6)} ${word(5)}`, rejected: ` ${word(2)} ${word(3)} ${word(2)}` });
  writeFileSync(path, Array.from({ length: 60 }, (_, i) => JSON.stringify(row(i))).join("\n"));
}

describe.each([
  { name: "next-token", objective: "next-token", kills: 3 },
  { name: "sequence-match", objective: "sequence-match", kills: 1 },
  { name: "an adapter", objective: "next-token", adapter: "lora,rank=4,targets=all,dropout=0.2", kills: 1 },
  { name: "reward", objective: "reward", kills: 1 },
  { name: "dpo", objective: "dpo", kills: 2 },
])("$name", ({ objective, adapter, kills: few }) => {
  test("a run that is killed at any moment leaves no broken checkpoint and goes on to the same bytes", async () => {
    using folder = temporaryFolder();
    const isOfPairs = objective === "reward" || objective === "dpo";
    (isOfPairs ? pairs : corpus)(join(folder.path, "data.jsonl"));
    const { average, ...common } = options(folder.path, "whole");
    const base = join(folder.path, "base.gguf");
    await writeBase(base);
    const whole: TrainFileOptions = {
      ...{ ...common, objective, steps: 40, checkpointEvery: { steps: 2 } },
      ...(objective === "next-token" ? { average: average! } : {}),
      ...(isOfPairs ? { length: 64 } : {}),
      ...(isOfPairs || adapter !== undefined ? { start: { kind: "model", path: base } } : {}),
      ...(adapter === undefined ? {} : { adapter }),
    };
    await trainFile(whole);
    const killed = { ...whole, out: join(folder.path, "killed") };
    const kills = process.env.CHAINRULE_SOAK ? 20 : few;
    const next = random(process.env.CHAINRULE_SOAK ? Date.now() : 3);
    let resume = false;
    for (let kill = 0; kill < kills; kill += 1) {
      const child = spawn(process.execPath, ["--import", loader, worker, JSON.stringify({ ...killed, resume })], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      // after some progress lines, and then at a random moment between two of them
      const stepsSeen = 1 + Math.floor(next() * (kills <= 3 ? 8 : 3));
      let lines = 0;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.stdout.on("data", (chunk: Buffer) => {
        lines += chunk.toString().split("\n").length - 1;
        if (lines >= stepsSeen) setTimeout(() => child.kill("SIGKILL"), next() * 5);
      });
      await ended;
      expect(child.signalCode).toBe("SIGKILL");
      resume = true;
      const names = existsSync(killed.out) ? readdirSync(killed.out) : [];
      for (const name of names.filter((one) => one.endsWith(".safetensors"))) {
        using file = openSafetensors(join(killed.out, name)); // throws for a file that was cut
        expect(file.metadata.get("step")).toBe(String(Number(/\d+/.exec(name)![0])));
      }
    }
    await trainFile({ ...killed, resume: true });
    expect(readFileSync(join(killed.out, "metrics.jsonl"), "utf8")).toBe(readFileSync(join(whole.out, "metrics.jsonl"), "utf8"));
    const made = adapter === undefined ? "model.gguf" : join("adapter", "adapter_model.safetensors");
    expect(readFileSync(join(killed.out, made)).equals(readFileSync(join(whole.out, made)))).toBe(true);
  });
});

test.each(["jsonl", "parquet"])("data may be larger than the memory that reads them: %s", async (format) => {
  using folder = temporaryFolder();
  const path = join(folder.path, `data.${format}`);
  const soakBytes = format === "parquet" ? 2 ** 28 : 2 ** 30; // a Parquet file is made in memory
  const sizeBytes = process.env.CHAINRULE_SOAK ? soakBytes : 64 * 2 ** 20;
  const heapMegabytes = 40;
  // most of a row is a field that nobody asks for, which is parsed and not tokenized
  const row = { text: "the cat sees the house. ".repeat(10), source: "x".repeat(16_000) };
  const rowCount = Math.ceil(sizeBytes / 16_000);
  if (format === "parquet") {
    const sources = Array.from({ length: rowCount }, (_, i) => `${i}${row.source}`); // one group of rows, in which none is like another
    const columnData = [
      { name: "text", data: sources.map(() => row.text), type: "STRING" as const },
      { name: "source", data: sources, type: "STRING" as const },
    ];
    parquetWriteFile({ filename: path, columnData, codec: "UNCOMPRESSED", rowGroupSize: rowCount });
  } else {
    const block = Buffer.from(`${JSON.stringify(row)}\n`.repeat(64));
    for (let written = 0; written < sizeBytes; written += block.length) appendFileSync(path, block);
  }
  const base = join(folder.path, "base.gguf");
  await writeBase(base);
  const shape = { hiddenSize: 32, blocks: 1, heads: 2, contextLength: 512 };
  const start = { kind: "scratch" as const, shape, vocabulary: { of: base } };
  const settings = { ...options(folder.path, "run"), data: path, start, steps: 2, length: 64 };
  const child = spawn(process.execPath, [`--max-old-space-size=${heapMegabytes}`, "--import", loader, worker, JSON.stringify(settings)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  expect(code).toBe(0);
  expect(statSync(path).size).toBeGreaterThan(heapMegabytes * 2 ** 20);
  expect(metricsOf(settings.out)).toHaveLength(2);
});

test("a number that is no longer finite ends the run with the step and the tensor", async () => {
  using folder = temporaryFolder();
  corpus(join(folder.path, "data.jsonl"));
  const settings = { ...options(folder.path, "run"), optimizer: "sgd" as const, learningRate: 1e30, warmupSteps: 0, clip: 1e30 };
  const error = await trainFile(settings).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(TrainingError);
  expect((error as TrainingError).message).toMatch(/^step \d+: .+ is no longer finite \(loss .+; documents \d+/);
  expect((error as TrainingError).tensor).toMatch(/\.weight$|^the loss$/);
});
