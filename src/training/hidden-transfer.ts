import { join } from "node:path";
import { FormatError, OptionError, UnsupportedError } from "../errors.ts";
import { Device } from "../ggml/index.ts";
import { familyOf, type ModelConfig, type Pass, type Transformer } from "../models/index.ts";
import { crossEntropy, project } from "../nn/index.ts";
import { add, argmax, concat, explicitAttention, input, linear, narrow, Program, permute, reshape, type Tensor } from "../tensor/index.ts";
import { type GgufFile, openSafetensors, Parameters, TrainingWeights, writeSafetensors } from "../weights/index.ts";
import { type DistillationBatch, DistillationSource } from "./distillation.ts";
import { type Forward, forward, setRows } from "./forward.ts";
import type { Objective } from "./objective.ts";
import { type RunHooks, train } from "./trainer.ts";
import type { WrittenText } from "./write-texts.ts";

// Legend: L rows of the one sequence of a pass, C hidden size, k steps, R = (i + 1)·L rows while i pseudo states of each row exist.

/** Maps that move a state ahead by 1, 2, … tokens: [C, C] each, taken after the block of the same place in `layers`. */
export interface TransferMaps {
  /** Block indices, ascending. */
  readonly layers: readonly number[];
  readonly matrices: readonly Float32Array[];
}

/** Where a model's maps lie: beside its file. */
export const transferMapsPath = (modelPath: string): string => `${modelPath.replace(/\.gguf$/i, "")}.hidden-transfer.safetensors`;

export function writeTransferMaps(path: string, base: string, hiddenSize: number, { layers, matrices }: TransferMaps): void {
  writeSafetensors(path, {
    metadata: { base, layers: layers.join(",") },
    tensors: matrices.map((values, i) => ({
      ...{ name: `map.${i}`, type: "F32" as const, shape: [hiddenSize, hiddenSize] },
      data: values,
    })),
  });
}

/** @param base  fingerprint of the model's file. @throws FormatError for maps of another model, or none */
export function readTransferMaps(path: string, base: string, config: ModelConfig): TransferMaps {
  using file = openSafetensors(path);
  if (file.metadata.get("base") !== base) throw new FormatError(path, "holds maps of another model: train them again");
  const layers = (file.metadata.get("layers") ?? "").split(",").map(Number);
  checkLayers(layers, config.blocks.length);
  const matrices = layers.map((_, i) => {
    const values = new Float32Array(config.hiddenSize ** 2);
    const info = file.tensors.get(`map.${i}`);
    if (info?.type !== "F32" || info.shape.join() !== [config.hiddenSize, config.hiddenSize].join())
      throw new FormatError(path, `has no map.${i} of ${config.hiddenSize} × ${config.hiddenSize} f32 values`);
    file.readInto(`map.${i}`, new Uint8Array(values.buffer));
    if (!values.every(Number.isFinite)) throw new FormatError(path, `map.${i} has values that are not finite`);
    return values;
  });
  return { layers, matrices };
}

/** Whether maps can be trained for a model, to be asked before it writes texts. @throws OptionError, UnsupportedError */
export function checkTransfer({ blocks }: ModelConfig, layers: readonly number[]): void {
  checkLayers(layers, blocks.length);
  if (blocks.some(({ slidingWindow }) => slidingWindow !== undefined))
    throw new UnsupportedError("hidden-transfer: models with sliding windows have no maps");
}

function checkLayers(layers: readonly number[], blocks: number): void {
  const isAscending = layers.every((layer, i) => Number.isInteger(layer) && layer < blocks && layer > (layers[i - 1] ?? -1));
  if (layers.length < 1 || layers.length > 4 || !isAscending)
    throw new OptionError("layers", `must be 1 to 4 ascending block indices below ${blocks}, got ${layers.join(",")}`);
}

export interface TransferTraining {
  /** Block after which the state for each step is taken, ascending. */
  readonly layers: readonly number[];
  readonly steps: number;
  /** Tokens of a pass, and passes per step. */
  readonly length: number;
  readonly accumulate: number;
  readonly learningRate: number;
  readonly candidates: number;
  readonly threads: number;
  readonly seed: number;
}

export interface TransferResult {
  readonly maps: TransferMaps;
  /** Part of the held-out tokens that each step guessed as the model would, before and after training. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** How many held-out tokens that was, for each step. */
  readonly heldOutTokens: readonly number[];
}

