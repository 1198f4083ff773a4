import { resolve as resolvePath } from "node:path";
import { type AdapterForm, adapterBase, adapterSize, readAdapter } from "../adapters/index.ts";
import { ChatRenderer, type Message, type Tool } from "../chat/index.ts";
import {
  type AdapterScale,
  type AdapterSpec,
  type AttributeHead,
  Chat,
  type ChatOptions,
  chatFormat,
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
  isotropy,
  type JudgeName,
  type JudgeQuality,
  type LaidOut,
  layOutPrompt,
  type ModelSource,
  type Prompt,
  parseAdapters,
  renderMessages,
  type ScoreChoicesOptions,
  type ScoredChoices,
  type ScoreOptions,
  type ScoreResult,
  type SkipOrder,
  type SkipPart,
  score,
  scoreChoices,
} from "../decoding/index.ts";
import type { CostCurve, Engine, Exit, Sequence } from "../engine/index.ts";
import { DisposedError } from "../errors.ts";
import type { Device } from "../ggml/index.ts";
import { familyOf, type ModelConfig } from "../models/index.ts";
import type { TokenId } from "../token.ts";
import type { LlamaVocabulary, Tokenizer } from "../tokenizer/index.ts";
import type { GgufFile, Weights } from "../weights/index.ts";
import { ModelsBeside, type OpenBeside, within } from "./beside.ts";
import type { LoadOptions } from "./load.ts";
import { calibrationText, Measurements, type SkipOrderOptions } from "./measurements.ts";
import { type RegisteredMaps, registerTransferMaps } from "./transfer-maps.ts";

