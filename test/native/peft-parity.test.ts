import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adapterDeltas, adapterSize, readAdapter, writePeft } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import type { TokenId } from "../../src/token.ts";
import { AdapterTrainee, type Batch, type Metrics, parseAdapter, train } from "../../src/training/index.ts";
import { openGguf, openSafetensors, TrainingWeights } from "../../src/weights/index.ts";
import { baseOf } from "../support/adapters.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { formula, formulaShape, writeFormulaModel } from "../support/formula-model.ts";

// fixtures/peft-lora.py has the model, the data and the versions
const reference = JSON.parse(readFileSync(new URL("fixtures/peft-lora.fixture.json", import.meta.url), "utf8")) as {
  config: Record<string, unknown>;
  safetensors: string;
  gguf: string;
  tokens: TokenId[];
  logits: number[];
  base: number[];
  losses: number[];
  norms: number[];
};
const { vocabSize: V } = formulaShape;
const [T, B] = [24, 2];

const folder = temporaryFolder();
const at = (name: string) => join(folder.path, name);
beforeAll(async () => {
  await writeFormulaModel(at("base.gguf"), { rotary: "halves" });
  mkdirSync(at("peft"));
  writeFileSync(at("peft/adapter_config.json"), JSON.stringify(reference.config));
  writeFileSync(at("peft/adapter_model.safetensors"), Buffer.from(reference.safetensors, "base64"));
  writeFileSync(at("lora.gguf"), Buffer.from(reference.gguf, "base64"));
});
afterAll(() => {
  folder[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

describe("a LoRA that PEFT trained and saved", () => {
  test.each(["peft", "peft/adapter_model.safetensors", "lora.gguf"])("from %s it gives PEFT's logits", async (name) => {
    using file = openGguf(at("base.gguf"));
    const adapter = readAdapter(at(name), baseOf(file));
    expect(adapter.parts).toHaveLength(14);
    await using opened = await openEngine(at("base.gguf"), { cacheType: "f32", repack: false });
    await opened.engine.addAdapter("peft", adapter);
    for (const [scale, expected] of [
      [0, reference.base],
      [1, reference.logits],
    ] as const) {
      using sequence = opened.engine.sequence({ adapters: [{ name: "peft", scale }] });
      const { rows } = await sequence.forward({ input: reference.tokens, want: { logits: "all", fullLogits: true } });
      const worst = Math.max(
        ...rows.flatMap(({ logits }, row) => [...logits!].map((value, id) => Math.abs(value - expected[row * V + id]!))),
      );
      if (process.env.CHAINRULE_SHOW_ERRORS) console.log(`${name}, scale ${scale}: ${worst}`);
      expect(worst).toBeLessThan(2e-5); // float32 in other orders of adding
    }
  });

  test("written by us it is PEFT's file again, tensor by tensor", () => {
    using file = openGguf(at("base.gguf"));
    const base = baseOf(file);
    mkdirSync(at("ours"));
    writePeft(at("ours"), base, readAdapter(at("lora.gguf"), base));
    const [theirs, ours] = ["peft", "ours"].map((name) => {
      using opened = openSafetensors(at(`${name}/adapter_model.safetensors`));
      const names = [...opened.tensors.keys()].sort();
      return names.map((tensor) => {
        const { type, shape, sizeBytes } = opened.tensor(tensor);
        const bytes = new Uint8Array(sizeBytes);
        opened.readInto(tensor, bytes);
        return { tensor, type, shape, bytes };
      });
    });
    expect(ours).toEqual(theirs);
    const config = JSON.parse(readFileSync(at("ours/adapter_config.json"), "utf8")) as Record<string, unknown>;
    for (const key of ["peft_type", "task_type", "r", "lora_alpha", "bias", "use_rslora", "use_dora", "fan_in_fan_out"])
      expect(config[key]).toEqual(reference.config[key]);
    expect(config.target_modules).toEqual([...(reference.config.target_modules as string[])].sort());
  });
});

test("50 steps have PEFT's losses within 1e-3, and end in PEFT's adapter", async () => {
  using device = Device.create("cpu", 1);
  using file = openGguf(at("base.gguf"));
  using weights = TrainingWeights.open(device, file);
  const model = familyOf("llama").build(file.metadata, weights);
  await weights.load();
  using adapter = AdapterTrainee.create(device, baseOf(file), parseAdapter("lora,rank=3,alpha=6,targets=all"), 0);
  expect(adapter.parameters.count).toBe(adapterSize(adapter.plan));
  const layers = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
  for (const name of adapter.parameters.names.filter((one) => one.endsWith(".down"))) {
    const [, block, layer] = name.split(".");
    const [rows, columns] = adapter.parameters.tensor(name).shape as [number, number];
    adapter.parameters.values(name).set(formula(100 + Number(block) * layers.length + layers.indexOf(layer!), rows, columns));
  }
  const training = (step: number): Batch => {
    const ids = Int32Array.from({ length: B * T }, (_, row) => {
      const [s, t] = [Math.floor(row / T), row % T];
      return (7 * t * t + 3 * s + 11 * step + 5 * t * s) % V;
    });
    const isTarget = Uint8Array.from(ids, (_, row) => (row % T < T - 1 ? 1 : 0));
    const targets = Int32Array.from(ids, (_, row) => (isTarget[row] ? ids[row + 1]! : 0));
    const documents = Int32Array.from(ids, (_, row) => Math.floor(row / T));
    return { ids, documents, targets, isTarget, targetCount: B * (T - 1), from: [0] };
  };
  const seen: Metrics[] = [];
  const { parameters } = adapter;
  const deltas = () => adapterDeltas(adapter.plan, (name) => parameters.tensor(name));
  mkdirSync(at("run"));
  await train(
    device,
    { model, parameters, deltas, weightBytes: 0 },
    { identity: "formula", validationDocuments: 0, training, validation: () => [] },
    at("run"),
    { steps: 50, sequences: B, length: T, learningRate: 1e-2, warmupSteps: 5, floor: 0.1, weightDecay: 0, clip: 1 },
    { onProgress: (metrics) => seen.push(metrics) },
  );
  expect(seen).toHaveLength(50);
  for (const [step, { loss, gradientNorm }] of seen.entries()) {
    expect(Math.abs(loss - reference.losses[step]!), `loss of step ${step + 1}`).toBeLessThan(1e-3);
    expect(Math.abs(gradientNorm / reference.norms[step]! - 1), `norm of step ${step + 1}`).toBeLessThan(1e-2);
  }
  const trained = new Map(adapter.adapter().parts.map((part) => [part.target, part]));
  let worst = 0;
  for (const { target, down, up } of readAdapter(at("peft"), baseOf(file)).parts) {
    for (const [i, value] of down.entries()) worst = Math.max(worst, Math.abs(value - trained.get(target)!.down[i]!));
    for (const [i, value] of up.entries()) worst = Math.max(worst, Math.abs(value - trained.get(target)!.up[i]!));
  }
  const loss = Math.max(...seen.map((metrics, step) => Math.abs(metrics.loss - reference.losses[step]!)));
  if (process.env.CHAINRULE_SHOW_ERRORS) console.log(`largest difference of a loss: ${loss}, of a weight: ${worst}`);
  expect(worst).toBeLessThan(1e-4); // values of about 0.3, moved by up to 0.3
});