/**
 * Learns maps from texts that the model itself wrote: the pseudo state of step i is to end in the distribution that the model had i tokens
 * later. The model stays frozen; maps begin as the identity. With the last block as the only layer this is a head on the final state.
 *
 * @param texts   written by this model, with candidates
 * @param folder  of the run: checkpoints and metrics; an earlier run there is gone on with
 * @see Wu et al. 2024, Parallel decoding via hidden transfer, https://arxiv.org/abs/2404.12022
 */
export async function trainTransferMaps(
  base: GgufFile,
  texts: readonly WrittenText[],
  folder: string,
  options: TransferTraining,
  hooks: RunHooks = {},
): Promise<TransferResult> {
  const { layers, steps, length, accumulate, learningRate, candidates, threads, seed } = options;
  using device = Device.create("cpu", threads);
  using weights = TrainingWeights.open(device, base);
  const model = familyOf(base.metadata.requireString("general.architecture")).build(base.metadata, weights);
  checkTransfer(model.config, layers);
  const { hiddenSize } = model.config;
  using maps = Parameters.create(
    device,
    layers.map((_, i) => ({ name: `map.${i}`, shape: [hiddenSize, hiddenSize] })),
  );
  for (const name of maps.names) for (let i = 0; i < hiddenSize; i += 1) maps.values(name)[i * hiddenSize + i] = 1;
  await weights.load({ signal: hooks.signal });
  const source = new DistillationSource(texts, { sequences: 1, length, seed, validation: 0.1 });
  const objective = transfer(layers, maps, length, candidates);
  const measure = () => accuracy(device, model, objective, source, length, layers.length);

  const { shares: before, counts: heldOutTokens } = await measure();
  const result = await train(
    device,
    { model, parameters: maps, weightBytes: weights.sizeBytes + maps.sizeBytes, objective, identity: { base: base.fingerprint(), layers } },
    source,
    folder,
    {
      ...{ steps, sequences: 1, length, accumulate, learningRate, seed, weightDecay: 0 },
      ...{ validateEvery: Math.ceil(steps / 6), validationWindows: 16 },
    },
    hooks,
  );
  if (!result.isFinished) hooks.signal?.throwIfAborted();
  const matrices = maps.names.map((name) => maps.values(name).slice());
  return { maps: { layers, matrices }, before, after: (await measure()).shares, heldOutTokens };
}

interface TransferObjective extends Objective<DistillationBatch> {
  /** Of each step the state after the final norm: [L, C]. */
  ends(pass: Forward, model: Transformer): Tensor[];
  /** Fills the inputs of `ends`. */
  fillEnds(program: Program, batch: Pick<DistillationBatch, "documents">): void;
}

/** What maps are trained by, over the graph of the frozen model. */
export function transfer(layers: readonly number[], maps: Parameters, length: number, candidates: number): TransferObjective {
  const entries = length * candidates;
  const ends = ({ states }: Forward, model: Transformer): Tensor[] => {
    let x: Tensor | undefined;
    let count = 0;
    let upper: Pass | undefined; // one for all blocks with as many pseudo states: its inputs are named once
    for (let block = layers[0]!; block < model.blocks.length; block += 1) {
      if (x === undefined) x = states[block]!;
      else {
        upper ??= upperPass(model, length, count);
        const { attention, feedForward } = model.blocks[block]!;
        const middle: Tensor = add(attention(x, upper), x);
        x = add(feedForward(middle, upper), middle);
      }
      if (layers[count] !== block) continue;
      x = concat(x, linear(narrow(x, 0, 0, length), maps.tensor(`map.${count}`)), 0); // [R, C] -> [R + L, C]
      count += 1;
      upper = undefined;
    }
    return layers.map((_, i) => model.norm(narrow(x!, 0, (i + 1) * length, length)));
  };
  return {
    name: "hidden transfer",
    ends,
    fillEnds: (program, batch) => fillUpper(program, batch, length, layers.length),
    loss(pass, model) {
      return ends(pass, model)
        .map((end, i) => crossEntropy(model.head(end), input(`targets.${i}`, "i32", [entries]), input(`weights.${i}`, "f32", [entries])))
        .reduce((a, b) => add(a, b));
    },
    fill(program, batch, targets, { config }) {
      this.fillEnds(program, batch);
      for (const [i] of layers.entries()) {
        const places = program.input<"i32">(`targets.${i}`).fill(0);
        const weights = program.input(`weights.${i}`).fill(0);
        for (let row = 0; row < length; row += 1) {
          const pairs = aheadOf(batch, row, i + 1, length)?.slice(0, candidates);
          if (pairs === undefined) continue;
          const mass = pairs.reduce((sum, [, logprob]) => sum + Math.exp(logprob), 0);
          for (const [c, [id, logprob]] of pairs.entries()) {
            places[row * candidates + c] = row * config.vocabSize + id;
            weights[row * candidates + c] = Math.exp(logprob) / mass / targets / layers.length;
          }
        }
      }
    },
  };
}

