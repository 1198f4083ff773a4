// Training speed: a llama-shaped model of 5 M parameters against ggml's matrix product on its very shapes (and PyTorch, where Python has it), and a
// LoRA (rank 8, q and v) on SmolLM2 at 256 tokens with its peak memory.
// npm run bench:training -- [--steps 12] [--threads 2] [--model smollm2] [--python python3] [--only scratch|lora]
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, homedir, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { adapterBase } from "../src/adapters/index.ts";
import { Device } from "../src/ggml/index.ts";
import { defaultHome, familyOf, hubFromEnvironment, resolveModel } from "../src/models/index.ts";
import { input, linear, Program } from "../src/tensor/index.ts";
import { AdapterTrainee, type Batch, parseAdapter, type Trainee, train, vocabularyOf, writeRandomModel } from "../src/training/index.ts";
import { openGguf, quantize, TrainingWeights } from "../src/weights/index.ts";
import { summarize } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "12" },
    threads: { type: "string", default: "2" },
    model: { type: "string", default: "smollm2" },
    python: { type: "string", default: "python3" },
    only: { type: "string" },
  },
});
const [steps, threads] = [Number(options.steps), Number(options.threads)];
const shape = { hiddenSize: 256, blocks: 5, heads: 8, kvHeads: 4, feedForward: 704, contextLength: 256 };
const vocabSize = 4096;
const pass = { sequences: 8, length: 256 };
const folder = mkdtempSync(join(tmpdir(), "chainrule-bench-"));

console.log(`${cpus()[0]?.model}, ${threads} threads, Node ${process.version}, load ${loadavg()[0]?.toFixed(2)}, ${steps} steps`);
const { path } = await resolveModel(options.model, {
  home: defaultHome(process.env, process.platform, homedir()),
  hub: hubFromEnvironment(process.env),
  quantize,
});
try {
  if (options.only !== "scratch") await benchLora();
  if (options.only !== "lora") await benchScratch();
} finally {
  rmSync(folder, { recursive: true });
}

/** A step's seconds, without the first. */
async function secondsPerStep(device: Device, trainee: Trainee, vocabulary: number, sequences: number, name: string): Promise<number[]> {
  const rows = sequences * pass.length;
  const training = (number: number): Batch => {
    const ids = Int32Array.from({ length: rows }, (_, row) => (row * 7919 + number * 104_729) % vocabulary);
    const documents = Int32Array.from(ids, (_, row) => Math.floor(row / pass.length));
    const targets = Int32Array.from(ids, (_, row) => ids[(row + 1) % rows]!);
    return { ids, documents, targets, isTarget: new Uint8Array(rows).fill(1), targetCount: rows, from: [0] };
  };
  const out = join(folder, name);
  mkdirSync(out);
  const seconds: number[] = [];
  let last = 0;
  await train(
    device,
    trainee,
    { identity: "bench", validationDocuments: 0, training, validation: () => [] },
    out,
    { steps: steps + 1, sequences, length: pass.length, learningRate: 1e-4, checkpointEvery: { steps: steps + 2 } },
    {
      onProgress({ step, loss }) {
        if (!Number.isFinite(loss)) throw new Error("the loss is not finite");
        const now = performance.now();
        if (step > 1) seconds.push((now - last) / 1000);
        last = now;
      },
    },
  );
  return seconds;
}

async function benchLora(): Promise<void> {
  using device = Device.create("cpu", threads);
  using file = openGguf(path);
  const family = familyOf(file.metadata.requireString("general.architecture"));
  using adapter = AdapterTrainee.create(device, adapterBase(file, family.modules), parseAdapter("lora,rank=8,targets=q;v"), 0);
  using weights = TrainingWeights.open(device, file);
  const model = family.build(file.metadata, weights);
  await weights.load();
  const { parameters, deltas } = adapter;
  const count = [...file.tensors.values()].reduce((sum, { shape: axes }) => sum + axes.reduce((product, n) => product * n, 1), 0);
  for (const sequences of [1, 2]) {
    const seconds = await secondsPerStep(
      device,
      { model, parameters, deltas, weightBytes: 0 },
      model.config.vocabSize,
      sequences,
      `lora${sequences}`,
    );
    const { median, low, high } = summarize(seconds.map((one) => (sequences * pass.length) / one));
    const peak = process.resourceUsage().maxRSS / 1024 ** 2;
    console.log(
      `LoRA r8 q,v on ${options.model} (${(count / 1e6).toFixed(0)} M parameters), ${sequences} x ${pass.length} tokens: ${median.toFixed(0)} tokens/s (${low.toFixed(0)} to ${high.toFixed(0)}), ${((median * 4 * count) / 1e9).toFixed(1)} G/s as tokens x 4 x parameters, peak memory ${peak.toFixed(2)} GiB`,
    );
  }
}

