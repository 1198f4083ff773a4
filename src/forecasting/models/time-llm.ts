import { availableParallelism } from "node:os";
import { OptionError } from "../../errors.ts";
import { Parameters } from "../../weights/index.ts";
import type { FitTask, FittedForecaster, Forecast, History, ParameterSpec, ParameterValues, TrainedForecaster } from "../types.ts";
import { checkHistory, fittedModel, loadFitted, type Method, partsOf } from "./fitted-model.ts";
import { findModel } from "./language-model/find-model.ts";
import { checkCounts, withFitted } from "./language-model/fitted-over.ts";
import { FrozenModel } from "./language-model/frozen-model.ts";
import { hashValues, headFolder } from "./language-model/head-store.ts";
import { inGroups } from "./language-model/in-groups.ts";
import { latest } from "./latest.ts";
import { saturated } from "./magnitude.ts";
import { normalSampler } from "./normal-sampler.ts";
import type { Fields } from "./saved-state.ts";
import { standardizedParts } from "./standardize.ts";
import { forecastWindows } from "./time-llm/forecast-windows.ts";
import { type FittedName, fittedNames, fittedShapes, patchCount, type TimeLlmShape, trainedShapes } from "./time-llm/network.ts";
import { promptOf, type WindowStatistics, widestPrompt } from "./time-llm/prompt.ts";
import { finishedPrototypes, trainTimeLlm } from "./time-llm/train.ts";
import { HorizonWindows, type PromptTokens } from "./time-llm/windows.ts";

const parameterSchema = {
  /** Path of the file, or "none". */
  languageModel: "text",
  fingerprint: "text",
  blocks: "number?",
  threads: "integer",
  /** First line of the prompt, may be empty. */
  description: "text",
  lookback: "integer",
  horizon: "integer",
  patch: "integer",
  stride: "integer",
  width: "integer",
  heads: "integer",
  headSize: "integer",
  features: "integer",
  prototypes: "integer",
  promptLength: "integer",
  hiddenSize: "integer",
  /** Of the part of the series that was learned from. */
  mean: "number",
  scale: "number",
  patchWeight: "numbers",
  queryWeight: "numbers",
  queryBias: "numbers",
  keys: "numbers",
  values: "numbers",
  outWeight: "numbers",
  outBias: "numbers",
  headWeight: "numbers",
  headBias: "numbers",
} as const;
/** The last L values. */
const stateSchema = { recent: "numbers" } as const;
type Fitted = Fields<typeof parameterSchema>;
type State = Fields<typeof stateSchema>;

const method: Method<typeof parameterSchema, typeof stateSchema> = {
  name: "time-llm",
  version: 1,
  parameters: parameterSchema,
  state: stateSchema,
  describe: (fitted) =>
    `Time-LLM, ${fitted.lookback} values as ${patchCount(fitted)} patches to ${fitted.horizon} steps through ${fitted.blocks ?? "all"} blocks of ${fitted.languageModel}`,
  show: ({ languageModel, lookback, horizon, patch, stride, prototypes, promptLength, mean, scale }) => ({
    ...{ languageModel, lookback, horizon, patch, stride, prototypes, promptLength, mean, scale },
  }),
  check(fitted, { recent }) {
    const { lookback, horizon, patch, stride, width, heads, headSize, features, prototypes, hiddenSize, promptLength, scale } = fitted;
    const sizes = [lookback, horizon, patch, stride, width, heads, headSize, features, prototypes, hiddenSize];
    if (!(sizes.every((size) => size >= 1) && patch <= lookback && features <= hiddenSize && promptLength >= 0 && scale > 0))
      throw new RangeError("a size or scale is out of range");
    checkCounts(fitted, fittedShapes(fitted));
    if (recent.length !== lookback) throw new RangeError(`${recent.length} recent values for a look-back of ${lookback}`);
  },
  begin({ lookback }, history) {
    checkHistory("time-llm", history, lookback);
    return { recent: history.values.slice(-lookback) };
  },
  advance: ({ lookback }, { recent }, values) => ({ recent: latest(recent, values, lookback) }),
  predict: (parameters, state, horizon) => predictAll([{ parameters, state }], horizon)[0]!,
};

interface Parts {
  readonly parameters: Fitted;
  readonly state: State;
}

/** Forecasts of series that one training fitted run side by side, others one training after the other. */
const predictAll = (parts: readonly Parts[], horizon: number): { mean: Float64Array }[] =>
  inGroups(
    parts,
    ({ parameters: { languageModel, threads, blocks, description, lookback, headWeight } }) =>
      JSON.stringify([languageModel, threads, blocks, description, lookback, hashValues([headWeight])]),
    (group) => {
      const fitted = group[0]!.parameters;
      return withFitted(fitted, fittedShapes(fitted), (frozen, tensor) => {
        const windows = group.map(({ parameters: { mean, scale }, state: { recent } }) =>
          recent.map((value) => value / scale - mean / scale),
        );
        const forecasts = forecastWindows(frozen, tensor, fitted, windows, tokensOf(frozen, fitted.description, fitted), horizon);
        return group.map(({ parameters: { mean, scale } }, i) => ({ mean: forecasts[i]!.map((value) => value * scale + mean) }));
      });
    },
  );

