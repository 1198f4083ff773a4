import type { ChoiceFact, Sequence } from "../engine/index.ts";
import { ContextOverflowError, OptionError, UnsupportedError } from "../errors.ts";
import { type TokenId, tokenId } from "../token.ts";
import { type AdapterScale, type AdapterSpec, parseAdapters } from "./adapters.ts";
import type { Draft } from "./drafting/draft.ts";
import type { Explainer } from "./explaining/explainer.ts";
import type { Guide } from "./guidance/guide.ts";
import {
  checkParameter,
  describeRange,
  integer,
  isParameter,
  type Method,
  type MethodSpec,
  modelsOf,
  number,
  type Parameter,
  type ParsedMethod,
  parseMethod,
  show,
} from "./method.ts";
import { type DecodingModel, isModelSource, type ModelSource, type SequenceOptions } from "./model.ts";
import { nothingDrawn, refusalOf } from "./refusal.ts";
import { registry } from "./registry.ts";
import { randomDraw } from "./sampling/random-draw.ts";
import type { ChoiceRule, Sampler, Shape } from "./sampling/sampler.ts";
import type { StepRules } from "./sampling/step.ts";
import type { Search } from "./search/search.ts";
import type { Skip } from "./skipping/skip.ts";
import type { StopRules } from "./stop.ts";

/**
 * Options of `generate()`. Unknown, out-of-range and contradictory ones are refused by an OptionError that names them.
 *
 * Without a sampling option the answer is greedy, so that it is the same every time. With one (`temperature` > 0, `topK`,
 * `topP`, `minP`, `typical`, `seed`, `sample`) it is drawn at random, at temperature 1 unless said otherwise.
 */
export interface GenerateOptions {
  /** Most tokens of the answer, >= 0. Default 256, or what the context leaves if that is less. */
  readonly maxTokens?: number;

  /** In [0, 100]; 0 is greedy, and then a truncation that would do nothing is refused. */
  readonly temperature?: number;
  /** Keep the k most probable tokens; 0 is off. */
  readonly topK?: number;
  /** Keep the most probable tokens up to this mass, in (0, 1]; 1 is off. */
  readonly topP?: number;
  /** Keep tokens at least so probable relative to the most probable one, in [0, 1]; 0 is off. */
  readonly minP?: number;
  /** Locally typical sampling: mass that stays, in (0, 1]; 1 is off. */
  readonly typical?: number;
  /** Integer in [0, 2^53). Default: drawn, and reported in `facts.choices`. */
  readonly seed?: number;
  /** Samplers in an order of one's own, in place of the five above: `["temperature,value=0.7", "top-p,p=0.9"]`. */
  readonly sample?: MethodSpec | readonly MethodSpec[];

  /** In (0, 10], over prompt and answer; 1 is off. */
  readonly repetitionPenalty?: number;
  /** In [-2, 2], over the answer; 0 is off. */
  readonly presencePenalty?: number;
  /** In [-2, 2], over the answer; 0 is off. */
  readonly frequencyPenalty?: number;
  /** Token id to a number in [-100, 100] that is added to its logit. */
  readonly bias?: Readonly<Record<string, number>>;
  /** Further guides, in their order, after `bias` and the penalties. */
  readonly guide?: MethodSpec | readonly MethodSpec[];
  /** Which weights are changed: adapters that the model has loaded, `"name,scale=0.8"`. Default: none. */
  readonly adapter?: AdapterSpec;
  /** Who guesses ahead, so that one pass gives several tokens; the answer stays the same. Default: nobody. */
  readonly draft?: MethodSpec;
  /** Which half-blocks run, so that a token costs less; the answer changes. Default: all. */
  readonly skip?: MethodSpec;
  /** How branches live and die. Default `path`: one answer, token after token. */
  readonly search?: MethodSpec;
  /** Say afterwards what the answer's tokens owe to the prompt's, in `facts.attribution`; the answer stays the same. Default: nothing. */
  readonly explain?: MethodSpec;

  /** Texts that end the answer and are left out of it: at most 16, none empty. */
  readonly stop?: string | readonly string[];
  /** Further tokens that end the answer. */
  readonly stopTokens?: readonly number[];
  /** Go on past the vocabulary's end tokens: for benchmarks. Default false. */
  readonly ignoreEndTokens?: boolean;
  /** Milliseconds from the call on, > 0; the answer then ends with what there is. */
  readonly deadlineMs?: number;
  /** Ends the run by throwing the signal's reason. */
  readonly signal?: AbortSignal;