interface ModelParts {
  readonly name: string;
  readonly home: string;
  readonly options: LoadOptions;
  readonly openBeside: OpenBeside;
  readonly ownsDevice: boolean;
  readonly file: GgufFile;
  readonly device: Device;
  readonly weights: Weights;
  readonly engine: Engine;
  readonly tokenizer: LlamaVocabulary;
  readonly loadMs: number;
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
  readonly #measurements: Measurements;
  readonly #beside: ModelsBeside;
  #transferMaps: Promise<RegisteredMaps> | undefined;
  readonly #adapters = new Map<string, AdapterFacts>();
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
      skipOrder: (part, options) => this.skipOrder(part, options),
      transferMaps: async () => {
        this.#transferMaps ??= registerTransferMaps(engine, parts).catch((error: unknown) => {
          this.#transferMaps = undefined; // they may be trained meanwhile
          throw error;
        });
        return (await this.#transferMaps).chain;
      },
      costCurve: (options) => this.costCurve(options),
      ...(engine.model.position === undefined ? { exits: (options) => this.exits(options) } : {}),
      attributeHead: async (name) => this.attributeHead(name),
      judgeQuality: (judge, options) => this.judgeQuality(judge, options),
      heldOutRanking: async (adapter) => {
        const result = adapter === undefined ? this.path : this.#adapters.get(adapter)?.path;
        return result === undefined ? undefined : (await import("../training/index.ts")).heldOutRanking(result);
      },
      chat: chatFormat(file, tokenizer, this.#renderer),
      beside: async (name, options) =>
        name.startsWith("adapter:")
          ? this.withAdapters(name.slice("adapter:".length))[decodingModel]
          : (await within(this.#beside.model(name), options.signal))[decodingModel],
    };
    const { device, home, options, openBeside } = parts;
    this.#measurements = new Measurements(this.#decoding, { engine, device, home, onNotice: options.onNotice });
    this.#beside = new ModelsBeside(this, { ...options, home }, openBeside);
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

  /** Which of several continuations of a prompt it finds most probable: multiple choice. */
  async scoreChoices(prompt: Prompt, choices: readonly string[], options: ScoreChoicesOptions = {}): Promise<ScoredChoices> {
    return scoreChoices(this.#alive(), prompt, choices, options);
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

  /** Messages as the text that the model's template makes of them. @throws OptionError, TemplateError, also where the model has none */
  async render(messages: readonly Message[], options: { addGenerationPrompt?: boolean } = {}): Promise<string> {
    return renderMessages(this.#alive(), messages, options);
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
    const only = adapters.length === 1 ? adapters[0]!.name : undefined;
    const heldOutRanking = async (name = only) => (name === undefined ? undefined : own.heldOutRanking!(name));
    return { [decodingModel]: { ...own, name: `${this.name} with ${key}`, hash: `${own.hash}+${key}`, sequence, heldOutRanking } };
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
   *
   * @param options.entries  length of the sequence that the passes continue, since longer ones make further rows dearer: times are measured after 128, 512
   *                         and 2,048 tokens, as the context allows, and are linear between; before the first and after the last they are those. Default: 0
   * @throws OptionError for entries that are no whole number
   */
  costCurve(options: { signal?: AbortSignal; remeasure?: boolean; entries?: number } = {}): Promise<CostCurve> {
    this.#alive();
    return this.#measurements.costCurve(options);
  }

  /**
   * What the model is worth left after a quarter and after half of its blocks: measured at the first call on a text of ours (a second or two)
   * and kept in the home folder. What `draft: "auto"` decides by whether the model may draft for itself.
   */
  exits(options: { signal?: AbortSignal; remeasure?: boolean } = {}): Promise<readonly Exit[]> {
    this.#alive();
    return this.#measurements.exits(options);
  }

  /**
   * In which order the model does without its feed-forward halves (what `skip: "ffn"` goes by) or whole blocks (`layers`), and what that
   * costs in nats per token. Of SmolLM2's files this comes with the package; of others it is measured at the first call on a text of ours
   * (minutes) or on `text`, and kept in the home folder.
   */
  skipOrder(part: SkipPart, options: SkipOrderOptions = {}): Promise<SkipOrder> {
    this.#alive();
    return this.#measurements.skipOrder(part, options);
  }

  /**
   * Fits a head that says of an answer under way how probable it is not to degenerate into repeating itself, on continuations that the
   * model writes for it (two minutes for the default model on two cores), and keeps it in the home folder by `name`. What
   * `search: "conditional-beam,head=NAME"` reads.
   */
  async fitAttribute(name: string, options: FitAttributeOptions = {}): Promise<AttributeHead> {
    const head = await fitAttribute(this.#alive(), name, options);
    this.#measurements.keepAttributeHead(name, head);
    return head;
  }

  /** A head that was fitted for this model's file; undefined where there is none by that name. */
  attributeHead(name: string): AttributeHead | undefined {
    return this.#measurements.attributeHead(name);
  }

  /**
   * How well a judge of `best-of` and `rewind` tells good answers from bad ones, on pairs of ours: measured at the first call (half a minute
   * for the default model on two cores) and kept in the home folder.
   */
  judgeQuality(judge: JudgeName, options: { signal?: AbortSignal; remeasure?: boolean } = {}): Promise<JudgeQuality> {
    this.#alive();
    return this.#measurements.judgeQuality(judge, options);
  }

  /** How differently the model's states point, on a text of ours or on `text`. */
  async isotropy({ text = calibrationText, ...options }: IsotropyOptions & { readonly text?: string } = {}): Promise<IsotropyReport> {
    return isotropy(this.#alive(), this.tokenize(text), options);
  }

  /**
   * Moves to host memory the cache of every run that has asked for nothing for so long (its reader is slow, say), so that others needn't
   * wait for its place. It comes back bit for bit when the run goes on.
   *
   * @returns how many places in the cache became free
   */
  setAside(options: { idleMs: number }): number {
    this.#alive();
    return [...this.#beside.loaded.values()].reduce((sum, other) => sum + other.setAside(options), this.#parts.engine.setAside(options));
  }

  /**
   * Bytes of weights, cache (touched as it fills), prefixes kept in it, compiled programs, and streams put aside in host memory; passes so far; and the same of
   * each model loaded beside it.
   */
  memory(): ModelMemory {
    this.#alive();
    const { engine, weights } = this.#parts;
    const beside = Object.fromEntries([...this.#beside.loaded].map(([name, model]) => [name, model.memory()]));
    return { weightsBytes: weights.sizeBytes, ...engine.statistics(), beside };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { engine, weights, tokenizer, device, ownsDevice, file } = this.#parts;
    await this.#beside.close(new DisposedError(`the model ${this.name}`));
    this.#renderer[Symbol.dispose]();
    await engine[Symbol.asyncDispose]();
    (await this.#transferMaps?.catch(() => undefined))?.matrices[Symbol.dispose]();
    for (const one of [weights, tokenizer, ...(ownsDevice ? [device] : []), file]) one[Symbol.dispose]();
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