const tokensOf =
  (frozen: FrozenModel, description: string, { lookback, horizon }: Pick<TimeLlmShape, "lookback" | "horizon">): PromptTokens =>
  (statistics: WindowStatistics) =>
    frozen.encode(promptOf(description, lookback, horizon, statistics));

const parameterSpecs = {
  languageModel: { kind: "text", default: "smollm2", summary: "the frozen model: a name, a path, or none, which leaves it out" },
  blocks: {
    kind: "integer",
    min: 1,
    summary: "how many of its first blocks run; default all. Fewer are faster and no longer the paper's model",
  },
  description: { kind: "text", summary: "what the data are, in a sentence: the prompt's first line; default none" },
  lookback: {
    kind: "integer",
    min: 2,
    summary: "values that a forecast sees; default the longest of two seasons, the horizon and 96 that the shortest series has room for",
  },
  patch: { kind: "integer", min: 1, max: 1024, summary: "values of a patch; default 16, less for a short look-back" },
  stride: { kind: "integer", min: 1, max: 1024, summary: "from patch to patch; default half a patch" },
  words: { kind: "integer", min: 2, max: 100_000, default: 2000, summary: "most frequent text tokens that prototypes are mixed of" },
  prototypes: { kind: "integer", min: 1, max: 10_000, default: 100, summary: "mixtures of words that patches attend to" },
  width: { kind: "integer", min: 1, max: 1024, default: 32, summary: "length of a patch's embedding" },
  heads: { kind: "integer", min: 1, max: 64, default: 8, summary: "heads of that attention" },
  headSize: { kind: "integer", min: 1, max: 256, default: 32, summary: "length of a head's queries and keys" },
  features: {
    kind: "integer",
    min: 1,
    max: 1024,
    default: 16,
    summary: "of each patch's state, the first so many are read for the forecast",
  },
  steps: { kind: "integer", min: 1, default: 200, summary: "updates" },
  batch: { kind: "integer", min: 1, max: 512, default: 8, summary: "windows of an update" },
  learningRate: { kind: "number", min: 1e-6, max: 1, default: 1e-3, summary: "largest step of an update" },
  readout: {
    kind: "integer",
    min: 0,
    default: 1000,
    summary: "windows from which the head is solved for before the updates; 0 leaves it out",
  },
  validation: { kind: "number", min: 0.05, max: 0.5, default: 0.2, summary: "part of each series that is held out, to report its error" },
  seed: { kind: "integer", min: 0, default: 1, summary: "start of the maps, choice of the windows" },
  threads: { kind: "integer", min: 1, max: 64, summary: "threads; default one per processor" },
} as const satisfies Record<string, ParameterSpec>;

/**
 * A frozen language model as forecaster: patches of a normalized window become mixtures of word prototypes by cross-attention, a prompt that
 * describes the data, the task and the window stands before them, and the first features of the patches' states are mapped to the whole horizon.
 * Everything but the language model is trained, on all series together. More steps than the fitted horizon are rolled out.
 *
 * Departures from the paper: the head is solved for in closed form before the training; prototypes are mixed of the most frequent text tokens, not of all; statistics are printed with two decimals;
 * lag 0 and mirrored lags are left out; no dropout.
 *
 * @see Jin et al. 2024, Time-LLM: Time Series Forecasting by Reprogramming Large Language Models, https://arxiv.org/abs/2310.01728
 */
export const timeLlm: TrainedForecaster = {
  name: "time-llm",
  summary: "a frozen language model that reads patches as mixtures of words, behind a prompt",
  source: {
    title: "Jin et al. 2024, Time-LLM: Time Series Forecasting by Reprogramming Large Language Models, arXiv 2310.01728",
    url: "https://arxiv.org/abs/2310.01728",
  },
  parameters: parameterSpecs,
  shared: true,
  isOnRequest: true,
  isFittedOnce: true,
  minimumLength: (_, horizon) => 2 * horizon + 16,
  fit: fitAll,
  forecastAll: (fitted, horizon) =>
    predictAll(
      fitted.map((one) => partsOf(method, one)),
      horizon,
    ).map(({ mean }): Forecast => ({ mean: mean.map(saturated) })),
  load: (saved) => loadFitted(method, saved),
};

