import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { adapterBase, readAdapter } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { affine, gather, input, leaf, Program } from "../../src/tensor/index.ts";
import { trainBpe } from "../../src/tokenizer/index.ts";
import { AdapterTrainee } from "../../src/training/adapter-trainee.ts";
import { vocabularyMetadata, writeRandomModel } from "../../src/training/from-scratch.ts";
import {
  type Batch,
  type BatchSource,
  type Metrics,
  parseAdapter,
  type Trainee,
  type TrainFileOptions,
  train,
  trainFile,
} from "../../src/training/index.ts";
import { type GgufFile, openGguf, openSafetensors, quantize, TrainingWeights } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

/** A small model with a vocabulary of its own, and sentences in a fixed order for it to learn. */
async function prepare(folder: string): Promise<void> {
  const next = random(5);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const sentence = () => `the ${pick(["cat", "dog", "bird"])} ${pick(["sees", "hears"])} the ${pick(["tree", "house", "river"])}.`;
  const texts = Array.from({ length: 80 }, () => `${sentence()} ${sentence()}`);
  writeFileSync(join(folder, "data.jsonl"), texts.map((text) => JSON.stringify({ text })).join("\n"));
  const tokenizer = vocabularyMetadata(await trainBpe(texts, { vocabSize: 300 }));
  const shape = { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 64 };
  await writeRandomModel(join(folder, "base.gguf"), { name: "base", shape, tokenizer, seed: 3 });
}

const options = (folder: string, name: string, adapter: string): TrainFileOptions => ({
  data: join(folder, "data.jsonl"),
  start: { kind: "model", path: join(folder, "base.gguf") },
  ...{ adapter, steps: 24, out: join(folder, name), sequences: 2, length: 32, accumulate: 2, learningRate: 1e-2 },
  ...{ average: 0.9, validation: 0.1, seed: 7 },
});

const metricsOf = (folder: string): Metrics[] =>
  readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test.each(["lora,rank=4,targets=all", "series,rank=8,scaling=20,targets=attn;ffn", "parallel,rank=8,activation=gelu"])(
  "%s: the loss falls, the base stays as it is, and the folder has the adapter and no model",
  async (adapter) => {
    using folder = temporaryFolder();
    await prepare(folder.path);
    const before = readFileSync(join(folder.path, "base.gguf"));
    const settings = options(folder.path, "run", adapter);
    const result = await trainFile(settings);
    expect(result.isFinished).toBe(true);
    const metrics = metricsOf(settings.out);
    expect(metrics.at(-1)!.loss).toBeLessThan(metrics[0]!.loss - 0.2);
    expect(metrics.at(-1)!.validationLoss).toBeLessThan(metrics[0]!.validationLoss! - 0.1);
    expect(readFileSync(join(folder.path, "base.gguf")).equals(before)).toBe(true);
    expect(existsSync(join(settings.out, "model.gguf"))).toBe(false);
    using file = openGguf(join(folder.path, "base.gguf"));
    const base = adapterBase(file, familyOf("llama").modules);
    const saved = readAdapter(join(settings.out, "adapter"), base);
    expect(saved.form).toBe(adapter.split(",")[0]);
    for (const { down, up, target } of saved.parts) {
      expect(result.average!.get(`${target}.down`)).toEqual(down);
      expect(result.average!.get(`${target}.up`)).toEqual(up);
    }
    // llama.cpp's file holds the same numbers
    if (saved.form === "lora") expect(readAdapter(join(settings.out, "adapter.gguf"), base)).toEqual(saved);
    else expect(existsSync(join(settings.out, "adapter.gguf"))).toBe(false);
  },
);

test("an aborted run with dropout goes on to the same losses and the same adapter; other adapters are refused", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const adapter = "lora,rank=4,targets=q;v;down,dropout=0.3";
  const whole = options(folder.path, "whole", adapter);
  await trainFile(whole);
  const parts = options(folder.path, "parts", adapter);
  const controller = new AbortController();
  const stop = ({ step }: Metrics) => step === 9 && controller.abort();
  expect(await trainFile(parts, { signal: controller.signal, onProgress: stop })).toMatchObject({ isFinished: false, step: 9 });
  await expect(trainFile({ ...parts, adapter: "lora,rank=8", resume: true })).rejects.toThrow(
    /^adapter: the run to be resumed has "lora on attn_q, attn_v, ffn_down: rank 4/,
  );
  expect(await trainFile({ ...parts, resume: true })).toMatchObject({ isFinished: true, step: 24 });
  expect(readFileSync(join(parts.out, "metrics.jsonl"), "utf8")).toBe(readFileSync(join(whole.out, "metrics.jsonl"), "utf8"));
  const bytes = (out: string) => readFileSync(join(out, "adapter", "adapter_model.safetensors"));
  expect(bytes(parts.out).equals(bytes(whole.out))).toBe(true);
});

test("dropout changes what is learned, not what is looked at: the first look is the base's loss", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const looks: number[] = [];
  for (const adapter of ["lora,rank=4", "lora,rank=4,dropout=0.5"]) {
    const settings = { ...options(folder.path, `run${looks.length}`, adapter), steps: 2, learningRate: 1e-12, validateEvery: 1 };
    await trainFile(settings);
    const [first, second] = metricsOf(settings.out);
    looks.push(first!.validationLoss!);
    expect(second!.validationLoss).toBeCloseTo(first!.validationLoss!, 6);
  }
  expect(looks[1]).toBeCloseTo(looks[0]!, 6);
});

