import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { type GenerateOptions, load } from "../../src/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { grad, Program } from "../../src/tensor/index.ts";
import type { TokenId } from "../../src/token.ts";
import { trainBpe } from "../../src/tokenizer/index.ts";
import { vocabularyMetadata, writeRandomModel } from "../../src/training/from-scratch.ts";
import {
  forward,
  type Metrics,
  PairSource,
  preference,
  referenceLogProbabilities,
  setRows,
  type TrainFileOptions,
  train,
  trainFile,
} from "../../src/training/index.ts";
import { openGguf, TrainingWeights } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { formulaShape, writeFormulaModel } from "../support/formula-model.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

interface Reference {
  readonly beta: number;
  readonly losses: number[];
  readonly norms: number[];
  readonly accuracies: number[];
  readonly gradients: Record<string, number[]>;
  readonly reference: [chosen: number, rejected: number][];
}
// fixtures/preference-losses.py has the pairs and the versions
const fixture = JSON.parse(readFileSync(new URL("fixtures/preference-losses.fixture.json", import.meta.url), "utf8")) as Record<
  "reward" | "dpo",
  Reference
>;
const [numPairs, sequences, length] = [12, 4, 32];

/** The script's pairs, as a data file's are laid out. */
const pairs = Array.from({ length: numPairs }, (_, p) => {
  const tokens = (count: number, a: number, b: number) =>
    Array.from({ length: count }, (_, t) => (a * t * t + b * t + 5 * p + a) % formulaShape.vocabSize);
  const [prompt, chosen, rejected] = [tokens(3 + (p % 4), 3, 7), tokens(4 + (p % 5), 2, 11), tokens(3 + ((2 * p) % 7), 5, 3)];
  const learned = [...prompt.map(() => 0), ...chosen.map(() => 1), 0, ...rejected.map(() => 1)];
  return { ids: [...prompt, ...chosen, prompt.at(-1)!, ...rejected], learned };
});
const documents = {
  lengths: Uint32Array.from(pairs, ({ ids }) => ids.length),
  identity: { by: "formula" },
  read(document: number, _from: number, ids: Int32Array, isLearned: Uint8Array) {
    ids.set(pairs[document]!.ids);
    isLearned.set(pairs[document]!.learned);
  },
};

async function withModel<T>(
  folder: string,
  use: (parts: { device: Device; model: ReturnType<ReturnType<typeof familyOf>["build"]>; weights: TrainingWeights }) => Promise<T>,
): Promise<T> {
  const path = join(folder, "start.gguf");
  if (!existsSync(path)) await writeFormulaModel(path, { rotary: "pairs" });
  using device = Device.create("cpu", 1);
  using file = openGguf(path);
  using weights = TrainingWeights.open(device, file, { isTrained: () => true });
  const model = familyOf("llama").build(file.metadata, weights);
  await weights.load();
  return await use({ device, model, weights }); // before what it uses is freed
}