async function fitAll(histories: readonly History[], task: FitTask, options: ParameterValues = {}): Promise<readonly FittedForecaster[]> {
  for (const history of histories) checkHistory("time-llm", history, timeLlm.minimumLength(history.seasonalPeriod, task.horizon));
  if (histories.length === 0) return [];
  const settings = settingsOf(histories, task.horizon, options);
  const { blocks, threads, validation, seed, batch, steps, description, words: wordCount, learningRate, readout, ...sizes } = settings;
  const languageModel = await findModel(settings.languageModel, task);
  using frozen = await FrozenModel.open(languageModel, { threads, blocks, isTrainedThrough: true }, task.signal);
  const { hiddenSize, contextLength } = frozen.model.config;
  if (sizes.features > hiddenSize)
    throw new OptionError("features", `${sizes.features} are more than the ${hiddenSize} that the language model's states have`);
  const { horizon } = task;
  const shape: TimeLlmShape = {
    ...{ lookback: sizes.lookback, horizon, patch: sizes.patch, stride: sizes.stride, width: sizes.width, heads: sizes.heads },
    ...{ headSize: sizes.headSize, features: sizes.features, prototypes: sizes.prototypes, hiddenSize },
    promptLength: frozen.hasVocabulary ? frozen.encode(widestPrompt(description, sizes.lookback, horizon)).length : 0,
  };
  const length = shape.promptLength + patchCount(shape);
  if (length > contextLength)
    throw new OptionError(
      "lookback",
      `${patchCount(shape)} patches and a prompt of ${shape.promptLength} tokens are more than the model's context of ${contextLength}`,
    );
  const words = wordsOf(frozen, wordCount, seed);
  const parts = standardizedParts(histories, validation);
  const windows = new HorizonWindows(
    parts,
    shape,
    { sequences: batch, seed, tokens: tokensOf(frozen, description, shape) },
    { values: hashValues(histories.map(({ values }) => values)), description },
  );
  const shapes = trainedShapes(shape, words.length / hiddenSize);
  using parameters = Parameters.create(
    frozen.device,
    Object.entries(shapes).map(([name, dims]) => ({ name, shape: dims })),
  );
  using folder = headFolder(task.home, "time-llm", [windows.identity, shape, frozen.fingerprint, settings]);
  task.onNotice?.(
    `time-llm: ${steps} steps of ${batch} windows of ${length} tokens, ${shape.promptLength} of them the prompt's, through ${frozen.model.config.blocks.length} frozen blocks (${Math.round(frozen.sizeBytes / 2 ** 20)} MiB)`,
  );
  await trainTimeLlm(
    frozen,
    parameters,
    words,
    windows,
    folder,
    { ...{ shape, sequences: batch, steps, seed, readoutWindows: readout, validationWindows: 64 }, peakRate: learningRate },
    task,
  );
  const trained = {
    ...Object.fromEntries(
      fittedNames.filter((name) => parameters.has(name)).map((name) => [name, Float64Array.from(parameters.values(name))]),
    ),
    ...finishedPrototypes(frozen, parameters, words, shape),
  } as Record<FittedName, Float64Array>;
  return histories.map((history, index) => {
    const fitted: Fitted = {
      ...{ languageModel, fingerprint: frozen.fingerprint, blocks, threads, description },
      ...shape,
      ...parts[index]!.standard,
      ...trained,
    };
    return fittedModel(method, fitted, method.begin(fitted, history));
  });
}

/** Embeddings of the most frequent words, [V·C]; without a language model random ones of length about 1. */
function wordsOf(frozen: FrozenModel, count: number, seed: number): Float32Array {
  if (frozen.hasVocabulary) return frozen.embeddingsOf(frozen.frequentTokens(count));
  const { hiddenSize } = frozen.model.config;
  const normal = normalSampler(seed + 1);
  return Float32Array.from({ length: count * hiddenSize }, () => normal() / Math.sqrt(hiddenSize));
}

function settingsOf(histories: readonly History[], horizon: number, options: ParameterValues) {
  const shortest = Math.min(...histories.map(({ values }) => values.length));
  const number = <Name extends keyof typeof parameterSpecs>(name: Name) =>
    (options[name] ?? (parameterSpecs[name] as { readonly default?: number }).default) as number;
  const validation = number("validation");
  const longest = Math.round(shortest * (1 - validation)) - horizon;
  const season = Math.max(...histories.map(({ seasonalPeriod }) => seasonalPeriod));
  const lookback =
    (options.lookback as number | undefined) ?? Math.max(2, Math.min(Math.max(2 * season, horizon, 96), Math.floor(longest / 2)));
  if (lookback > longest)
    throw new OptionError(
      "lookback",
      `${lookback} values and ${horizon} steps to learn are more than the ${longest + horizon} values of the shortest series that are learned from`,
    );
  const patch = (options.patch as number | undefined) ?? Math.min(16, lookback);
  if (patch > lookback) throw new OptionError("patch", `${patch} values are more than the look-back of ${lookback}`);
  const stride = (options.stride as number | undefined) ?? Math.max(1, Math.floor(patch / 2));
  return {
    ...{ lookback, patch, stride, validation, description: (options.description as string | undefined) ?? "" },
    ...{ words: number("words"), prototypes: number("prototypes"), width: number("width"), heads: number("heads") },
    ...{ headSize: number("headSize"), features: number("features"), steps: number("steps"), batch: number("batch") },
    ...{ learningRate: number("learningRate"), readout: number("readout"), seed: number("seed") },
    languageModel: (options.languageModel as string | undefined) ?? parameterSpecs.languageModel.default,
    blocks: options.blocks as number | undefined,
    threads: (options.threads as number | undefined) ?? Math.min(64, availableParallelism()),
  };
}
