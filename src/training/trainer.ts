import { join } from "node:path";
import type { Deltas } from "../adapters/index.ts";
import { OptionError, TrainingError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import type { Transformer } from "../models/index.ts";
import {
  adamW,
  clipByGlobalNorm,
  learningRate,
  type Optimizer,
  type OptimizerState,
  type Schedule,
  sgd,
  updateAverage,
} from "../optimizers/index.ts";
import { grad, Program, type Tensor, topologicalOrder } from "../tensor/index.ts";
import type { Parameters } from "../weights/index.ts";
import { newestCheckpoint, type RunState, readCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { checkpointClock } from "./checkpoint-clock.ts";
import { Continuation, type SampleOptions } from "./continuation.ts";
import type { Batch, PassRows } from "./data/batches.ts";
import { Dropout, type DropoutFunction } from "./dropout.ts";
import { forward, setRows } from "./forward.ts";
import { MetricsFile } from "./metrics-file.ts";
import { nextToken, type Objective } from "./objective.ts";

/** What is trained, and by what. */
export interface Trainee<B extends PassRows = Batch> {
  readonly model: Transformer;
  readonly parameters: Parameters;
  /** What stands in place of token embeddings, [N, C]; its inputs are the objective's to fill. Default: the batch's token ids. */
  readonly embeddings?: () => Tensor;
  /** What adapters add to the model; `dropout`, where there is one, takes what goes into an adapter. Default nothing. */
  readonly deltas?: (dropout?: DropoutFunction) => Deltas;
  /** Part of what goes into adapters that a training pass leaves out, in [0, 1); default 0. */
  readonly dropout?: number;
  /** Default: the cross-entropy of the next token. Its loss is also that of the held-out windows. */
  readonly objective?: Objective<B>;
  /** Is continued at each look at the held-out windows; default nothing. */
  readonly sample?: SampleOptions;
  /** Bytes of device memory that the weights take, trained or not. */
  readonly weightBytes: number;
  /** What a checkpoint must have in common with this trainee beside its parameters: the base model, an adapter's kind. */
  readonly identity?: Readonly<Record<string, unknown>>;
}

/** Batches by number: `Packing` is one. What a number gives never changes, so that a run can go on at any step. */
export interface BatchSource<B extends PassRows = Batch> {
  /** What the batches depend on, for comparing runs. */
  readonly identity: unknown;
  readonly validationDocuments: number;
  training(number: number): B;
  validation(maxWindows: number): Iterable<B>;
}

export interface TrainOptions {
  readonly steps: number;
  /** Sequences per pass, and tokens of each. */
  readonly sequences: number;
  readonly length: number;
  /** Passes per step, whose gradients are added; default 1. */
  readonly accumulate?: number;
  readonly optimizer?: "adamw" | "sgd";
  readonly learningRate: number;
  readonly schedule?: Schedule["kind"];
  /** Default: a twentieth of the steps, at most 100. */
  readonly warmupSteps?: number;
  /** The last learning rate as a fraction of the highest; default 0.1. */
  readonly floor?: number;
  /** Of AdamW; default 0.95. */
  readonly beta2?: number;
  /** On matrices; norms and biases have none. Default 0.1. */
  readonly weightDecay?: number;
  /** Largest norm of all gradients together; default 1. */
  readonly clip?: number;
  /** Keep running means of the parameters with this decay, in (0, 1), and save those at the end; default none. */
  readonly average?: number;
  readonly recompute?: boolean;
  readonly seed?: number;
  /** Default every 60 seconds, and at most a twentieth of the time. */
  readonly checkpointEvery?: { readonly steps: number } | { readonly seconds: number };
  /** Steps between looks at the held-out windows; default a twentieth of the steps. 0: never. */
  readonly validateEvery?: number;
  /** Held-out windows of a look; default 64. */
  readonly validationWindows?: number;
}

export interface Metrics {
  /** From 1. */
  readonly step: number;
  /** Mean over the step's targets (tokens, or pairs of answers), in nats. */
  readonly loss: number;
  /** Of pairs of answers the share in which the preferred one has the higher reward. */
  readonly accuracy?: number;
  /** Tokens learned so far. */
  readonly tokens: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
  /** Of how many held-out pairs that is the share. */
  readonly validationPairs?: number;
  /** With a look: what the model makes of the start of a held-out document. */
  readonly sample?: { readonly prompt: string; readonly text: string };
}

export interface TrainProgress extends Metrics {
  readonly steps: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

/** Bytes that a run takes, known before it starts. */
export interface TrainingMemory {
  readonly weightBytes: number;
  /** Inputs, intermediate results and gradients of the compiled passes. */
  readonly passBytes: number;
  /** The optimizer's state, summed gradients and running means. */
  readonly stateBytes: number;
}

export interface RunHooks {
  /** Called once, before the first step. */
  readonly onStart?: (start: { readonly memory: TrainingMemory; readonly parameters: number; readonly fromStep: number }) => void;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly onNotice?: (notice: string) => void;
  /** Ends the run after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainResult {
  readonly isFinished: boolean;
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
  readonly validationLoss: number | undefined;
  /** Running means of the parameters, where the run keeps them. */
  readonly average: ReadonlyMap<string, Float32Array> | undefined;
}

const scheduleOf = ({ steps, schedule, learningRate: peak, floor, warmupSteps }: TrainOptions): Schedule => ({
  kind: schedule ?? "cosine",
  peak,
  floor: floor ?? 0.1,
  warmupSteps: warmupSteps ?? Math.min(100, Math.floor(steps / 20)),
  steps,
});

/** All that can be said of a run's options without its model and its data. @throws OptionError */
export function checkTrainOptions(options: TrainOptions): void {
  const { steps, sequences, length, accumulate = 1, validationWindows = 1, validateEvery = 0 } = options;
  const check = (name: string, value: unknown, isFine: boolean, range: string) => {
    if (!isFine) throw new OptionError(name, `must be ${range}, got ${value}`);
  };
  for (const [name, value] of Object.entries({ steps, sequences, length, accumulate, validationWindows }))
    check(name, value, Number.isInteger(value) && value >= 1, "a whole number >= 1");
  check("validateEvery", validateEvery, Number.isInteger(validateEvery) && validateEvery >= 0, "a whole number >= 0");
  const { learningRate: rate, average = 0.5, clip = 1, weightDecay = 0, beta2 = 0.95, optimizer = "adamw", checkpointEvery } = options;
  check("learningRate", rate, rate > 0 && Number.isFinite(rate), "a number > 0");
  check("average", average, average > 0 && average < 1, "in (0, 1)");
  check("clip", clip, clip > 0, "> 0");
  check("weightDecay", weightDecay, weightDecay >= 0 && Number.isFinite(weightDecay), "a number >= 0");
  check("beta2", beta2, beta2 >= 0 && beta2 < 1, "in [0, 1)");
  check("optimizer", optimizer, optimizer === "adamw" || optimizer === "sgd", "adamw or sgd");
  learningRate(scheduleOf(options), 0);
  if (checkpointEvery !== undefined) checkpointClock(checkpointEvery);
}

/** A run's options as they stand in a checkpoint: all that its numbers depend on. */
const configOf = <B extends PassRows>(
  { checkpointEvery: _, ...options }: TrainOptions,
  trainee: Trainee<B>,
  packing: BatchSource<B>,
  device: Device,
): Record<string, unknown> => ({
  ...options,
  ...(trainee.objective === undefined ? {} : { objective: trainee.objective.name }),
  ...trainee.identity,
  data: packing.identity,
  threads: device.threads,
});

/**
 * Trains in `folder`, which holds `metrics.jsonl` and the checkpoints; goes on from the newest checkpoint if there is one.
 *
 * @throws OptionError where a checkpoint was made with other options; TrainingError when a number is no longer finite
 */
export async function train<B extends PassRows = Batch>(
  device: Device,
  trainee: Trainee<B>,
  packing: BatchSource<B>,
  folder: string,
  options: TrainOptions,
  hooks: RunHooks = {},
): Promise<TrainResult> {
  const { model, parameters } = trainee;
  const { steps, accumulate = 1, average, clip = 1 } = options;
  checkTrainOptions(options);
  if (options.length > model.config.contextLength)
    throw new OptionError("length", `${options.length} tokens are more than the model's context of ${model.config.contextLength}`);
  const schedule = scheduleOf(options);
  const config = configOf(options, trainee, packing, device);
  const from = newestCheckpoint(folder);
  if (from !== undefined) compareConfigs(JSON.parse(from.config) as Record<string, unknown>, config, hooks);

  using learn = compilePass(device, trainee, options, true);
  using look = compilePass(device, trainee, options, false);
  using writer = trainee.sample && new Continuation(device, trainee as unknown as Trainee, trainee.sample);
  const state: RunState =
    from === undefined
      ? {
          step: 0,
          tokens: 0,
          optimizer: { stepCount: 0, buffers: new Map() },
          average: average === undefined ? undefined : averagesOf(parameters),
        }
      : readCheckpoint(from.path, parameters);
  const optimizer = optimizerOf(options, parameters, state.optimizer);
  const buffersPerParameter = (options.optimizer === "sgd" ? 1 : 2) + 1 + (average === undefined ? 0 : 1);
  hooks.onStart?.({
    memory: {
      weightBytes: trainee.weightBytes,
      passBytes: learn.program.sizeBytes + look.program.sizeBytes + (writer?.sizeBytes ?? 0),
      stateBytes: buffersPerParameter * parameters.count * 4,
    },
    parameters: parameters.count,
    fromStep: state.step,
  });

  using metricsFile = new MetricsFile(join(folder, "metrics.jsonl"), state.step);
  const sums = new Map(parameters.names.map((name) => [name, new Float32Array(parameters.values(name).length)]));
  const startMs = performance.now();
  const checkpoints = checkpointClock(options.checkpointEvery ?? { seconds: 60 });
  const validateEvery = options.validateEvery ?? Math.max(1, Math.floor(steps / 20));
  let rowsDone = 0;
  let loss = Number.NaN;
  let accuracy: number | undefined;
  let validationLoss: number | undefined;
  const save = () => {
    metricsFile.sync();
    writeCheckpoint(folder, parameters, state, JSON.stringify(config));
  };
  while (state.step < steps) {
    if (hooks.signal?.aborted) {
      save();
      return { isFinished: false, step: state.step, tokens: state.tokens, loss, validationLoss, average: state.average };
    }
    const batches = Array.from({ length: accumulate }, (_, i) => packing.training(state.step * accumulate + i));
    const targets = batches.reduce((sum, batch) => sum + batch.targetCount, 0);
    loss = 0;
    accuracy = undefined;
    let isFirst = true;
    for (const [index, batch] of batches.entries()) {
      if (batch.targetCount === 0) continue;
      learn.dropout?.fill(learn.program, options.seed ?? 0, state.step * accumulate + index);
      const passed = await runPass(learn, trainee, options, batch, targets);
      loss += passed.loss;
      if (passed.accuracy !== undefined) accuracy = (accuracy ?? 0) + passed.accuracy;
      for (const [name, sum] of sums) {
        const part = learn.program.peek(learn.outputOf.get(name)!);
        if (isFirst) sum.set(part);
        else addTo(sum, part);
      }
      isFirst = false;
    }
    if (isFirst) for (const sum of sums.values()) sum.fill(0);
    const rate = learningRate(schedule, state.step);
    const gradientNorm = clipByGlobalNorm([...sums.values()], clip);
    state.step += 1;
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) throw notFinite(state.step, batches, loss, parameters, sums);
    if (targets > 0)
      optimizer.step(
        [...sums].map(([name, gradient]) => ({ name, values: parameters.values(name), gradient })),
        rate,
      );
    for (const { targetCount, tokenCount = targetCount } of batches) state.tokens += tokenCount;
    rowsDone += accumulate * options.sequences * options.length;
    for (const [name, mean] of state.average ?? []) updateAverage(mean, parameters.values(name), average!);
    const isLook = validateEvery > 0 && packing.validationDocuments > 0 && (state.step % validateEvery === 0 || state.step === steps);
    const looked = isLook ? await validate(look, trainee, packing, options) : undefined;
    validationLoss = looked?.loss;
    const metrics: Metrics = {
      ...{ step: state.step, loss, ...(accuracy === undefined ? {} : { accuracy }) },
      ...{ tokens: state.tokens, learningRate: rate, gradientNorm },
      ...(looked === undefined ? {} : { validationLoss: looked.loss }),
      ...(looked?.accuracy === undefined ? {} : { validationAccuracy: looked.accuracy, validationPairs: looked.targets }),
      ...(isLook && writer !== undefined ? { sample: await writer.write() } : {}),
    };
    metricsFile.append(metrics);
    const seconds = (performance.now() - startMs) / 1000;
    const tokensPerSecond = rowsDone / seconds;
    const rowsLeft = (steps - state.step) * accumulate * options.sequences * options.length;
    hooks.onProgress?.({ ...metrics, steps, tokensPerSecond, secondsLeft: rowsLeft / tokensPerSecond });
    if (state.step === steps || checkpoints.isDue(state.step)) checkpoints.time(save);
  }
  return { isFinished: true, step: state.step, tokens: state.tokens, loss, validationLoss, average: state.average };
}

interface PassResult {
  readonly loss: number;
  readonly accuracy?: number;
}

/** Means over the held-out windows, and over how many targets. */
async function validate<B extends PassRows>(
  look: CompiledPass,
  trainee: Trainee<B>,
  packing: BatchSource<B>,
  options: TrainOptions,
): Promise<PassResult & { readonly targets: number }> {
  let [loss, count] = [0, 0];
  let right: number | undefined;
  for (const batch of packing.validation(options.validationWindows ?? 64)) {
    if (batch.targetCount === 0) continue;
    const part = await runPass(look, trainee, options, batch, batch.targetCount);
    loss += part.loss * batch.targetCount;
    if (part.accuracy !== undefined) right = (right ?? 0) + part.accuracy * batch.targetCount;
    count += batch.targetCount;
  }
  return { loss: loss / Math.max(1, count), targets: count, ...(right === undefined ? {} : { accuracy: right / count }) };
}

interface CompiledPass extends Disposable {
  readonly program: Program;
  readonly dropout: Dropout | undefined;
  /** The program's output that is a parameter's gradient. */
  readonly outputOf: ReadonlyMap<string, string>;
}

function compilePass<B extends PassRows>(device: Device, trainee: Trainee<B>, options: TrainOptions, withGradients: boolean): CompiledPass {
  const { model, parameters, embeddings } = trainee;
  const objective = objectiveOf(trainee);
  const { sequences, length, recompute = false } = options;
  const rate = withGradients ? (trainee.dropout ?? 0) : 0;
  const dropout = rate > 0 ? new Dropout(rate, sequences * length, model.blocks.length) : undefined;
  const deltas = trainee.deltas?.(dropout?.apply);
  const pass = forward(model, {
    ...{ sequences, length, recompute },
    ...(deltas === undefined ? {} : { deltas }),
    ...(embeddings === undefined ? {} : { embeddings: embeddings() }),
  });
  const outputs: Record<string, Tensor> = { ...(objective.measured?.(pass, model) ?? { loss: objective.loss(pass, model) }) };
  const { loss } = outputs as { loss: Tensor };
  const outputOf = new Map<string, string>();
  if (withGradients) {
    // gradients are finished from the model's end to its start; named in that order, what a block needed is free for the next
    const place = new Map(topologicalOrder([loss]).map((x, index) => [x, index]));
    const names = parameters.names.sort((a, b) => (place.get(parameters.tensor(b)) ?? 0) - (place.get(parameters.tensor(a)) ?? 0));
    const gradients = grad(
      loss,
      names.map((name) => parameters.tensor(name)),
    );
    for (const [index, name] of names.entries()) {
      outputs[`gradient.${index}`] = gradients[index]!;
      outputOf.set(name, `gradient.${index}`);
    }
  }
  const program = Program.compile(device, outputs);
  return { program, dropout, outputOf, [Symbol.dispose]: () => program[Symbol.dispose]() };
}

/** Runs a batch; its loss is the sum over its targets divided by `targets`. */
async function runPass<B extends PassRows>(
  { program }: CompiledPass,
  trainee: Trainee<B>,
  options: TrainOptions,
  batch: B,
  targets: number,
): Promise<PassResult> {
  const { model } = trainee;
  const objective = objectiveOf(trainee);
  const { ids, documents, positions, deletedAt } = batch;
  setRows(program, model.config, options, {
    ...(ids === undefined ? {} : { ids }),
    ...(documents === undefined ? {} : { documents }),
    ...(positions === undefined ? {} : { positions }),
    ...(deletedAt === undefined ? {} : { deletedAt }),
  });
  objective.fill(program, batch, targets, model);
  await program.run();
  return { loss: program.peek("loss")[0]!, ...(objective.measured === undefined ? {} : { accuracy: program.peek("accuracy")[0]! }) };
}

/** A trainee without an objective has batches of tokens, by its type's default. */
const objectiveOf = <B extends PassRows>({ objective }: Trainee<B>): Objective<B> => objective ?? (nextToken as unknown as Objective<B>);

function optimizerOf(
  { optimizer = "adamw", beta2 = 0.95, weightDecay = 0.1 }: TrainOptions,
  parameters: Parameters,
  state: OptimizerState,
): Optimizer {
  const isMatrix = new Map(parameters.names.map((name) => [name, parameters.tensor(name).shape.length > 1]));
  const decay = (name: string) => (isMatrix.get(name) === true ? weightDecay : 0);
  switch (optimizer) {
    case "adamw":
      return adamW({ beta2, weightDecay: decay }, state);
    case "sgd":
      return sgd({ momentum: 0.9, weightDecay: decay }, state);
    default:
      throw new OptionError("optimizer", `must be adamw or sgd, got ${optimizer satisfies never}`);
  }
}

function addTo(sum: Float32Array, part: Float32Array): void {
  for (let i = 0; i < sum.length; i += 1) sum[i]! += part[i]!;
}

const averagesOf = (parameters: Parameters) => new Map(parameters.names.map((name) => [name, parameters.values(name).slice()]));

function notFinite(
  step: number,
  batches: readonly PassRows[],
  loss: number,
  parameters: Parameters,
  sums: ReadonlyMap<string, Float32Array>,
) {
  const isBad = (values: Float32Array) => values.some((value) => !Number.isFinite(value));
  const weight = parameters.names.find((name) => isBad(parameters.values(name)));
  const gradient = [...sums].find(([, sum]) => isBad(sum))?.[0];
  const tensor = weight ?? (gradient === undefined ? "the loss" : `the gradient of ${gradient}`);
  const documents = [...new Set(batches.flatMap(({ from }) => from))].map((document) => document + 1);
  const shown = documents.slice(0, 8).join(", ") + (documents.length > 8 ? ", …" : "");
  return new TrainingError(
    `step ${step}: ${tensor} is no longer finite (loss ${loss}; documents ${shown}); a lower learning rate or a longer warm-up may help`,
    { step, tensor },
  );
}

/** Another thread count changes the last bits only, so it warns; another anything is another run. */
function compareConfigs(stored: Record<string, unknown>, now: Record<string, unknown>, { onNotice }: RunHooks): void {
  for (const key of new Set([...Object.keys(stored), ...Object.keys(now)])) {
    const [before, after] = [JSON.stringify(stored[key]), JSON.stringify(now[key])];
    if (before === after) continue;
    if (key === "threads")
      onNotice?.(`the run began with ${before} threads and goes on with ${after}: its losses will differ in the last bits`);
    else throw new OptionError(key, `the run to be resumed has ${before ?? "none"}, not ${after ?? "none"}`);
  }
}