/** A run over the base as q8_0, whose matrices beside it are all random, so that every gradient is of some size. */
async function withAdapter<T>(
  folder: string,
  spec: string,
  use: (parts: { device: Device; trainee: Trainee; weights: TrainingWeights; file: GgufFile }) => Promise<T>,
): Promise<T> {
  await prepare(folder);
  const path = join(folder, "small.gguf");
  if (!existsSync(path)) await quantize(join(folder, "base.gguf"), path, { type: "q8_0" });
  using device = Device.create("cpu", 1);
  using file = openGguf(path);
  using weights = TrainingWeights.open(device, file);
  const family = familyOf("llama");
  const model = family.build(file.metadata, weights);
  await weights.load();
  using adapter = AdapterTrainee.create(device, adapterBase(file, family.modules), parseAdapter(spec), 1);
  const { parameters, deltas } = adapter;
  const next = random(4);
  for (const name of parameters.names) {
    const values = parameters.values(name);
    for (let i = 0; i < values.length; i += 1) values[i] = (next() - 0.5) / 2;
  }
  return await use({ device, trainee: { model, parameters, deltas, weightBytes: 0 }, weights, file });
}

/** Batches of rows by a formula: as many sequences of 16 tokens as a pass has. */
function formulaBatches(sequences: number): BatchSource {
  const row = (i: number) => (i * 37 + 11) % 290;
  const training = (number: number): Batch => {
    const first = number * sequences;
    const ids = Int32Array.from({ length: sequences * 16 }, (_, i) => row(first * 16 + i));
    const targets = Int32Array.from(ids, (_, i) => row(first * 16 + i + 1));
    const documents = Int32Array.from(ids, (_, i) => first + Math.floor(i / 16));
    return { ids, documents, targets, isTarget: new Uint8Array(ids.length).fill(1), targetCount: ids.length, from: [0] };
  };
  return { identity: "formula", validationDocuments: 0, validation: () => [], training };
}

test("two batches of four sequences add up to the gradient of one batch of eight, element by element", async () => {
  using folder = temporaryFolder();
  const gradients: Map<string, Float32Array>[] = [];
  for (const sequences of [4, 8]) {
    const out = join(folder.path, `s${sequences}`);
    mkdirSync(out);
    await withAdapter(folder.path, "lora,rank=4,targets=all", async ({ device, trainee }) => {
      // after its first step the momentum is the gradient
      const settings = { steps: 1, sequences, accumulate: 8 / sequences, length: 16, learningRate: 1e-3 };
      await train(device, trainee, formulaBatches(sequences), out, { ...settings, optimizer: "sgd", weightDecay: 0, clip: 1e9 });
    });
    using file = openSafetensors(join(out, "checkpoint-000000001.safetensors"));
    const read = (name: string) => {
      const values = new Float32Array(file.tensor(name).sizeBytes / 4);
      file.readInto(name, values);
      return values;
    };
    gradients.push(new Map([...file.tensors.keys()].filter((name) => name.startsWith("optimizer.0/")).map((name) => [name, read(name)])));
  }
  const [four, eight] = gradients as [Map<string, Float32Array>, Map<string, Float32Array>];
  expect(four.size).toBe(2 * 2 * 7); // down and up of seven layers of two blocks
  for (const [name, values] of four) {
    const other = eight.get(name)!;
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest, name).toBeGreaterThan(1e-4);
    for (const [i, value] of values.entries())
      expect(Math.abs(value - other[i]!), `${name}[${i}]`).toBeLessThan(1e-6 * Math.max(1, largest));
  }
});

test("steps leave every frozen weight in the device's memory as it was, and its transposed copy", async () => {
  using folder = temporaryFolder();
  const out = join(folder.path, "run");
  mkdirSync(out);
  await withAdapter(folder.path, "lora,rank=4,targets=all", async ({ device, trainee, weights, file }) => {
    const hashes = () =>
      [...file.tensors.values()].flatMap(({ name, shape }) => {
        const weight = weights.get(name, shape);
        if (weight.op !== "leaf") throw new Error("frozen weights are leaves");
        const { transposed } = weight.attributes.storage;
        const rows = shape.length === 1 ? affine(weight, 1) : gather(weight, input("rows", "i32", [shape[0]!]));
        using program = Program.compile(device, { rows, ...(transposed && { transposed: affine(leaf(transposed), 1) }) });
        if (shape.length > 1) program.input<"i32">("rows").set(Array.from({ length: shape[0]! }, (_, i) => i));
        program.runSync();
        const parts = ["rows", ...(transposed ? ["transposed"] : [])];
        return parts.map((part) => [name, part, createHash("sha256").update(program.read(part)).digest("hex")]);
      });
    const before = hashes();
    expect(before.filter(([, part]) => part === "transposed").length).toBeGreaterThanOrEqual(14);
    const matrices = trainee.parameters.names.map((name) => trainee.parameters.values(name).slice());
    await train(device, trainee, formulaBatches(2), out, { steps: 3, sequences: 2, length: 16, learningRate: 1e-2 });
    for (const [i, name] of trainee.parameters.names.entries()) expect(trainee.parameters.values(name)).not.toEqual(matrices[i]);
    expect(hashes()).toEqual(before);
  });
});