async function benchScratch(): Promise<void> {
  using device = Device.create("cpu", threads);
  const start = join(folder, "start.gguf");
  {
    using file = openGguf(path);
    const tokens = vocabularyOf(file).filter(([key]) => key !== "tokenizer.ggml.tokens");
    const { StringArray } = await import("../src/weights/index.ts");
    const value = StringArray.from(Array.from({ length: vocabSize }, (_, id) => `t${id}`));
    await writeRandomModel(start, {
      ...{ name: "bench", shape, seed: 1 },
      tokenizer: [...tokens, ["tokenizer.ggml.tokens", { type: "array", of: "string", value }]],
    });
  }
  using file = openGguf(start);
  using weights = TrainingWeights.open(device, file, { isTrained: () => true });
  const model = familyOf("llama").build(file.metadata, weights);
  await weights.load();
  const { parameters } = weights;
  const seconds = await secondsPerStep(device, { model, parameters, weightBytes: 0 }, vocabSize, pass.sequences, "scratch");
  const rows = pass.sequences * pass.length;
  const { median, low, high } = summarize(seconds.map((one) => rows / one));
  const matrices = parameters.names.map((name) => parameters.tensor(name).shape).filter((axes) => axes.length === 2) as [number, number][];
  const perToken = matrices.reduce((sum, [n, c]) => sum + 6 * n * c, 0); // forward, and the gradients by input and weight
  const product = productRate(device, rows, matrices);
  const reached = (median * perToken) / product;
  console.log(
    `${(parameters.count / 1e6).toFixed(2)} M parameters from scratch, ${pass.sequences} x ${pass.length} tokens: ${median.toFixed(0)} tokens/s (${low.toFixed(0)} to ${high.toFixed(0)}); products alone ${(product / 1e9).toFixed(1)} GFLOP/s, training reaches ${(100 * reached).toFixed(0)} % of that`,
  );
  const python = spawnSync(
    options.python,
    [join(process.cwd(), "bench/training_reference.py"), JSON.stringify({ ...shape, vocabSize, ...pass, threads, steps })],
    { encoding: "utf8" },
  );
  if (python.status !== 0)
    console.log(`PyTorch: not measured (${options.python}: ${python.stderr?.trim().split("\n").at(-1) ?? python.error})`);
  else {
    const { torch, tokensPerSecond } = JSON.parse(python.stdout) as { torch: string; tokensPerSecond: number };
    console.log(
      `PyTorch ${torch}, same shapes: ${tokensPerSecond.toFixed(0)} tokens/s; ours is ${(median / tokensPerSecond).toFixed(2)} x`,
    );
  }
}

/** Floating point operations per second of the three products of each matrix: y = x Wᵀ, and what its gradients multiply. */
function productRate(device: Device, rows: number, matrices: readonly (readonly [number, number])[]): number {
  const times = new Map<string, number>();
  let total = 0;
  for (const [n, c] of matrices) {
    for (const [m, out, inner] of [
      [rows, n, c],
      [rows, c, n],
      [n, c, rows],
    ] as const) {
      const key = `${m}x${out}x${inner}`;
      let best = times.get(key);
      if (best === undefined) {
        using program = Program.compile(device, { y: linear(input("x", "f32", [m, inner]), input("w", "f32", [out, inner])) });
        const runs: number[] = [];
        for (let run = 0; run < 6; run += 1) {
          program.input("x").fill(0.5);
          program.input("w").fill(0.25);
          const before = performance.now();
          program.runSync();
          if (run > 0) runs.push((performance.now() - before) / 1000);
        }
        best = summarize(runs).median;
        times.set(key, best);
      }
      total += best;
    }
  }
  return matrices.reduce((sum, [n, c]) => sum + 6 * n * c * rows, 0) / total;
}