describe.each(["reward", "dpo"] as const)("%s against PyTorch", (name) => {
  const { beta, losses, norms, accuracies, gradients, reference } = fixture[name];
  const referenceMargin = (pair: number) => reference[pair]![0] - reference[pair]![1];
  const objective = preference({ beta, sequences, ...(name === "dpo" ? { referenceMargin } : {}) });

  test("50 steps have its losses within 1e-3", async () => {
    using folder = temporaryFolder();
    const seen: Metrics[] = [];
    await withModel(folder.path, ({ device, model, weights }) => {
      const source = new PairSource(documents, { sequences, length, seed: 0, validation: 0 });
      const batches = {
        ...{ identity: "formula", validationDocuments: 0, validation: () => [] },
        training: (step: number) => source.read(Array.from({ length: sequences }, (_, i) => (sequences * step + i) % numPairs)),
      };
      const trainee = { model, parameters: weights.parameters, weightBytes: 0, objective };
      const settings = { steps: 50, sequences, length, learningRate: 3e-3, warmupSteps: 5, floor: 0.1, weightDecay: 0.1, clip: 1 };
      return train(device, trainee, batches, folder.path, settings, { onProgress: (metrics) => seen.push(metrics) });
    });
    expect(seen).toHaveLength(50);
    for (const [step, { loss, gradientNorm, accuracy }] of seen.entries()) {
      expect(Math.abs(loss - losses[step]!), `loss of step ${step + 1}`).toBeLessThan(1e-3);
      expect(Math.abs(gradientNorm / norms[step]! - 1), `norm of step ${step + 1}`).toBeLessThan(1e-2);
      // at the first step of DPO every margin is 0 but for rounding
      if (name === "reward" || step > 0) expect(accuracy, `share of step ${step + 1}`).toBeCloseTo(accuracies[step]!, 6);
    }
    if (process.env.CHAINRULE_SHOW_ERRORS)
      console.log(`${name}: largest difference of a loss: ${Math.max(...seen.map(({ loss }, i) => Math.abs(loss - losses[i]!)))}`);
  });

  test("the first step's gradients are its gradients", async () => {
    using folder = temporaryFolder();
    await withModel(folder.path, async ({ device, model, weights }) => {
      const loss = objective.loss(forward(model, { sequences, length }), model);
      const names = Object.keys(gradients);
      const found = grad(
        loss,
        names.map((one) => weights.parameters.tensor(one)),
      );
      using program = Program.compile(device, Object.fromEntries(names.map((one, i) => [one, found[i]!])));
      const batch = new PairSource(documents, { sequences, length, seed: 0, validation: 0 }).read([0, 1, 2, 3]);
      const { ids, documents: of, positions, deletedAt } = batch;
      setRows(program, model.config, { sequences, length }, { ids, documents: of, positions, deletedAt });
      objective.fill(program, batch, batch.targetCount, model);
      await program.run();
      for (const one of names) {
        const expected = gradients[one]!;
        const scale = Math.max(...expected.map(Math.abs));
        const worst = Math.max(...program.peek(one).map((value, i) => Math.abs(value - expected[i]!)));
        expect(worst / scale, one).toBeLessThan(2e-4); // masks and rotations are float16 and float32 here
      }
    });
  });
});

test.each([0.01, 0.05, 1])("beta %d scales the margins, which are PyTorch's", async (beta) => {
  using folder = temporaryFolder();
  await withModel(folder.path, async ({ device, model }) => {
    const objective = preference({ beta, sequences });
    using program = Program.compile(device, objective.measured!(forward(model, { sequences, length }), model));
    const chosen = [3, 8, 11]; // one sequence of the pass stays empty
    const batch = new PairSource(documents, { sequences, length, seed: 0, validation: 0 }).read(chosen);
    const { ids, documents: of, positions, deletedAt } = batch;
    setRows(program, model.config, { sequences, length }, { ids, documents: of, positions, deletedAt });
    objective.fill(program, batch, batch.targetCount, model);
    await program.run();
    const margins = chosen.map((pair) => fixture.dpo.reference[pair]![0] - fixture.dpo.reference[pair]![1]);
    const expected = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-beta * margin)) / margins.length, 0);
    expect(Math.abs(program.peek("loss")[0]! - expected)).toBeLessThan(1e-3 * Math.max(1, beta));
    expect(program.peek("accuracy")[0]).toBeCloseTo(margins.filter((margin) => margin > 0).length / margins.length, 6);
  });
});

test("a reference's log-probabilities are PyTorch's, are kept, and are made anew for another model", async () => {
  using folder = temporaryFolder();
  await withModel(folder.path, async ({ device, model }) => {
    const source = new PairSource(documents, { sequences: 5, length, seed: 0, validation: 0 });
    const path = join(folder.path, "reference.safetensors");
    const asked: number[] = [];
    const ask = (identity: string) =>
      referenceLogProbabilities(device, model, source, path, { sequences: 5, length, identity, onProgress: (done) => asked.push(done) });
    const first = await ask("one");
    expect(asked).toEqual([5, 10, 12]);
    for (const [pair, [chosen, rejected]] of fixture.dpo.reference.entries()) {
      expect(Math.abs(first.chosen[pair]! - chosen)).toBeLessThan(1e-3);
      expect(Math.abs(first.rejected[pair]! - rejected)).toBeLessThan(1e-3);
    }
    expect(await ask("one")).toEqual(first);
    expect(asked).toHaveLength(3);
    await ask("two");
    expect(asked).toHaveLength(6);
  });
});

