import { afterAll, describe, expect, test } from "vitest";
import { noDeltas } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { crossEntropy, project, targetIndices } from "../../src/nn/index.ts";
import { add, affine, grad, input, linear, Program, type Tensor } from "../../src/tensor/index.ts";
import { interpret } from "../../src/tensor/testing/reference.ts";
import type { TokenId } from "../../src/token.ts";
import { forward, setRows } from "../../src/training/index.ts";
import { openGguf, readRows, TrainingWeights, toFloat } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { expectSlope } from "../support/slopes.ts";
import { random, type TinyOptions, writeTinyModel } from "../support/tiny-model.ts";

const device = Device.create("cpu", 1);
afterAll(() => {
  device[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

const architectures = ["llama", "qwen2", "qwen3", "gemma3", "gpt2"] as const;

/** Opens a tiny checkpoint for training and hands its parts to `use`. */
async function withModel(
  options: TinyOptions,
  isTrained: (name: string) => boolean,
  use: (parts: { path: string; model: ReturnType<ReturnType<typeof familyOf>["build"]>; weights: TrainingWeights }) => void | Promise<void>,
): Promise<void> {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyModel(path, options);
  using file = openGguf(path);
  using weights = TrainingWeights.open(device, file, { isTrained });
  const model = familyOf(options.architecture!).build(file.metadata, weights);
  await weights.load();
  await use({ path, model, weights });
}

describe.each(architectures)("%s", (architecture) => {
  test.each(["f32", "q8_0"] as const)("has the engine's logits for two packed documents of %s", async (type) => {
    await withModel(
      { architecture, type, hiddenSize: 64, vocabSize: 96, blocks: 2, seed: 3 },
      () => false,
      async ({ path, model }) => {
        const shape = { sequences: 2, length: 60 };
        const ids = Int32Array.from({ length: 120 }, (_, i) => (i * 37 + 5) % 96);
        // the first sequence is packed from documents of 25 and 35 tokens, the second is one of 60: longer than gemma's window of 48
        const documents = Int32Array.from(ids, (_, i) => (i < 25 ? 0 : i < 60 ? 1 : 2));
        using program = Program.compile(device, { logits: model.head(forward(model, shape).hidden) });
        setRows(program, model.config, shape, { ids, documents });
        program.runSync();
        const logits = program.read("logits");
        await using opened = await openEngine(path, { cacheType: "f32" });
        let largest = 0;
        for (const [from, to] of [
          [0, 25],
          [25, 60],
          [60, 120],
        ] as const) {
          using sequence = opened.engine.sequence();
          const { rows } = await sequence.forward({
            input: [...ids.slice(from, to)] as TokenId[],
            want: { logits: "all", fullLogits: true },
          });
          for (const { row, logits: expected } of rows)
            for (const [id, logit] of expected!.entries()) largest = Math.max(largest, Math.abs(logit - logits[(from + row) * 96 + id]!));
        }
        // f32 rounding in another order; q8_0 rounds activations to 8 bits, where a last bit may flip a step; gelu's table is f16
        expect(largest).toBeLessThan(type === "f32" ? (architecture === "gemma3" || architecture === "gpt2" ? 2e-2 : 2e-4) : 0.1);
      },
    );
  });

  test.each([false, true])(
    "gradients by weights and embeddings are the slopes of the loss in float64 (recompute: %s)",
    async (recompute) => {
      const options = { architecture, hiddenSize: 16, vocabSize: 24, blocks: 2, contextLength: 32, seed: 5 };
      await withModel(
        options,
        (name) => name !== "rope_freqs.weight",
        async ({ path, model, weights }) => {
          const shape = { sequences: 1, length: 5 };
          const next = random(11);
          const table = weights.table("token_embd.weight", [24, 16]);
          const rowIds = input("ids", "i32", [5]);
          const shift = input("shift", "f32", [5, 16]);
          const { hidden } = forward(model, { ...shape, embeddings: add(model.embed(rowIds), shift), recompute });
          const loss = crossEntropy(model.head(hidden), input("targets", "i32", [5]), input("weights", "f32", [5]));
          expect(table).toBe(weights.parameters.tensor("token_embd.weight"));
          const names = weights.parameters.names;
          const gradients = grad(loss, [...names.map((name) => weights.parameters.tensor(name)), shift]);
          const outputs: Record<string, Tensor> = { loss };
          for (const [i, name] of [...names, "shift"].entries()) outputs[name] = gradients[i]!;
          using program = Program.compile(device, outputs);
          const shifts = Float64Array.from({ length: 80 }, () => Math.fround(next() - 0.5));
          const inputs: Record<string, ArrayLike<number>> = {
            ids: [3, 7, 1, 7, 20],
            shift: shifts,
            targets: targetIndices([7, 1, 7, 20, 2], 24),
            weights: Float32Array.from([0.3, 0.1, 0.4, 0, 0.2]),
            positions: [0, 1, 0, 1, 2],
            mask: [],
          };
          const documents = [0, 0, 1, 1, 1];
          setRows(program, model.config, shape, { documents, ids: inputs.ids! });
          for (const name of ["targets", "shift", "weights"] as const) program.input(name).set(inputs[name]!);
          const hide = Number.NEGATIVE_INFINITY;
          const mask = Array.from({ length: 25 }, (_, i) =>
            i % 5 <= Math.floor(i / 5) && documents[i % 5] === documents[Math.floor(i / 5)] ? 0 : hide,
          );
          for (const name of program.inputNames) if (name.startsWith("mask")) inputs[name] = mask;
          program.runSync();

          using file = openGguf(path);
          const leaves = Object.fromEntries(
            [...file.tensors.values()].map(({ name }) => [name, Float64Array.from(readRows(file, name, undefined, toFloat))]),
          );
          const lossAt = () => interpret({ loss }, { inputs, leaves }).loss.data[0]!;
          const isGelu = architecture === "gemma3" || architecture === "gpt2"; // a table of f16 numbers
          expect(program.read("loss")[0]).toBeCloseTo(lossAt(), isGelu ? 2 : 4);
          for (const name of [...names, "shift"])
            expectSlope({ name, gradient: program.read(name), values: name === "shift" ? shifts : leaves[name]!, lossAt, isGelu });
        },
      );
    },
  );
});

test("a layer's hook adds a delta to the layers it names, on a frozen quantized model", async () => {
  const options = { architecture: "llama" as const, type: "q8_0" as const, hiddenSize: 64, vocabSize: 96, blocks: 2, seed: 4 };
  await withModel(
    options,
    () => false,
    ({ path, model }) => {
      const shape = { sequences: 1, length: 12 };
      const seen: string[] = [];
      const down = input("down", "f32", [4, 64]);
      const { hidden } = forward(model, {
        ...shape,
        deltas: {
          ...noDeltas,
          linear: (x, layer) => {
            seen.push(layer.name);
            return layer.name === "blk.0.attn_q"
              ? add(project(x, layer), linear(linear(x, down), input("up", "f32", [64, 4])))
              : project(x, layer);
          },
        },
      });
      expect(seen).toContain("blk.1.ffn_down");
      expect(seen).toHaveLength(14);
      const loss = crossEntropy(model.head(hidden), input("targets", "i32", [12]), input("weights", "f32", [12]));
      const [gradient] = grad(loss, [down]);
      using program = Program.compile(device, { loss, gradient: gradient! });
      const next = random(2);
      const values = Float32Array.from({ length: 256 }, () => next() - 0.5);
      const up = Float32Array.from({ length: 256 }, () => 0.2 * (next() - 0.5));
      const ids = Array.from({ length: 12 }, (_, i) => (i * 5) % 96);
      const targets = targetIndices(
        Array.from({ length: 12 }, (_, i) => (i * 7) % 96),
        96,
      );
      const weights = new Float32Array(12).fill(1 / 12);
      setRows(program, model.config, shape, { ids });
      program.input("down").set(values);
      program.input("up").set(up);
      program.input<"i32">("targets").set(targets);
      program.input("weights").set(weights);
      program.runSync();
      const slopes = program.read("gradient");
      // in float64 with the numbers that the blocks of the file stand for, the loss along the gradient rises by its squared length
      using file = openGguf(path);
      const leaves = Object.fromEntries([...file.tensors.values()].map(({ name }) => [name, readRows(file, name, undefined, toFloat)]));
      const mask = Array.from({ length: 144 }, (_, i) => (i % 12 <= Math.floor(i / 12) ? 0 : Number.NEGATIVE_INFINITY));
      const given = { ids, up, targets, weights, mask, positions: ids.map((_, i) => i) };
      const lossAt = (step: number) =>
        interpret({ loss }, { inputs: { ...given, down: values.map((v, i) => v + step * slopes[i]!) }, leaves }).loss.data[0]!;
      const squared = slopes.reduce((sum, g) => sum + g * g, 0);
      const step = 0.01 / Math.sqrt(squared);
      // the engine's 8-bit activations are the difference
      expect(Math.abs((lossAt(step) - lossAt(-step)) / (2 * step) / squared - 1)).toBeLessThan(0.05);
    },
  );
});

test("rows that do not fit are refused by name", async () => {
  await withModel(
    { architecture: "llama", hiddenSize: 16, vocabSize: 24, blocks: 1, contextLength: 8 },
    () => false,
    ({ model }) => {
      expect(() => forward(model, { sequences: 0, length: 4 })).toThrow("sequences: must be a whole number >= 1, got 0");
      const shape = { sequences: 1, length: 4 };
      using program = Program.compile(device, { y: affine(forward(model, shape).hidden, 1) });
      expect(() => setRows(program, model.config, shape, { ids: [1, 2, 3] })).toThrow("ids: expected one entry for each of 4 rows, got 3");
      expect(() => setRows(program, model.config, shape, {})).toThrow("ids: this graph reads token ids");
      expect(() => setRows(program, model.config, shape, { ids: [1, 2, 3, 24] })).toThrow("token id 24 in row 3 is outside [0, 24)");
      expect(() => setRows(program, model.config, shape, { ids: [1, 2, 3, 4], positions: [0, 1, 2, 8] })).toThrow("position 8 in row 3");
    },
  );
});
