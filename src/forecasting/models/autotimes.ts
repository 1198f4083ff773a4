import { availableParallelism } from "node:os";
import { join } from "node:path";
import { OptionError } from "../../errors.ts";
import { Parameters } from "../../weights/index.ts";
import type {
  FitTask,
  FittedForecaster,
  Forecast,
  History,
  ParameterSpec,
  ParameterValues,
  TimeGrid,
  TrainedForecaster,
} from "../types.ts";
import { type AutoTimesShape, type TensorName, tensorNames, tensorShapes } from "./autotimes/network.ts";
import { rollOut, type Start } from "./autotimes/roll-out.ts";
import { trainAutoTimes } from "./autotimes/train.ts";
import { SegmentWindows } from "./autotimes/windows.ts";
import { checkHistory, fittedModel, loadFitted, type Method, partsOf } from "./fitted-model.ts";
import { atOnce } from "./in-parts.ts";
import { findModel } from "./language-model/find-model.ts";
import { checkCounts, withFitted } from "./language-model/fitted-over.ts";
import { FrozenModel } from "./language-model/frozen-model.ts";
import { hashValues, headFolder } from "./language-model/head-store.ts";
import { inGroups } from "./language-model/in-groups.ts";
import { type Stamps, type Steps, stampsOf } from "./language-model/stamps.ts";
import { latest } from "./latest.ts";
import { saturated } from "./magnitude.ts";
import type { Fields } from "./saved-state.ts";
import { standardizedParts } from "./standardize.ts";

const parameterSchema = {
  /** Path of the file, or "none". */
  languageModel: "text",
  fingerprint: "text",
  blocks: "number?",
  threads: "integer",
  segment: "integer",
  segments: "integer",
  hiddenSize: "integer",
  embeddingLength: "number",
  /** 1 where time stamps are mixed in. */
  stamps: "integer",
  /** Segments before the look-back that a forecast of this series reads as an example. */
  context: "integer",
  /** Of the part of the series that was learned from. */
  mean: "number",
  scale: "number",
  embedWeight: "numbers",
  embedBias: "numbers",
  outWeight: "numbers",
  outBias: "numbers",
  mix: "numbers",
} as const;
const stateSchema = {
  /** The last L values, after those of the context. */
  recent: "numbers",
  /** Values of the context that stand first in `recent`. */
  contextLength: "integer",
  /** The grid of the series as JSON, empty without one, and the index of the step after the last value. */
  grid: "text",
  end: "integer",
  /** The same of the context, where it is of another series. */
  contextGrid: "text",
  contextEnd: "integer",
} as const;
type Fitted = Fields<typeof parameterSchema>;
type State = Fields<typeof stateSchema>;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "autotimes",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: ({ segment, segments, blocks, languageModel }) =>
    `AutoTimes, ${segments} segments of ${segment} values through ${blocks === undefined ? "all" : blocks} blocks of ${languageModel}`,
  show: ({ languageModel, segment, segments, stamps, context, mean, scale, mix }) => ({
    ...{ languageModel, segment, segments, stamps: stamps === 1, context, mean, scale, mix: mix[0]! },
  }),
  check(fitted, { recent, contextLength }) {
    const { segment, segments, scale } = fitted;
    if (!(segment >= 1 && segments >= 1 && scale > 0 && contextLength >= 0 && contextLength % segment === 0))
      throw new RangeError("segment, segments, scale or contextLength is out of range");
    checkCounts(fitted, tensorShapes(shapeOf(fitted)));
    if (recent.length !== contextLength + segment * segments)
      throw new RangeError(`${recent.length} recent values for ${contextLength} of context and a look-back of ${segment * segments}`);
  },
  begin({ segment, segments, context }, { values, time }) {
    const length = (segments + context) * segment;
    if (values.length < length) throw new RangeError(`autotimes: the history has ${values.length} values, needed are ${length}`);
    const grid = gridText(time);
    return {
      ...{ recent: values.slice(-length), contextLength: context * segment, grid, end: values.length },
      ...{ contextGrid: grid, contextEnd: values.length - segments * segment },
    };
  },
  advance({ segment, segments }, state, values) {
    const { recent, contextLength } = state;
    const isOwn = state.contextGrid === state.grid && state.contextEnd === state.end - segments * segment;
    const end = state.end + values.length;
    const moved = latest(recent, values, recent.length);
    if (isOwn) return { ...state, recent: moved, end, contextEnd: state.contextEnd + values.length };
    moved.set(recent.subarray(0, contextLength)); // another series' example stays
    return { ...state, recent: moved, end };
  },
  predict: (parameters, state, horizon) => predictAll([{ parameters, state }], horizon)[0]!,
};