  /** Report each token's log-probability and the n most probable ones', n in [0, 64]. */
  readonly logprobs?: number;
  /** The same for the tokens of the prompt. */
  readonly promptLogprobs?: number;
  /** Read special tokens written in a text prompt as such. Default false. */
  readonly parseSpecial?: boolean;
  /** Where runs compete for passes and room in the cache, higher ones go first; an integer in [-100, 100]. Default 0. */
  readonly priority?: number;
  /**
   * The prefix cache hands on what a prompt computed between runs of the same key only, at most 256 characters: a server gives each client its
   * own, since time tells whether a prompt was sent before. Default: one for all that give none.
   */
  readonly prefixKey?: string;
}

/** Options checked and resolved against a model. */
export interface Plan {
  readonly rules: StepRules;
  readonly stop: Omit<StopRules, "maxTokens">;
  readonly maxTokens: number | undefined;
  readonly search: Search;
  readonly draft: Draft | undefined;
  readonly skip: Skip | undefined;
  readonly adapters: readonly AdapterScale[];
  /** Other models that methods name: opened before the run starts. */
  readonly models: readonly ModelSource[];
  readonly explain: Explainer | undefined;
  readonly logprobs: number | undefined;
  readonly promptLogprobs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly parseSpecial: boolean | undefined;
  readonly priority: number | undefined;
  readonly prefixKey: string | undefined;
  readonly choices: readonly ChoiceFact[];
}

type Owner = Pick<Plan, "priority" | "prefixKey">;

/** What every sequence of a run is opened with, also those of other models: how urgent it is, and whose prompts the prefix cache may serve. */
export function ownershipOf({ priority, prefixKey }: Owner): Pick<SequenceOptions, "priority" | "prefixKey"> {
  return { ...(priority === undefined ? {} : { priority }), ...(prefixKey === undefined ? {} : { prefixKey }) };
}

/** What sequences of the model that writes are opened with beside {@link ownershipOf}. */
export function adaptersOf({ adapters }: Pick<Plan, "adapters">): Pick<SequenceOptions, "adapters"> {
  return adapters.length === 0 ? {} : { adapters };
}

/** Opens sequences of the model as a run has it. */
export function sequencesOf(
  model: DecodingModel,
  plan: Owner & Pick<Plan, "adapters">,
  abort: { readonly signal?: AbortSignal },
): (maxLength: number) => Sequence | Promise<Sequence> {
  return (maxLength) => model.sequence({ maxLength, ...ownershipOf(plan), ...adaptersOf(plan), ...abort });
}

const maxLogprobs = 64; // as many candidates as a row has anyway
const maxStopTexts = 16;
const defaultMaxTokens = 256;

/**
 * Options that are short for one parameter of a sampler, in the order in which these run. `off` is the value that does nothing;
 * `beside` what is legal outside the parameter's own range.
 */
const samplerShortcuts = [
  { option: "topK", method: "top-k", parameter: "k", off: 0, beside: ", or 0 for all" },
  { option: "typical", method: "typical", parameter: "p", off: 1 },
  { option: "topP", method: "top-p", parameter: "p", off: 1 },
  { option: "minP", method: "min-p", parameter: "p", off: 0 },
  { option: "temperature", method: "temperature", parameter: "value", off: 1, beside: ", or 0 for greedy" },
] as const;

/** The same for guides. */
const guideShortcuts = [
  { option: "bias", method: "bias", parameter: "values", off: undefined },
  { option: "repetitionPenalty", method: "repetition", parameter: "penalty", off: 1 },
  { option: "presencePenalty", method: "presence", parameter: "penalty", off: 0 },
  { option: "frequencyPenalty", method: "frequency", parameter: "penalty", off: 0 },
] as const;

/** Options beside the shortcuts that hold one number, with their ranges. */
const numberOptions = {
  maxTokens: integer({ min: 0, max: 2 ** 31, doc: "" }),
  seed: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, doc: "" }),
  deadlineMs: number({ min: 0, isMinOpen: true, max: 2 ** 31 - 1, doc: "" }), // what a timer can wait for
  logprobs: integer({ min: 0, max: maxLogprobs, doc: "" }),
  promptLogprobs: integer({ min: 0, max: maxLogprobs, doc: "" }),
  priority: integer({ min: -100, max: 100, doc: "" }),
} satisfies Readonly<Record<string, Parameter>>;