/** Pairs of equal length, of which the one about a cat is preferred, for a small model with a vocabulary of its own. */
async function prepare(folder: string): Promise<void> {
  const next = random(5);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const clause = (who: string) => ` the ${who} ${pick(["sees", "hears"])} the ${pick(["tree", "house", "river"])}.`;
  const rows = Array.from({ length: 60 }, () => ({ prompt: "tell:", chosen: clause("cat"), rejected: clause(pick(["dog", "bird"])) }));
  writeFileSync(join(folder, "pairs.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
  const tokenizer = vocabularyMetadata(
    await trainBpe(
      rows.flatMap(({ chosen, rejected }) => [chosen, rejected]),
      { vocabSize: 290 },
    ),
  );
  const shape = { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 96 };
  await writeRandomModel(join(folder, "base.gguf"), { name: "base", shape, tokenizer, seed: 3 });
}

const options = (folder: string, name: string, more: Partial<TrainFileOptions>): TrainFileOptions => ({
  data: join(folder, "pairs.jsonl"),
  start: { kind: "model", path: join(folder, "base.gguf") },
  ...{ steps: 20, out: join(folder, name), sequences: 4, learningRate: 3e-3, validation: 0.2, seed: 7 },
  ...more,
});

const metricsOf = (folder: string): Metrics[] =>
  readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test.each([
  { objective: "reward", more: { objective: "reward,beta=0.1" } },
  { objective: "reward as an adapter", more: { objective: "reward", adapter: "lora,rank=4", learningRate: 2e-2 } },
  { objective: "dpo", more: { objective: "dpo" } },
])("$objective learns what is preferred, on held-out pairs too", async ({ more }) => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const settings = options(folder.path, "run", { ...more, validationWindows: 7 });
  expect(await trainFile(settings)).toMatchObject({ isFinished: true });
  const metrics = metricsOf(settings.out);
  expect(metrics.at(-1)!.loss).toBeLessThan(metrics[0]!.loss);
  expect(metrics[0]!.accuracy).toBeLessThan(1);
  expect(metrics.at(-1)).toMatchObject({ validationAccuracy: 1, validationPairs: 7 }); // two passes, the last not full
  expect(metrics[0]!.tokens).toBeGreaterThan(4 * 10); // answers' tokens, not pairs
  if (more.objective.startsWith("dpo")) expect(metrics[0]!.loss).toBeCloseTo(Math.LN2, 5); // policy and reference begin as one
  expect(existsSync(join(settings.out, more.adapter === undefined ? "model.gguf" : "adapter.gguf"))).toBe(true);
  expect(readFileSync(join(settings.out, "report.html"), "utf8")).toContain("whose preferred answer");
  // and as a judge it says so
  const isAdapter = more.adapter !== undefined;
  const adapters = { liking: join(settings.out, "adapter") };
  await using model = await load(join(folder.path, "base.gguf"), { threads: 1, ...(isAdapter && { adapters }) });
  await using own = isAdapter ? undefined : await load(join(settings.out, "model.gguf"), { threads: 1 });
  for (const judged of isAdapter
    ? [{ adapter: "liking" }, { model: "adapter:liking" }, { model: model.withAdapters("liking") }]
    : [{ model: own! }]) {
    const search = { name: "best-of", n: 2, judge: "reward", ...judged };
    const { facts } = await model.generate("tell:", { maxTokens: 4, seed: 1, search });
    expect(facts.choices.find(({ what }) => what === "judge")!.because).toMatch(/training ranked 100 % of 7 held-out pairs right$/);
  }
});

test("an aborted run of dpo goes on to the same losses, and asks the reference once", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const more = { objective: "dpo", adapter: "lora,rank=4,dropout=0.2" };
  const whole = options(folder.path, "whole", more);
  await trainFile(whole);
  const parts = options(folder.path, "parts", more);
  const controller = new AbortController();
  const stop = ({ step }: Metrics) => step === 7 && controller.abort();
  expect(await trainFile(parts, { signal: controller.signal, onProgress: stop })).toMatchObject({ isFinished: false, step: 7 });
  const kept = join(parts.out, "data", "reference.safetensors");
  const { mtimeMs } = statSync(kept);
  await expect(trainFile({ ...parts, objective: "dpo,beta=0.2", resume: true })).rejects.toThrow(
    /^objective: the run to be resumed has "dpo, beta 0.1", not "dpo, beta 0.2"/,
  );
  expect(await trainFile({ ...parts, resume: true })).toMatchObject({ isFinished: true, step: 20 });
  expect(statSync(kept).mtimeMs).toBe(mtimeMs);
  expect(readFileSync(join(parts.out, "metrics.jsonl"), "utf8")).toBe(readFileSync(join(whole.out, "metrics.jsonl"), "utf8"));
});