const gridText = (time: TimeGrid | undefined): string => (time === undefined || time.frequency.unit === "step" ? "" : JSON.stringify(time));

const shapeOf = ({ segment, hiddenSize, stamps, embeddingLength }: Fitted): AutoTimesShape => ({
  ...{ segment, hiddenSize, embeddingLength, hasStamps: stamps === 1 },
});

interface Parts {
  readonly parameters: Fitted;
  readonly state: State;
}

/** Forecasts of series that one training fitted run side by side, others one training after the other. */
const predictAll = (parts: readonly Parts[], horizon: number): { mean: Float64Array }[] =>
  inGroups(
    parts,
    ({ parameters: { languageModel, threads, blocks, segments, embedBias, outBias }, state: { contextLength } }) =>
      JSON.stringify([languageModel, threads, blocks, segments, contextLength, hashValues([embedBias, outBias])]),
    (group) => {
      const fitted = group[0]!.parameters;
      const shape = shapeOf(fitted);
      return withFitted(fitted, tensorShapes(shape), (frozen, tensor) => {
        const steps = group.flatMap((part) => stepsOf(part, horizon));
        const stamps = shape.hasStamps ? atOnce(stampsOf(frozen, steps)) : undefined;
        const starts = group.map((part) => startOf(part, stamps));
        const forecasts = rollOut(frozen, tensor, shape, starts, horizon);
        return group.map(({ parameters: { mean, scale } }, i) => ({ mean: forecasts[i]!.map((value) => value * scale + mean) }));
      });
    },
  );

function stepsOf({ parameters: { segment, segments }, state }: Parts, horizon: number): Steps[] {
  const grid = JSON.parse(state.grid) as TimeGrid;
  const first = state.end - segments * segment;
  const count = segments + Math.ceil(horizon / segment);
  const own = Array.from({ length: count }, (_, n) => ({ grid, from: first + n * segment, to: first + n * segment + 1 }));
  const context = Array.from({ length: state.contextLength / segment }, (_, n) => {
    const from = state.contextEnd - (n + 1) * segment;
    return { grid: JSON.parse(state.contextGrid) as TimeGrid, from, to: from + 1 };
  });
  return [...own, ...context];
}

function startOf({ parameters: { segment, segments, mean, scale }, state }: Parts, stamps: Stamps | undefined): Start {
  const { recent, contextLength, end, contextEnd } = state;
  const standardized = recent.map((value) => value / scale - mean / scale);
  const grid = stamps === undefined ? undefined : (JSON.parse(state.grid) as TimeGrid);
  const contextGrid = stamps === undefined ? undefined : (JSON.parse(state.contextGrid) as TimeGrid);
  return {
    window: standardized.subarray(contextLength),
    ...(contextLength > 0 && { context: standardized.subarray(0, contextLength) }),
    ...(stamps !== undefined && {
      stamp: (offset: number) =>
        offset < 0 ? stamps.at(contextGrid!, contextEnd + offset * segment) : stamps.at(grid!, end - segments * segment + offset * segment),
    }),
  };
}

const parameterSpecs = {
  languageModel: { kind: "text", default: "smollm2", summary: "the frozen model: a name, a path, or none, which leaves it out" },
  blocks: {
    kind: "integer",
    min: 1,
    summary: "how many of its first blocks run; default all. Fewer are faster and no longer the paper's model",
  },
  segment: {
    kind: "integer",
    min: 1,
    max: 4096,
    summary: "values of a token; default whole seasons up to 96 values, less for short series",
  },
  segments: { kind: "integer", min: 1, max: 64, summary: "tokens of the look-back; default 7, less for short series" },
  stamps: { kind: "boolean", summary: "mix in the model's states for the segments' times; default where the series has times" },
  context: { kind: "integer", min: 0, max: 64, default: 0, summary: "segments before the look-back that forecasts read as an example" },
  embeddingScale: {
    kind: "number",
    min: 0.01,
    max: 10_000,
    default: 40,
    summary: "length of the segments' tokens, in mean lengths of the model's own",
  },
  steps: { kind: "integer", min: 1, default: 200, summary: "updates of the maps" },
  batch: { kind: "integer", min: 1, max: 512, default: 32, summary: "windows of an update" },
  learningRate: { kind: "number", min: 1e-6, max: 1, default: 1e-3, summary: "largest step of an update" },
  readout: {
    kind: "integer",
    min: 0,
    default: 2000,
    summary: "windows from which the output map is solved for, before and after the updates; 0 leaves it out",
  },
  validation: { kind: "number", min: 0.05, max: 0.5, default: 0.2, summary: "part of each series that is held out to choose by" },
  seed: { kind: "integer", min: 0, default: 1, summary: "start of the maps, choice of the windows" },
  threads: { kind: "integer", min: 1, max: 64, summary: "threads; default one per processor" },
} as const satisfies Record<string, ParameterSpec>;

