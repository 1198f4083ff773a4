import { readFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { type Batch, type Metrics, train } from "../../src/training/index.ts";
import { type MetadataValue, openGguf, type TensorToWrite, TrainingWeights, writeGguf } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

// fixtures/training-losses.py has the model, the data and the versions
const reference = JSON.parse(readFileSync(new URL("fixtures/training-losses.fixture.json", import.meta.url), "utf8")) as {
  losses: number[];
  norms: number[];
};
const [V, C, L, H, K, FF, T, B] = [64, 32, 2, 4, 2, 48, 24, 2];

async function writeModel(path: string): Promise<void> {
  const tensors: TensorToWrite[] = [];
  const add = (name: string, rows: number, columns?: number): void => {
    const index = tensors.length;
    const count = rows * (columns ?? 1);
    const values = Float32Array.from({ length: count }, (_, i) =>
      columns === undefined
        ? 1 + 0.1 * Math.sin(0.7 * i + index)
        : (Math.sin((1.3 * i * i) / count + 0.37 * i + index) * 1.2) / Math.sqrt(columns),
    );
    tensors.push({
      name,
      type: "f32",
      shape: columns === undefined ? [rows] : [rows, columns],
      data: () => [new Uint8Array(values.buffer)],
    });
  };
  add("token_embd.weight", V, C);
  add("output_norm.weight", C);
  for (let block = 0; block < L; block += 1) {
    const at = `blk.${block}`;
    add(`${at}.attn_norm.weight`, C);
    add(`${at}.attn_q.weight`, C, C);
    add(`${at}.attn_k.weight`, (K * C) / H, C);
    add(`${at}.attn_v.weight`, (K * C) / H, C);
    add(`${at}.attn_output.weight`, C, C);
    add(`${at}.ffn_norm.weight`, C);
    add(`${at}.ffn_gate.weight`, FF, C);
    add(`${at}.ffn_up.weight`, FF, C);
    add(`${at}.ffn_down.weight`, C, FF);
  }
  const u32 = (value: number): MetadataValue => ({ type: "uint32", value });
  const metadata: [string, MetadataValue][] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["llama.vocab_size", u32(V)],
    ["llama.context_length", u32(64)],
    ["llama.embedding_length", u32(C)],
    ["llama.block_count", u32(L)],
    ["llama.feed_forward_length", u32(FF)],
    ["llama.attention.head_count", u32(H)],
    ["llama.attention.head_count_kv", u32(K)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "float32", value: 1e-5 }],
    ["llama.rope.dimension_count", u32(C / H)],
    ["llama.rope.freq_base", { type: "float32", value: 10_000 }],
  ];
  await writeGguf(path, { metadata, tensors });
}

function batch(step: number): Batch {
  const cell = (row: number) => ({ s: Math.floor(row / T), t: row % T });
  const ids = Int32Array.from({ length: B * T }, (_, row) => {
    const { s, t } = cell(row);
    return (7 * t * t + 3 * s + 11 * step + 5 * t * s) % V;
  });
  const documents = Int32Array.from(ids, (_, row) => (cell(row).s === 1 ? 2 : cell(row).t < 10 ? 0 : 1));
  const isTarget = Uint8Array.from(ids, (_, row) => (cell(row).t < T - 1 && documents[row] === documents[row + 1] ? 1 : 0));
  const targets = Int32Array.from(ids, (_, row) => (isTarget[row] ? ids[row + 1]! : 0));
  return { ids, documents, targets, isTarget, targetCount: isTarget.reduce((sum, one) => sum + one, 0), from: [0] };
}

test.each([false, true])("50 steps have PyTorch's losses within 1e-3 (recompute: %s)", async (recompute) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/start.gguf`;
  await writeModel(path);
  using device = Device.create("cpu", 1);
  using file = openGguf(path);
  using weights = TrainingWeights.open(device, file, { isTrained: () => true });
  const model = familyOf("llama").build(file.metadata, weights);
  await weights.load();
  const batches = { identity: "formula", validationDocuments: 0, training: batch, validation: () => [] };
  const seen: Metrics[] = [];
  const trainee = { model, parameters: weights.parameters, weightBytes: weights.sizeBytes };
  await train(
    device,
    trainee,
    batches,
    folder.path,
    { steps: 50, sequences: B, length: T, learningRate: 3e-3, warmupSteps: 5, floor: 0.1, weightDecay: 0.1, clip: 1, recompute },
    { onProgress: (metrics) => seen.push(metrics) },
  );
  expect(seen).toHaveLength(50);
  for (const [step, { loss, gradientNorm }] of seen.entries()) {
    expect(Math.abs(loss - reference.losses[step]!), `loss of step ${step + 1}`).toBeLessThan(1e-3);
    expect(Math.abs(gradientNorm / reference.norms[step]! - 1), `norm of step ${step + 1}`).toBeLessThan(1e-2);
  }
  const worst = Math.max(...seen.map(({ loss }, step) => Math.abs(loss - reference.losses[step]!)));
  if (process.env.CHAINRULE_SHOW_ERRORS) console.log(`largest difference of a loss: ${worst}`);
});
