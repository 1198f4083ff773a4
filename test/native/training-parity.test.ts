import { readFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { type Batch, type Metrics, train } from "../../src/training/index.ts";
import { openGguf, TrainingWeights } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { formulaShape, writeFormulaModel } from "../support/formula-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

// fixtures/training-losses.py has the model, the data and the versions
const reference = JSON.parse(readFileSync(new URL("fixtures/training-losses.fixture.json", import.meta.url), "utf8")) as {
  losses: number[];
  norms: number[];
};
const { vocabSize: V } = formulaShape;
const [T, B] = [24, 2];

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
  await writeFormulaModel(path, { rotary: "pairs" });
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
