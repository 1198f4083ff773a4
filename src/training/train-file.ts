import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { adapterBase } from "../adapters/index.ts";
import { ChatRenderer } from "../chat/index.ts";
import { chatFormat, type MethodSpec } from "../decoding/index.ts";
import { OptionError } from "../errors.ts";
import { Device } from "../ggml/index.ts";
import { familyOf } from "../models/index.ts";
import type { TokenId } from "../token.ts";
import { backspaceKey, LlamaVocabulary, trainBpe } from "../tokenizer/index.ts";
import { AtomicFile, type GgufFile, type MetadataValue, openGguf, TrainingWeights } from "../weights/index.ts";
import { parseAdapter } from "./adapter-methods.ts";
import { AdapterTrainee } from "./adapter-trainee.ts";
import { withBackspace, writeModelWithBackspace } from "./backspace-vocabulary.ts";
import type { SampleOptions } from "./continuation.ts";
import { checkHeldOutPart } from "./data/batches.ts";
import type { RenderChat } from "./data/conversation.ts";
import type { PairSource } from "./data/pairs.ts";
import { type DataFormat, formatOf, readSamples } from "./data/samples.ts";
import { TokenFile } from "./data/token-file.ts";
import { exportModel } from "./export.ts";
import { type ModelShape, vocabularyMetadata, vocabularyOf, writeRandomModel } from "./from-scratch.ts";
import { parseObjective } from "./objective-methods.ts";
import { referenceLogProbabilities } from "./reference.ts";
import { trainingReport } from "./report.ts";
import {
  type BatchSource,
  checkTrainOptions,
  type RunHooks,
  type TrainOptions,
  type TrainProgress,
  type TrainResult,
  train,
} from "./trainer.ts";

/** Where a run begins: a model file, all of whose weights are trained, or a llama-shaped model with random weights. */
export type Start =
  | { readonly kind: "model"; readonly path: string }
  | {
      readonly kind: "scratch";
      readonly shape: ModelShape;
      /** Default "from scratch". */
      readonly name?: string;
      /** Learn a byte-level vocabulary of this many tokens from the data, or take that of a model file. */
      readonly vocabulary: { readonly size: number } | { readonly of: string };
    };

export interface TrainFileOptions extends Partial<Omit<TrainOptions, "steps">> {
  readonly steps: number;
  /** Text, JSON lines or Parquet. */
  readonly data: string;
  /** Default: by the file's name. */
  readonly format?: DataFormat;
  readonly start: Start;
  /** Train an adapter over the frozen model, as the file has it, in place of the model's own weights: `"lora,rank=8,targets=q;v"`. */
  readonly adapter?: MethodSpec;
  /**
   * What is minimized: `"next-token"` (the default), `"sequence-match,rate=0.1"`; on pairs of answers `"reward"`, `"dpo,beta=0.1"`. Of pairs,
   * `sequences` is how many a pass has, and `length` by default what the longest one needs.
   */
  readonly objective?: MethodSpec;
  /** Folder of the run; must not exist, unless the run is resumed. */
  readonly out: string;
  readonly resume?: boolean;
  readonly threads?: number;
  /** Part of the documents held out; default 0.05. */
  readonly validation?: number;
  /** What happens to samples that can't be used; default "stop". */
  readonly bad?: "stop" | "skip";
}

export interface TrainFileHooks extends RunHooks {
  /** What is being done before the first step. */
  readonly onStage?: (stage: string) => void;
}

/**
 * Trains on a data file into a folder: `metrics.jsonl`, checkpoints, `report.html`, at the end `model.gguf` (trained tensors in f32); with
 * `adapter` in place of the model `adapter/` in PEFT's layout and, for lora, `adapter.gguf`.
 *
 * ```ts
 * await trainFile({ data: "notes.jsonl", start: { kind: "model", path: "model.gguf" }, steps: 200, out: "run" });
 * ```
 *
 * @throws OptionError for an `out` that exists (or, with `resume`, does not); FormatError for the first bad sample; TrainingError
 */
export async function trainFile(options: TrainFileOptions, hooks: TrainFileHooks = {}): Promise<TrainResult> {
  const { out, resume = false } = options;
  for (const name of Object.keys(options))
    if (!optionNames.includes(name)) throw new OptionError(name, `trainFile() has no such option; it has ${optionNames.join(", ")}`);
  if (existsSync(out) !== resume)
    throw new OptionError(
      "out",
      resume ? `${out} does not exist: there is nothing to resume` : `${out} exists: resume it, or name another folder`,
    );
  let hasBegun = resume;
  const onStart: RunHooks["onStart"] = (start) => {
    hasBegun = true;
    hooks.onStart?.(start);
  };
  try {
    return await runInFolder(options, { ...hooks, onStart });
  } catch (error) {
    // what was refused leaves no folder that would refuse the next call; what was stopped does, to be gone on with
    if (!hasBegun && hooks.signal?.aborted !== true) rmSync(out, { recursive: true, force: true });
    throw error;
  }
}