/** What the model believed of the token that follows `step` tokens after the row's next one, if the window has it. */
function aheadOf({ candidates, documents }: DistillationBatch, row: number, step: number, length: number) {
  const at = row + step;
  return at < length && documents[at] === documents[row] ? candidates[at] : undefined;
}

/** The mathematics of blocks over the real rows and `count` pseudo states of each: pseudo states see the real rows up to theirs, and its own. */
function upperPass(model: Transformer, length: number, count: number): Pass {
  const rows = (count + 1) * length;
  const mask = input(`transfer.mask.${count}`, "f16", [1, 1, rows, rows]);
  return {
    positions: input(`transfer.positions.${count}`, "i32", [rows]),
    linear: project,
    attend(block, q, k, v, { scale, softcap = 0 }) {
      const { numHeads, numKvHeads, headDim } = model.config.blocks[block]!;
      const heads = (x: Tensor, n: number) => permute(reshape(x, [1, rows, n, headDim]), [0, 2, 1, 3]); // [1, heads, R, D]
      const { out } = explicitAttention(heads(q, numHeads), heads(k, numKvHeads), heads(v, numKvHeads), mask, scale, softcap);
      return reshape(out, [rows, numHeads * headDim]);
    },
  };
}

const hiddenBits = 0xfc00; // -Infinity in f16

function fillUpper(program: Program, { documents }: Pick<DistillationBatch, "documents">, length: number, steps: number): void {
  const positions = new Int32Array(length);
  for (let row = 1; row < length; row += 1) positions[row] = documents[row] === documents[row - 1] ? positions[row - 1]! + 1 : 0;
  for (let count = 1; count <= steps; count += 1) {
    if (program.hasInput(`transfer.positions.${count}`)) {
      const all = program.input<"i32">(`transfer.positions.${count}`);
      for (let i = 0; i <= count; i += 1) for (let row = 0; row < length; row += 1) all[i * length + row] = positions[row]! + i;
    }
    if (!program.hasInput(`transfer.mask.${count}`)) continue;
    const width = (count + 1) * length;
    const mask = program.input<"f16">(`transfer.mask.${count}`).fill(hiddenBits);
    for (let i = 0; i <= count; i += 1)
      for (let row = 0; row < length; row += 1) {
        const at = (i * length + row) * width;
        for (let other = 0; other <= row; other += 1) if (documents[other] === documents[row]) mask[at + other] = 0;
        for (let j = 1; j <= i; j += 1) mask[at + j * length + row] = 0;
      }
  }
}

/** Part of the held-out rows in which each step's likeliest token is the one the model would have taken. */
async function accuracy(
  device: Device,
  model: Transformer,
  objective: TransferObjective,
  source: DistillationSource,
  length: number,
  steps: number,
): Promise<{ readonly shares: number[]; readonly counts: number[] }> {
  const ends = objective.ends(forward(model, { sequences: 1, length }), model);
  using program = Program.compile(device, Object.fromEntries(ends.map((end, i) => [`guess.${i}`, argmax(model.head(end))])));
  const right = new Array<number>(steps).fill(0);
  const counts = new Array<number>(steps).fill(0);
  for (const batch of source.validation(64)) {
    setRows(program, model.config, { sequences: 1, length }, { ids: batch.ids, documents: batch.documents });
    objective.fillEnds(program, batch);
    await program.run();
    for (let i = 0; i < steps; i += 1) {
      const guesses = program.peek(`guess.${i}`);
      for (let row = 0; row < length; row += 1) {
        const best = aheadOf(batch, row, i + 1, length)?.[0]?.[0];
        if (best === undefined) continue;
        counts[i]! += 1;
        if (guesses[row] === best) right[i]! += 1;
      }
    }
  }
  return { shares: right.map((count, i) => count / Math.max(1, counts[i]!)), counts };
}

/** Where a run's work lies, under a home folder. */
export const transferFolder = (home: string, base: string): string => join(home, "hidden-transfer", base.slice(0, 16));
