import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Device } from "../ggml/index.ts";
import { familyOf } from "../models/index.ts";
import { type GgufFile, openGguf, quantize, readRows, TrainingWeights, toFloat } from "../weights/index.ts";
import { DistillationSource, distillation } from "./distillation.ts";
import { exportModel } from "./export.ts";
import { type ModelShape, vocabularyOf, writeRandomModel } from "./from-scratch.ts";
import { principalComponents } from "./principal-components.ts";
import { type TrainProgress, train } from "./trainer.ts";
import { readTexts, type Writer, type WritingProgress, writeTexts } from "./write-texts.ts";

export interface DraftModelOptions {
  /** `general.name` of the file. */
  readonly name: string;
  readonly shape: ModelShape;
  /** Texts that the base writes, and most tokens of each. */
  readonly texts: number;
  readonly maxTokens: number;
  /** Candidates of the base that are learned, per token. */
  readonly candidates: number;
  readonly steps: number;
  readonly sequences: number;
  readonly length: number;
  readonly threads: number;
  readonly seed: number;
}

export interface DraftModelHooks {
  readonly onTexts?: (progress: WritingProgress) => void;
  readonly onTrain?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Of smollm2-draft: 5.2 M parameters. */
export const smollm2DraftOptions: Omit<DraftModelOptions, "threads"> = {
  name: "SmolLM2 draft",
  shape: { hiddenSize: 96, blocks: 4, heads: 3, kvHeads: 3, feedForward: 256, contextLength: 2048 },
  ...{ texts: 800, maxTokens: 200, candidates: 8 },
  ...{ steps: 1800, sequences: 4, length: 128, seed: 1 },
};

/**
 * A small model with a larger one's vocabulary that imitates it: the larger one writes texts, and the small one learns its candidates for each
 * token. It begins with the larger one's embeddings along their principal directions, so that the vocabulary needn't be learned anew. What an
 * earlier call left in `folder` is gone on with.
 *
 * @param base  the writer's model file
 * @returns the path of the q8_0 file, in `folder`
 */
export async function buildDraftModel(
  writer: Writer,
  base: GgufFile,
  folder: string,
  options: DraftModelOptions,
  hooks: DraftModelHooks = {},
): Promise<string> {
  const { name, shape, texts, maxTokens, candidates, seed, threads, steps, sequences, length } = options;
  const { onTexts, onTrain, signal } = hooks;
  const written = join(folder, "texts.jsonl");
  await writeTexts(writer, written, {
    ...{ count: texts, maxTokens, seed, top: candidates, chat: base.metadata.getString("tokenizer.chat_template") !== undefined, signal },
    ...(onTexts === undefined ? {} : { onProgress: onTexts }),
  });
  const startPath = join(folder, "start.gguf");
  if (!existsSync(startPath)) {
    const partial = `${startPath}.partial`;
    const initial = (tensor: string) => (tensor === "token_embd.weight" ? smallEmbeddings(base, shape.hiddenSize) : undefined);
    await writeRandomModel(partial, { name, shape, tokenizer: vocabularyOf(base), seed, initial });
    renameSync(partial, startPath);
  }
  const run = join(folder, "run");
  mkdirSync(run, { recursive: true });
  using start = openGguf(startPath);
  using device = Device.create("cpu", threads);
  using weights = TrainingWeights.open(device, start, { isTrained: () => true });
  const model = familyOf("llama").build(start.metadata, weights);
  await weights.load({ signal });
  const source = new DistillationSource(readTexts(written), { sequences, length, seed, validation: 0.02 });
  const trainee = { model, parameters: weights.parameters, weightBytes: weights.sizeBytes, objective: distillation(candidates) };
  const result = await train(
    device,
    { ...trainee, identity: { start: start.fingerprint() } },
    source,
    run,
    { steps, sequences, length, learningRate: 2e-3, seed, validationWindows: 32 },
    { signal, ...(onTrain === undefined ? {} : { onProgress: onTrain }) },
  );
  if (!result.isFinished) signal?.throwIfAborted();
  const whole = join(folder, "draft.f32.gguf");
  const small = join(folder, "draft.gguf");
  await exportModel(whole, start, weights.parameters);
  rmSync(small, { force: true });
  await quantize(whole, small, { type: "q8_0", signal });
  return small;
}

/** The base's embeddings in fewer columns, [V, hiddenSize]; undefined where it has no more. */
function smallEmbeddings(base: GgufFile, hiddenSize: number): Float32Array | undefined {
  const { shape } = base.tensor("token_embd.weight");
  const [rows, columns] = shape as [number, number];
  if (columns <= hiddenSize) return undefined;
  const values = readRows(base, "token_embd.weight", [0, rows], toFloat);
  return principalComponents(values, columns, hiddenSize, {
    sample: Math.max(1, Math.floor(rows / 8192)),
    deviation: 0.02,
  });
}