async function runInFolder(options: TrainFileOptions, hooks: TrainFileHooks): Promise<TrainResult> {
  const {
    data,
    start,
    adapter: spec,
    objective: objectiveSpec = "next-token",
    out,
    resume: _,
    threads = 1,
    validation = 0.05,
    bad = "stop",
    format = formatOf(data),
    ...rest
  } = options;
  const adapterOptions = spec === undefined ? undefined : parseAdapter(spec);
  if (adapterOptions !== undefined && start.kind === "scratch")
    throw new OptionError("adapter", "belongs to a model that is there already, not to one from scratch");
  const minimized = parseObjective(objectiveSpec, spec !== undefined);
  if (minimized.rows === "pairs" && start.kind === "scratch")
    throw new OptionError("objective", "pairs of answers are learned by a model that is there already, not by one from scratch");
  const seed = rest.seed ?? 0;
  if (!Number.isSafeInteger(seed) || seed < 0) throw new OptionError("seed", `must be a whole number >= 0, got ${seed}`);
  checkHeldOutPart(validation);
  const given = { ...defaults[adapterOptions === undefined ? start.kind : "adapter"], ...rest, seed };
  checkTrainOptions({ ...given, length: rest.length ?? 1 }); // before the data are read: that may take long
  mkdirSync(join(out, "data"), { recursive: true });
  for (const name of readdirSync(out)) if (name.endsWith(".partial")) rmSync(join(out, name)); // what a killed run was writing
  const { needsBackspace = false } = minimized;
  const basePath =
    start.kind === "model"
      ? await givenModel(start.path, out, needsBackspace)
      : await randomModel(start, { out, data, format, seed, needsBackspace }, hooks);
  using base = openGguf(basePath);
  const family = familyOf(base.metadata.requireString("general.architecture"));
  const { contextLength } = family.configure(base.metadata);

  using tokenizer = await LlamaVocabulary.load(base, { contextLength: 4 * 2 ** 20 });
  using renderer = new ChatRenderer();
  const chat = renderChat(base, tokenizer, renderer, hooks.signal);
  hooks.onStage?.("reading the data");
  using tokens = await TokenFile.prepare(data, join(out, "data"), {
    ...{ format, tokenizer, chat, vocabulary: base.fingerprint(), bad, signal: hooks.signal },
    // a pair stands in one sequence, so it must fit; other samples are cut into windows
    ...(minimized.rows === undefined
      ? { contextLength }
      : { rows: minimized.rows, contextLength: Math.min(rest.length ?? contextLength, contextLength) }),
    onBad: ({ line, reason }) => hooks.onNotice?.(`${data}: line ${line} ${reason}; skipped`),
  });
  const longest = tokens.lengths.reduce((most, count) => Math.max(most, count), 0);
  const length = rest.length ?? Math.min(minimized.rows === undefined ? 256 : 32 * Math.ceil(longest / 32), contextLength);
  const settings: TrainOptions = { ...given, length };
  const packing = { sequences: settings.sequences, length, seed, validation };
  using device = Device.create("cpu", threads);
  using adapter = adapterOptions && AdapterTrainee.create(device, adapterBase(base, family.modules), adapterOptions, seed);
  using weights = TrainingWeights.open(device, base, { isTrained: (name) => adapter === undefined && name !== "rope_freqs.weight" });
  const model = family.build(base.metadata, weights);
  hooks.onStage?.("reading the weights");
  await weights.load({ signal: hooks.signal });
  const identity = { base: base.fingerprint(), ...(adapter === undefined ? {} : { adapter: adapter.summary }) };
  const reference = (pairs: PairSource) => {
    hooks.onStage?.("asking the reference for its log-probabilities");
    const path = join(out, "data", "reference.safetensors");
    return referenceLogProbabilities(device, model, pairs, path, { ...packing, identity: identity.base, signal: hooks.signal });
  };
  const { batches, objective } = await minimized.start({ documents: tokens, packing, tokenizer, reference });
  const sample = sampleOf(batches, tokens, tokenizer, contextLength);
  const { parameters } = adapter ?? weights;
  const weightBytes = weights.sizeBytes + (adapter?.parameters.sizeBytes ?? 0);
  const trainee = {
    model,
    parameters,
    weightBytes,
    identity,
    ...(objective && { objective }),
    ...(sample && { sample }),
    ...(adapter && { deltas: adapter.deltas, dropout: adapter.dropout }),
  };
  const result = await train(device, trainee, batches, out, settings, { ...hooks, onProgress: withLiveReport(out, base, hooks) });
  const average = result.average && ((name: string) => result.average!.get(name)!);
  if (result.isFinished && adapter !== undefined) await adapter.save(out, average);
  else if (result.isFinished) await exportModel(join(out, "model.gguf"), base, parameters, average);
  writeReport(out, base);
  return result;
}

/** An adapter's frozen model takes more memory beside the pass, and few numbers bear larger steps and need no decay. */
const defaults = {
  model: { sequences: 8, learningRate: 5e-5 },
  scratch: { sequences: 8, learningRate: 1e-3 },
  adapter: { sequences: 2, accumulate: 4, learningRate: 3e-4, weightDecay: 0 },
} as const satisfies Record<string, Partial<TrainOptions>>;

