import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { adapterBase, readAdapter } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { trainBpe } from "../../src/tokenizer/index.ts";
import { AdapterTrainee } from "../../src/training/adapter-trainee.ts";
import { vocabularyMetadata, writeRandomModel } from "../../src/training/from-scratch.ts";
import { type Batch, type Metrics, parseAdapter, type TrainFileOptions, train, trainFile } from "../../src/training/index.ts";
import { openGguf, TrainingWeights } from "../../src/weights/index.ts";
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

test("two batches of one sequence add up to the gradient of one batch of two", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const row = (i: number) => (i * 37 + 11) % 290;
  const batch = (first: number, count: number): Batch => {
    const ids = Int32Array.from({ length: count * 16 }, (_, i) => row(first * 16 + i));
    const targets = Int32Array.from(ids, (_, i) => row(first * 16 + i + 1));
    const documents = Int32Array.from(ids, (_, i) => first + Math.floor(i / 16));
    return { ids, documents, targets, isTarget: new Uint8Array(ids.length).fill(1), targetCount: ids.length, from: [0] };
  };
  const norms: number[] = [];
  for (const sequences of [1, 2]) {
    using device = Device.create("cpu", 1);
    using file = openGguf(join(folder.path, "base.gguf"));
    using weights = TrainingWeights.open(device, file);
    const family = familyOf("llama");
    const model = family.build(file.metadata, weights);
    await weights.load();
    using adapter = AdapterTrainee.create(device, adapterBase(file, family.modules), parseAdapter("lora,rank=4"), 1);
    const source = {
      ...{ identity: "formula", validationDocuments: 0, validation: () => [] },
      training: (number: number) => batch(number * sequences, sequences),
    };
    const { parameters, deltas } = adapter;
    const out = join(folder.path, `s${sequences}`);
    const settings = { steps: 1, sequences, accumulate: 2 / sequences, length: 16, learningRate: 1e-3 };
    const trainee = { model, parameters, deltas, weightBytes: 0 };
    const { mkdirSync } = await import("node:fs");
    mkdirSync(out);
    await train(device, trainee, source, out, settings);
    norms.push(metricsOf(out)[0]!.gradientNorm);
  }
  expect(Math.abs(norms[1]! / norms[0]! - 1)).toBeLessThan(1e-6);
});
