import { afterAll, describe, expect, test } from "vitest";
import { adapterDeltas } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { crossEntropy, targetIndices } from "../../src/nn/index.ts";
import { grad, input, Program, type Tensor } from "../../src/tensor/index.ts";
import { interpret } from "../../src/tensor/testing/reference.ts";
import { forward, setRows } from "../../src/training/index.ts";
import { openGguf, readRows, TrainingWeights, toFloat } from "../../src/weights/index.ts";
import { randomAdapter } from "../support/adapters.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

const device = Device.create("cpu", 1);
afterAll(() => {
  device[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

const forms = [
  { form: "lora", rank: 3, alpha: 5, targets: ["all"] },
  { form: "series", rank: 5, scaling: 0.7, targets: ["attn", "ffn"], activation: "tanh" },
  { form: "parallel", rank: 5, scaling: 0.7, targets: ["attn", "ffn"], activation: "silu" },
] as const;

describe.each(["llama", "qwen2", "qwen3", "gemma3", "gpt2"] as const)("%s", (architecture) => {
  test.each([...forms.map((options) => ({ options, type: "f32" as const })), { options: forms[0], type: "q8_0" as const }])(
    "gradients by the matrices of a $options.form adapter over $type weights are the slopes of the loss in float64",
    async ({ options, type }) => {
      using folder = temporaryFolder();
      const path = `${folder.path}/tiny.gguf`;
      await writeTinyModel(path, {
        architecture,
        type,
        hiddenSize: type === "f32" ? 16 : 32,
        vocabSize: 24,
        blocks: 2,
        contextLength: 32,
        seed: 5,
      });
      const adapter = randomAdapter(path, options, 7);
      using file = openGguf(path);
      using weights = TrainingWeights.open(device, file);
      const model = familyOf(architecture).build(file.metadata, weights);
      await weights.load();
      const values = new Map<string, Float64Array>();
      const matrices = new Map<string, Tensor>();
      for (const { target, rank, inputs, outputs, down, up } of adapter.parts)
        for (const [name, shape, numbers] of [
          [`${target}.down`, [rank, inputs], down],
          [`${target}.up`, [outputs, rank], up],
        ] as const) {
          values.set(name, Float64Array.from(numbers));
          matrices.set(name, input(name, "f32", shape));
        }
      const shape = { sequences: 1, length: 5 };
      const { hidden } = forward(model, { ...shape, deltas: adapterDeltas(adapter, (name) => matrices.get(name)!) });
      const loss = crossEntropy(model.head(hidden), input("targets", "i32", [5]), input("weights", "f32", [5]));
      const names = [...matrices.keys()];
      const gradients = grad(loss, [...matrices.values()]);
      using program = Program.compile(device, { loss, ...Object.fromEntries(names.map((name, i) => [name, gradients[i]!])) });
      const ids = [3, 7, 1, 7, 20];
      const given = { ids, positions: [0, 1, 2, 3, 4], targets: targetIndices([7, 1, 7, 20, 2], 24), weights: [0.3, 0.1, 0.4, 0, 0.2] };
      setRows(program, model.config, shape, { ids });
      program.input<"i32">("targets").set(given.targets);
      program.input("weights").set(given.weights);
      for (const [name, numbers] of values) program.input(name).set(numbers);
      program.runSync();

      const mask = Array.from({ length: 25 }, (_, i) => (i % 5 <= Math.floor(i / 5) ? 0 : Number.NEGATIVE_INFINITY));
      const masks = Object.fromEntries(program.inputNames.filter((name) => name.startsWith("mask")).map((name) => [name, mask]));
      const leaves = Object.fromEntries([...file.tensors.values()].map(({ name }) => [name, readRows(file, name, undefined, toFloat)]));
      const lossAt = () => interpret({ loss }, { inputs: { ...given, ...masks, ...Object.fromEntries(values) }, leaves }).loss.data[0]!;
      const isGelu = architecture === "gemma3" || architecture === "gpt2"; // a table of f16 numbers
      // products with quantized weights round what goes in to 8 bits too; the gradient by it goes through the exact copy
      const tolerance = type === "q8_0" ? 0.15 : isGelu ? 2e-2 : 2e-3;
      const step = 1e-4;
      for (const name of names) {
        const gradient = program.read(name);
        // the steepest of each matrix, which any error of its chain shows in
        const at = gradient.reduce((best, value, i) => (Math.abs(value) > Math.abs(gradient[best]!) ? i : best), 0);
        const numbers = values.get(name)!;
        const before = numbers[at]!;
        numbers[at] = before + step;
        const above = lossAt();
        numbers[at] = before - step;
        const slope = (above - lossAt()) / (2 * step);
        numbers[at] = before;
        expect(Math.abs(gradient[at]! - slope), `${name}[${at}]`).toBeLessThan(tolerance * Math.abs(slope) + 1e-5);
      }
    },
  );
});