test("a reward model guides: the more it weighs, the more of what it was shown to prefer; with weight 0 the answer is the base's", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  // a base that writes such sentences, of which a third is about a cat
  const rows = readFileSync(join(folder.path, "pairs.jsonl"), "utf8")
    .split("\n")
    .flatMap((line) => {
      const { chosen, rejected } = JSON.parse(line) as { chosen: string; rejected: string };
      return [chosen, rejected, rejected];
    })
    .map((completion) => JSON.stringify({ prompt: "tell:", completion }));
  writeFileSync(join(folder.path, "texts.jsonl"), rows.join("\n"));
  const learning = { data: join(folder.path, "texts.jsonl"), steps: 80, learningRate: 1e-2, length: 64 };
  await trainFile(options(folder.path, "writer", learning));
  const start = { kind: "model", path: join(folder.path, "writer", "model.gguf") } as const;
  const liking = { start, objective: "reward,beta=0.1", adapter: "lora,rank=4,targets=all", learningRate: 2e-3, steps: 60 };
  await trainFile(options(folder.path, "liking", liking));
  await using model = await load(start.path, { adapters: { liking: join(folder.path, "liking", "adapter") }, threads: 1 });
  const write = async (more: GenerateOptions) => {
    const seeds = Array.from({ length: 64 }, (_, seed) => seed);
    return Promise.all(seeds.map((seed) => model.generate("tell:", { temperature: 1, seed, maxTokens: 24, ...more })));
  };
  const shares: number[] = [];
  const prompt = model.tokenize("tell:");
  /** Nats per token of answers to the base alone. */
  const baseNats = async (answers: readonly { readonly tokens: readonly TokenId[] }[]) => {
    const nats = await Promise.all(
      answers.map(async ({ tokens }) => (await model.score([...prompt, ...tokens])).logprobs.slice(prompt.length).map((one) => -one!)),
    );
    return nats.flat().reduce((sum, one) => sum + one, 0) / nats.flat().length;
  };
  const prices: number[] = [];
  for (const weight of [0, 1, 4]) {
    const answers = await write({ guide: { name: "reward", adapter: "liking", weight } });
    shares.push(answers.filter(({ text }) => text.startsWith(" the cat")).length / answers.length);
    // a reward model that likes nothing is the base, and guides as a temperature does: the liking's own price is beyond that
    prices.push((await baseNats(answers)) - (await baseNats(await write({ temperature: 1 / (1 + weight) }))));
    if (weight === 0) expect(answers.map(({ tokens }) => tokens)).toEqual((await write({})).map(({ tokens }) => tokens));
  }
  expect(shares[0]).toBeLessThan(0.5);
  expect(shares[1]).toBeGreaterThan(shares[0]! + 0.05);
  expect(shares[2]).toBeGreaterThan(shares[1]! + 0.1);
  expect(prices[0]).toBe(0);
  for (const price of prices.slice(1)) expect(price).toBeGreaterThan(0.01); // 0.07 and 0.04 nats per token
});

test("data that don't fit the objective are refused by line", async () => {
  using folder = temporaryFolder();
  await prepare(folder.path);
  const likelihood = options(folder.path, "a", {});
  await expect(trainFile(likelihood)).rejects.toThrow(/line 1 is a pair of answers: objectives that learn from those are reward and dpo/);
  writeFileSync(join(folder.path, "pairs.jsonl"), `${JSON.stringify({ prompt: "p", chosen: "a", rejected: "b" })}\n{"text":"t"}\n`);
  await expect(trainFile(options(folder.path, "b", { objective: "reward" }))).rejects.toThrow(/line 2 has no preference/);
  const seen: string[] = [];
  const skipping = options(folder.path, "c", { objective: "reward", bad: "skip", steps: 1, validation: 0 });
  await trainFile(skipping, { onNotice: (notice) => seen.push(notice) });
  expect(seen.join()).toMatch(/line 2 has no preference.*skipped/);
  const short = options(folder.path, "d", { objective: "reward", length: 4 });
  await expect(trainFile(short)).rejects.toThrow(/line 1 has \d+ tokens in its prompt and both answers, more than 4/);
  await expect(trainFile(options(folder.path, "e", { objective: "reward,beta=0" }))).rejects.toThrow(/beta must be a number in \(0, 100\]/);
});