/** The name of every option. */
export const knownOptions: ReadonlySet<string> = new Set([
  ...Object.keys(numberOptions),
  ...samplerShortcuts.map(({ option }) => option),
  ...guideShortcuts.map(({ option }) => option),
  ...[
    "adapter",
    "sample",
    "guide",
    "draft",
    "skip",
    "search",
    "explain",
    "stop",
    "stopTokens",
    "ignoreEndTokens",
    "signal",
    "parseSpecial",
    "prefixKey",
  ],
]);

/** @throws OptionError naming the option, its range and the value */
export function resolveOptions(options: GenerateOptions, model: DecodingModel): Plan {
  const given = options as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries(given)) {
    if (!knownOptions.has(key)) throw new OptionError(key, `is no option; the options are ${[...knownOptions].sort().join(", ")}`);
    if (value !== undefined && Object.hasOwn(numberOptions, key)) {
      checkParameter(numberOptions[key as keyof typeof numberOptions], value, key);
    }
  }
  checkBoolean(given, "ignoreEndTokens");
  checkBoolean(given, "parseSpecial");
  checkPrefixKey(options.prefixKey);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) throw new OptionError("signal", "must be an AbortSignal");

  const choices: ChoiceFact[] = [];
  const { method, values } = parseMethod(registry.search, options.search ?? "path", "search");
  const { shapes, choice } = resolveSamplers(options, method, choices);
  if (method.draws === true && !choice.isRandom) {
    const who = choice.isGreedy ? "greedy decoding" : namesOf(options);
    throw new OptionError("search", `${method.name} and ${who} can't be combined: ${nothingDrawn}`);
  }
  if (!choice.isGreedy && method.refuses?.sample !== undefined) {
    throw new OptionError("search", `${method.name} and ${namesOf(options)} can't be combined: ${method.refuses.sample}`);
  }
  const draft = options.draft === undefined ? undefined : parseMethod(registry.draft, options.draft, "draft");
  if (draft !== undefined && draft.method.isNeutral !== true && method.refuses?.draft !== undefined) {
    throw new OptionError("draft", `${draft.method.name} and search ${method.name} can't be combined: ${method.refuses.draft}`);
  }
  const explain = options.explain === undefined ? undefined : parseMethod(registry.explain, options.explain, "explain");
  const skip = options.skip === undefined ? undefined : parseMethod(registry.skip, options.skip, "skip");
  const refusal = skip !== undefined && draft !== undefined ? refusalOf(skip.method, draft.method) : undefined;
  if (refusal !== undefined)
    throw new OptionError("skip", `${skip!.method.name} and draft ${draft!.method.name} can't be combined: ${refusal}`);
  if (skip !== undefined && (model.blocks === undefined || model.skipOrder === undefined))
    throw new UnsupportedError(`skip: this model has no blocks that ${skip.method.name} could skip`);
  const adapters = parseAdapters(options.adapter, model);
  const guides = parseGuides(options, model);
  const masks = guides.filter((parsed) => parsed.method.masks === true).map(({ method: { name } }) => name);
  if (masks.length > 0 && (options.stop?.length ?? 0) + (options.stopTokens?.length ?? 0) > 0) {
    const because = `a stop text or token ends the answer where it stands, whether or not it is then one of the ${masks[0]}'s`;
    choices.push({ what: "stop", chosen: `may cut what ${masks.join(", ")} rules`, because });
  }
  const stopTokens = new Set((options.stopTokens ?? []).map((token) => checkToken(token, model, "stopTokens")));
  return {
    rules: {
      guides: guides.map((parsed) => parsed.method.create(parsed.values)),
      shapes,
      choice,
      seed: resolveSeed(options.seed, choice, choices),
    },
    stop: {
      endTokens: options.ignoreEndTokens ? new Set() : model.tokenizer.endTokens,
      stopTokens,
      stopTexts: resolveStopTexts(options.stop),
    },
    maxTokens: options.maxTokens,
    adapters,
    search: method.create(values),
    draft: draft?.method.create(draft.values),
    explain: explain?.method.create(explain.values),
    skip: skip?.method.create(skip.values),
    models: [...guides, { method, values }, draft, skip].flatMap((parsed) => (parsed === undefined ? [] : modelsOf(parsed))),
    logprobs: options.logprobs,
    promptLogprobs: options.promptLogprobs,
    deadlineMs: options.deadlineMs,
    signal: options.signal,
    parseSpecial: options.parseSpecial,
    priority: options.priority,
    prefixKey: options.prefixKey,
    choices,
  };
}

