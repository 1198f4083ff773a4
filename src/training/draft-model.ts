import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Device } from "../ggml/index.ts";
import { familyOf, type Transformer } from "../models/index.ts";
import { argmax, Program } from "../tensor/index.ts";
import { type GgufFile, openGguf, quantize, readRows, TrainingWeights, toFloat } from "../weights/index.ts";
import { DistillationSource, distillation } from "./distillation.ts";
import { exportModel } from "./export.ts";
import { forward, setRows } from "./forward.ts";
import { type ModelShape, vocabularyOf, writeRandomModel } from "./from-scratch.ts";
import { nextToken } from "./objective.ts";
import { principalComponents } from "./principal-components.ts";
import { type RunHooks, type TrainProgress, train } from "./trainer.ts";
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

/** What a draft model learned, measured on texts of its base that were held out. */
export interface DraftModelFacts {
  readonly parameters: number;
  readonly texts: number;
  readonly steps: number;
  /** Tokens learned, each as often as it was. */
  readonly tokens: number;
  readonly heldOutTexts: number;
  readonly heldOutTokens: number;
  /** Per token that the base wrote; undefined where none are held out. */
  readonly perplexity: number | undefined;
  /** Part of these tokens for which it finds the same one most probable as its base. */
  readonly agreement: number | undefined;
}

export interface DraftModel {
  /** The q8_0 file. */
  readonly path: string;
  readonly facts: DraftModelFacts;
  /** `training.json`, which has the facts, and the run's `metrics.jsonl`. */
  readonly beside: readonly string[];
}

export interface DraftModelHooks extends Pick<RunHooks, "onStart" | "onNotice" | "signal"> {
  readonly onTexts?: (progress: WritingProgress) => void;
  readonly onTrain?: (progress: TrainProgress) => void;
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
 * @returns files in `folder`
 */
export async function buildDraftModel(
  writer: Writer,
  base: GgufFile,
  folder: string,
  options: DraftModelOptions,
  hooks: DraftModelHooks = {},
): Promise<DraftModel> {
  const { name, shape, texts, maxTokens, candidates, seed, threads, steps, sequences, length } = options;
  const { onTexts, onTrain, ...others } = hooks;
  const { signal } = others;
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
    { ...others, ...(onTrain && { onProgress: onTrain }) },
  );
  if (!result.isFinished) signal?.throwIfAborted();
  const facts = {
    parameters: weights.parameters.count,
    ...{ texts, steps: result.step, tokens: result.tokens, heldOutTexts: source.validationDocuments },
    ...(await heldOut(device, model, source, { sequences, length })),
  };
  const beside = ["training.json", "metrics.jsonl"].map((file) => join(folder, file));
  writeFileSync(beside[0]!, `${JSON.stringify(facts, undefined, 2)}\n`);
  copyFileSync(join(run, "metrics.jsonl"), beside[1]!);
  const whole = join(folder, "draft.f32.gguf");
  const small = join(folder, "draft.gguf");
  await exportModel(whole, start, weights.parameters);
  rmSync(small, { force: true });
  await quantize(whole, small, { type: "q8_0", signal });
  return { path: small, facts, beside };
}

async function heldOut(
  device: Device,
  model: Transformer,
  source: DistillationSource,
  shape: { readonly sequences: number; readonly length: number },
): Promise<Pick<DraftModelFacts, "heldOutTokens" | "perplexity" | "agreement">> {
  const pass = forward(model, shape);
  using program = Program.compile(device, { loss: nextToken.loss(pass, model), guess: argmax(model.head(pass.hidden)) });
  let [nats, count, right] = [0, 0, 0];
  for (const batch of source.validation(Number.POSITIVE_INFINITY)) {
    if (batch.targetCount === 0) continue;
    setRows(program, model.config, shape, { ids: batch.ids, documents: batch.documents });
    nextToken.fill(program, batch, batch.targetCount, model);
    await program.run();
    nats += program.peek("loss")[0]! * batch.targetCount;
    count += batch.targetCount;
    const guesses = program.peek("guess");
    for (const [row, isTarget] of batch.isTarget.entries())
      if (isTarget === 1 && guesses[row] === batch.candidates[row]?.[0]?.[0]) right += 1;
  }
  const isMeasured = count > 0;
  return {
    heldOutTokens: count,
    perplexity: isMeasured ? Math.exp(nats / count) : undefined,
    agreement: isMeasured ? right / count : undefined,
  };
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