/**
 * A frozen language model as forecaster: segments of a normalized window become its tokens by a linear map, a linear map of each state is the
 * next segment, and longer horizons are rolled out. The states of the segments' time stamps, written as sentences, are mixed into the tokens.
 * Only the two maps and the mixing factor are trained, on all series together.
 *
 * @see Liu et al. 2024, AutoTimes: Autoregressive Time Series Forecasters via Large Language Models, https://arxiv.org/abs/2402.02370
 */
export const autotimes: TrainedForecaster = {
  name: "autotimes",
  summary: "a frozen language model that reads segments as tokens, with trained maps in and out",
  source: {
    title: "Liu et al. 2024, AutoTimes: Autoregressive Time Series Forecasters via Large Language Models, arXiv 2402.02370",
    url: "https://arxiv.org/abs/2402.02370",
  },
  parameters: parameterSpecs,
  shared: true,
  isOnRequest: true,
  isFittedOnce: true,
  minimumLength: () => 32,
  fit: fitAll,
  forecastAll: (fitted, horizon) =>
    predictAll(
      fitted.map((one) => partsOf(method, one)),
      horizon,
    ).map(({ mean }): Forecast => ({ mean: mean.map(saturated) })),
  load: (saved) => loadFitted(method, saved),
};

/**
 * The same model with another series as an example: its last values stand as tokens before those of the look-back, normalized by themselves.
 *
 * @param source    its last `segments` segments are taken; the paper takes a look-back and what followed it
 * @throws RangeError for a source that is too short; OptionError where the model reads time stamps and the source has none
 */
export function inContext(fitted: FittedForecaster, source: History, segments?: number): FittedForecaster {
  const { parameters, state } = partsOf(method, fitted);
  const count = segments ?? parameters.segments + 1;
  const length = count * parameters.segment;
  checkHistory("autotimes", source, length);
  const contextGrid = gridText(source.time);
  if (parameters.stamps === 1 && contextGrid === "") throw new OptionError("source", "has no times, and this model reads them");
  const own = state.recent.subarray(state.contextLength);
  const recent = new Float64Array(length + own.length);
  // in units of the target, so that both are standardized alike; the normalization removes what differs
  recent.set(source.values.subarray(-length));
  recent.set(own, length);
  return fittedModel(method, parameters, { ...state, recent, contextLength: length, contextGrid, contextEnd: source.values.length });
}