/**
 * How many tokens an answer to a prompt of this length may have.
 *
 * @throws ContextOverflowError if the prompt, or it with the `maxTokens` asked for, exceeds the context
 */
export function resolveMaxTokens(maxTokens: number | undefined, promptLength: number, contextLength: number): number {
  const neededTokens = promptLength + (maxTokens ?? 1);
  if (neededTokens > contextLength) {
    const answer = maxTokens === undefined ? "leaves no room for an answer in" : `and maxTokens ${maxTokens} exceed`;
    throw new ContextOverflowError(`a prompt of ${promptLength} tokens ${answer} the context of ${contextLength}`, {
      neededTokens,
      contextLength,
    });
  }
  return maxTokens ?? Math.min(defaultMaxTokens, contextLength - promptLength);
}

function resolveSamplers(options: GenerateOptions, search: Method<Search>, choices: ChoiceFact[]): { shapes: Shape[]; choice: ChoiceRule } {
  const shortcuts = samplerShortcuts.filter(({ option }) => options[option] !== undefined);
  if (options.sample !== undefined) {
    if (shortcuts.length > 0) throw new OptionError(shortcuts[0]!.option, "and sample contradict each other; name it in sample's list");
    return resolveSampleList(list(options.sample));
  }
  const shapes: Shape[] = [];
  const kept: string[] = [];
  for (const shortcut of shortcuts) {
    const value = options[shortcut.option];
    if (value === shortcut.off || (shortcut.option === "temperature" && value === 0)) continue;
    const { method, values } = parseShortcut(registry.sample, shortcut, value);
    shapes.push(method.create(values) as Shape);
    kept.push(shortcut.option);
  }
  const isGreedy = options.temperature === 0 || (shortcuts.length === 0 && options.seed === undefined);
  if (options.temperature !== 0 && isGreedy && search.draws === true) {
    choices.push({ what: "sample", chosen: "drawn at temperature 1", because: `search ${search.name} compares answers that differ` });
    return { shapes, choice: randomDraw };
  }
  if (!isGreedy) return { shapes, choice: randomDraw };
  if (kept.length > 0) {
    throw new OptionError(kept[0]!, `does nothing at temperature 0, which takes the most probable token; leave one of the two out`);
  }
  const because = options.temperature === 0 ? "temperature is 0" : "no sampling option is given";
  choices.push({ what: "sample", chosen: "greedy", because });
  return { shapes, choice: makeSampler("greedy") as ChoiceRule };
}

function resolveSampleList(specs: readonly MethodSpec[]): { shapes: Shape[]; choice: ChoiceRule } {
  if (specs.length === 0) throw new OptionError("sample", "is an empty list; leave it out for greedy decoding");
  const samplers = specs.map((spec) => ({ spec, sampler: makeSampler(spec) }));
  const shapes: Shape[] = [];
  for (const [index, { spec, sampler }] of samplers.entries()) {
    const name = typeof spec === "string" ? spec : spec.name;
    if (sampler.kind === "shape") shapes.push(sampler);
    else if (index < samplers.length - 1) {
      const after = namesOf({ sample: specs.slice(index + 1) });
      throw new OptionError("sample", `${name} and ${after} can't be combined: ${name} chooses the token, so nothing may follow it`);
    } else if (sampler.isGreedy && shapes.length > 0) {
      const before = namesOf({ sample: specs.slice(0, index) });
      throw new OptionError("sample", `${before} and ${name} can't be combined: ${name} leaves nothing to do for the samplers before it`);
    } else return { shapes, choice: sampler };
  }
  return { shapes, choice: randomDraw };
}

/** The samplers that options ask for, for messages. */
function namesOf({ sample, ...options }: GenerateOptions): string {
  const named = (sample === undefined ? [] : list(sample)).map((spec) => (typeof spec === "string" ? spec.split(",")[0]! : spec.name));
  const short = samplerShortcuts.filter(({ option, off }) => options[option] !== undefined && options[option] !== off);
  const names = [...named, ...short.map(({ method }) => method)];
  return names.length === 0 ? "a random draw" : names.join(", ");
}