const optionNames = Object.keys({
  ...{
    data: true,
    format: true,
    start: true,
    adapter: true,
    objective: true,
    out: true,
    resume: true,
    threads: true,
    validation: true,
    bad: true,
    steps: true,
  },
  ...{ sequences: true, length: true, accumulate: true, seed: true, optimizer: true, learningRate: true, schedule: true },
  ...{ warmupSteps: true, floor: true, beta2: true, weightDecay: true, clip: true, average: true, recompute: true },
  ...{ checkpointEvery: true, validateEvery: true, validationWindows: true },
} satisfies Record<keyof TrainFileOptions, true>);

const sampleTokens = { least: 8, most: 48, written: 24 };

/** The start of the first held-out document, up to what is learned of it. */
function sampleOf(
  batches: BatchSource,
  documents: TokenFile,
  tokenizer: LlamaVocabulary,
  contextLength: number,
): SampleOptions | undefined {
  const [first] = batches.validation(1);
  if (first === undefined) return undefined;
  const document = first.from[0]!;
  const ids = new Int32Array(documents.lengths[document]!);
  const isLearned = new Uint8Array(ids.length);
  documents.read(document, 0, ids, isLearned);
  const { least, most, written: count } = sampleTokens;
  const learnedFrom = Math.max(isLearned.indexOf(1), Math.min(least, ids.length - 1));
  const prompt = [...ids.subarray(Math.max(0, learnedFrom - Math.min(most, contextLength - count)), learnedFrom)];
  if (prompt.length === 0) return undefined;
  const decode = (list: readonly number[]) => tokenizer.decode(list as TokenId[]);
  return { prompt, count, endTokens: tokenizer.endTokens, decode };
}

/** The model to go on from: the given file, or with a backspace token more, unless the run to be resumed has made it. */
async function givenModel(path: string, out: string, needsBackspace: boolean): Promise<string> {
  using base = openGguf(path);
  if (!needsBackspace || base.metadata.getInteger(backspaceKey) !== undefined) return path;
  const longer = join(out, "start.gguf");
  if (!existsSync(longer)) await writeModelWithBackspace(longer, base);
  return longer;
}

/** Writes the model with random weights, unless the run to be resumed has it. */
async function randomModel(
  { shape, vocabulary, name = "from scratch" }: Start & { kind: "scratch" },
  run: { out: string; data: string; format: DataFormat; seed: number; needsBackspace: boolean },
  { onStage }: TrainFileHooks,
): Promise<string> {
  const { out, data, format, seed, needsBackspace } = run;
  const path = join(out, "start.gguf");
  if (existsSync(path)) return path;
  const acted = needsBackspace ? withBackspace : (entries: [string, MetadataValue][]) => entries;
  if ("of" in vocabulary) {
    using other = openGguf(vocabulary.of);
    await writeRandomModel(path, { name, shape, tokenizer: acted(vocabularyOf(other)), seed });
    return path;
  }
  onStage?.("learning the vocabulary");
  const vocabSize = vocabulary.size - (needsBackspace ? 1 : 0);
  const tokenizer = acted(vocabularyMetadata(await trainBpe(textsOf(data, format), { vocabSize })));
  await writeRandomModel(path, { name, shape, tokenizer, seed });
  return path;
}

async function* textsOf(data: string, format: DataFormat): AsyncGenerator<string> {
  for await (const sample of readSamples(data, format)) {
    if (sample.kind === "sample") for (const { text } of sample.segments) yield text;
    else if (sample.kind === "chat") for (const { content } of sample.messages) if (typeof content === "string") yield content;
  }
}

function renderChat(
  base: GgufFile,
  tokenizer: LlamaVocabulary,
  renderer: ChatRenderer,
  signal: AbortSignal | undefined,
): RenderChat | undefined {
  const format = chatFormat(base, tokenizer, renderer);
  if (format === undefined) return undefined;
  return (messages, addGenerationPrompt) => format.render(messages, { addGenerationPrompt, ...(signal === undefined ? {} : { signal }) });
}

const refreshSeconds = 10;

/** The report grows with the run, for a browser that shows it. */
function withLiveReport(out: string, base: GgufFile, { onProgress }: TrainFileHooks): (progress: TrainProgress) => void {
  let lastMs = performance.now();
  return (progress) => {
    if (progress.step === 1 || performance.now() - lastMs >= refreshSeconds * 1000) {
      writeReport(out, base, refreshSeconds);
      lastMs = performance.now();
    }
    onProgress?.(progress);
  };
}

function writeReport(out: string, base: GgufFile, refresh?: number): void {
  using file = new AtomicFile(join(out, "report.html"));
  const metrics = readFileSync(join(out, "metrics.jsonl"), "utf8").split("\n").slice(0, -1);
  file.write(
    Buffer.from(
      trainingReport(
        base.metadata.getString("general.name") ?? "a model",
        metrics.map((line) => JSON.parse(line)),
        refresh,
      ),
    ),
  );
  file.commit();
}