async function fitAll(histories: readonly History[], task: FitTask, options: ParameterValues = {}): Promise<readonly FittedForecaster[]> {
  for (const history of histories) checkHistory("autotimes", history, autotimes.minimumLength(history.seasonalPeriod, task.horizon));
  if (histories.length === 0) return [];
  const settings = settingsOf(histories, options);
  const { segment, segments, blocks, threads, validation, seed, batch } = settings;
  const languageModel = await findModel(settings.languageModel, task);
  using frozen = await FrozenModel.open(languageModel, { threads, blocks, isTrainedThrough: true }, task.signal);
  const { hiddenSize, contextLength } = frozen.model.config;
  if (segments + settings.context > contextLength)
    throw new OptionError(
      "segments",
      `${segments} and ${settings.context} of context are more than the model's context of ${contextLength}`,
    );
  const hasStamps = stampsWanted(histories, settings.stamps, frozen);
  const shape: AutoTimesShape = { segment, hiddenSize, hasStamps, embeddingLength: settings.embeddingScale * frozen.embeddingLength() };
  const parts = standardizedParts(histories, validation);
  const stamps = hasStamps ? await trainingStamps(frozen, histories, task) : undefined;
  const windows = new SegmentWindows(
    parts.map((part, index) => ({
      ...part,
      ...(stamps !== undefined && { stamp: (step: number) => stamps.at(histories[index]!.time!, step) }),
    })),
    { segment, segments, hiddenSize, sequences: batch, seed },
    hashValues(histories.map(({ values }) => values)),
  );
  using parameters = Parameters.create(
    frozen.device,
    tensorNames.filter((name) => hasStamps || name !== "mix").map((name) => ({ name, shape: tensorShapes(shape)[name] })),
  );
  using folder = headFolder(task.home, "autotimes", [windows.identity, shape, frozen.fingerprint, settings]);
  await trainAutoTimes(
    frozen,
    parameters,
    windows,
    folder,
    {
      ...{ shape, segments, sequences: batch, steps: settings.steps, peakRate: settings.learningRate, seed },
      ...{ readoutWindows: settings.readout, validationWindows: 256 },
    },
    task,
  );
  const trained = Object.fromEntries(
    tensorNames.map((name) => [name, parameters.has(name) ? Float64Array.from(parameters.values(name)) : Float64Array.of(0)]),
  ) as Record<TensorName, Float64Array>;
  return histories.map((history, index) => {
    const fitted: Fitted = {
      ...{ languageModel, fingerprint: frozen.fingerprint, blocks, threads, segment, segments, hiddenSize },
      ...{ embeddingLength: shape.embeddingLength, stamps: hasStamps ? 1 : 0, context: settings.context },
      ...parts[index]!.standard,
      ...trained,
    };
    return fittedModel(method, fitted, method.begin(fitted, history));
  });
}

/** Of all steps of all series, kept in `home`. */
async function trainingStamps(frozen: FrozenModel, histories: readonly History[], task: FitTask): Promise<Stamps> {
  const { home, signal, onNotice } = task;
  onNotice?.("autotimes: the language model reads the time stamps, once");
  const work = stampsOf(
    frozen,
    histories.map(({ values, time }): Steps => ({ grid: time!, from: 0, to: values.length })),
    home === undefined ? undefined : (key) => join(home, "forecast-heads", `stamps-${key.slice(0, 16)}.safetensors`),
  );
  for (;;) {
    const { done, value } = work.next();
    if (done) return value as Stamps;
    task.onProgress?.(value as { done: number; total: number });
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
}

function stampsWanted(histories: readonly History[], asked: boolean | undefined, frozen: FrozenModel): boolean {
  const canRead = histories.every(({ time }) => gridText(time) !== "") && frozen.hasVocabulary;
  if (asked === true && !canRead) throw new OptionError("stamps", "needs series with times and a language model that reads text");
  return asked ?? canRead;
}

function settingsOf(histories: readonly History[], options: ParameterValues) {
  const shortest = Math.min(...histories.map(({ values }) => values.length));
  const number = (name: "context" | "steps" | "batch" | "learningRate" | "embeddingScale" | "readout" | "validation" | "seed") =>
    (options[name] as number | undefined) ?? parameterSpecs[name].default;
  const validation = number("validation");
  const usable = Math.round(shortest * (1 - validation));
  const season = Math.max(1, Math.min(...histories.map(({ seasonalPeriod }) => seasonalPeriod)));
  const widest = Math.max(1, Math.floor(usable / 6));
  const whole = season <= Math.min(96, widest) ? season * Math.floor(Math.min(96, widest) / season) : Math.min(96, widest);
  const segment = (options.segment as number | undefined) ?? whole;
  const segments = (options.segments as number | undefined) ?? Math.max(1, Math.min(7, Math.floor(usable / (2 * segment)) - 1));
  const span = segment * (segments + 1);
  if (span > usable)
    throw new OptionError(
      "segments",
      `${segments} segments of ${segment} values and the one to learn are ${span} values; ${usable} of the shortest series are learned from`,
    );
  if ((segments + number("context")) * segment > shortest)
    throw new OptionError(
      "context",
      `${number("context")} segments before a look-back of ${segments * segment} are more than the ${shortest} values`,
    );
  return {
    ...{ segment, segments, validation, context: number("context"), steps: number("steps"), batch: number("batch") },
    ...{ embeddingScale: number("embeddingScale"), learningRate: number("learningRate"), readout: number("readout"), seed: number("seed") },
    languageModel: (options.languageModel as string | undefined) ?? parameterSpecs.languageModel.default,
    blocks: options.blocks as number | undefined,
    stamps: options.stamps as boolean | undefined,
    threads: (options.threads as number | undefined) ?? Math.min(64, availableParallelism()),
  };
}