function makeSampler(spec: MethodSpec): Sampler {
  const { method, values } = parseMethod(registry.sample, spec, "sample");
  return method.create(values);
}

function parseGuides(options: GenerateOptions, model: DecodingModel): ParsedMethod<Guide>[] {
  const guides = guideShortcuts
    .filter(({ option, off }) => options[option] !== undefined && options[option] !== off)
    .map((shortcut) => {
      const parsed = parseShortcut(registry.guide, shortcut, options[shortcut.option]);
      if (shortcut.option === "bias") checkTokens({ bias: options.bias }, model, "bias");
      return parsed;
    });
  for (const spec of options.guide === undefined ? [] : list(options.guide)) {
    const parsed = parseMethod(registry.guide, spec, "guide");
    checkTokens(parsed.values, model, "guide");
    guides.push(parsed);
  }
  return guides.sort((a, b) => Number(b.method.masks ?? false) - Number(a.method.masks ?? false)); // stable: the others keep their order
}

/** Reads a method from a shortcut; what is wrong with the value is said in the shortcut's name. */
function parseShortcut<Made>(
  methods: readonly Method<Made>[],
  shortcut: { readonly option: string; readonly method: string; readonly parameter: string; readonly beside?: string },
  value: unknown,
): ParsedMethod<Made> {
  const parameter = methods.find(({ name }) => name === shortcut.method)!.parameters[shortcut.parameter]!;
  if (!isParameter(parameter, value)) {
    throw new OptionError(shortcut.option, `must be ${describeRange(parameter)}${shortcut.beside ?? ""}, got ${show(value)}`);
  }
  return parseMethod(methods, { name: shortcut.method, [shortcut.parameter]: value }, shortcut.option);
}

/** Maps from token ids must name tokens of the vocabulary. */
function checkTokens(values: Readonly<Record<string, unknown>>, model: DecodingModel, option: string): void {
  for (const value of Object.values(values)) {
    if (typeof value === "object" && value !== null && !isModelSource(value))
      for (const id of Object.keys(value)) checkToken(Number(id), model, option);
  }
}

function checkToken(value: number, model: DecodingModel, option: string): TokenId {
  try {
    return tokenId(value, model.vocabSize);
  } catch (error) {
    throw new OptionError(option, (error as RangeError).message);
  }
}

function resolveStopTexts(stop: GenerateOptions["stop"]): readonly string[] {
  const texts = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(texts)) throw new OptionError("stop", "must be a text or a list of texts");
  if (texts.length > maxStopTexts) throw new OptionError("stop", `holds ${texts.length} texts, at most ${maxStopTexts} are allowed`);
  for (const text of texts) {
    if (typeof text !== "string" || text === "")
      throw new OptionError("stop", `must hold texts that are not empty, got ${JSON.stringify(text)}`);
    if (/\p{Surrogate}/u.test(text)) throw new OptionError("stop", "holds half a character (a lone surrogate), which no answer has");
  }
  return texts;
}

function resolveSeed(seed: number | undefined, choice: ChoiceRule, choices: ChoiceFact[]): number {
  if (!choice.isRandom) {
    const who = choice.isGreedy ? "greedy decoding" : "the sampler";
    if (seed !== undefined) choices.push({ what: "seed", chosen: "unused", because: `${who} draws nothing` });
    return 0;
  }
  if (seed !== undefined) return seed;
  const words = crypto.getRandomValues(new Uint32Array(1));
  choices.push({ what: "seed", chosen: String(words[0]), because: "none was given; give this one for the same answer" });
  return words[0]!;
}

function list<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T];
}

function checkBoolean(given: Readonly<Record<string, unknown>>, option: string): void {
  const value = given[option];
  if (value !== undefined && typeof value !== "boolean") throw new OptionError(option, `must be true or false, got ${String(value)}`);
}

/** @throws OptionError */
export function checkPrefixKey(prefixKey: unknown): void {
  if (prefixKey !== undefined && (typeof prefixKey !== "string" || prefixKey.length > 256))
    throw new OptionError("prefixKey", `must be a text of at most 256 characters, got ${show(prefixKey)}`);
}
