import { OptionError } from "../../../errors.ts";
import { Device, Owner } from "../../../ggml/index.ts";
import { familyOf, type Transformer, type WeightSource } from "../../../models/index.ts";
import { input, Program } from "../../../tensor/index.ts";
import { LlamaVocabulary } from "../../../tokenizer/index.ts";
import { type GgufFile, Metadata, openGguf, TrainingWeights } from "../../../weights/index.ts";

export interface FrozenModelOptions {
  readonly threads: number;
  /** How many of the first blocks run; default all. */
  readonly blocks?: number | undefined;
  /** Whether gradients will go through it; default false. */
  readonly isTrainedThrough?: boolean;
}

/** In place of a model's path: no blocks and no norm, the states are the embeddings. What forecasts without a language model are compared with. */
export const noModel = "none";
const noModelWidth = 576; // SmolLM2's

const normalToken = 1; // GGUF's token types

/**
 * A language model whose weights stay as they are, to be run over embeddings: frozen matrices in f32, so that training and forecasting
 * compute the same numbers. Of the head nothing is loaded.
 */
export class FrozenModel extends Owner {
  readonly device: Device;
  readonly model: Transformer;
  /** Of the file; what was trained over one model is of no use over another. */
  readonly fingerprint: string;
  readonly #file: GgufFile | undefined;
  readonly #weights: TrainingWeights | undefined;
  #vocabulary: LlamaVocabulary | undefined;

  /** Yields to the event loop while it reads. @throws FormatError, UnsupportedError, OptionError, the signal's reason */
  static async open(path: string, options: FrozenModelOptions, signal?: AbortSignal): Promise<FrozenModel> {
    const frozen = new FrozenModel(path, options);
    try {
      await frozen.#weights?.load({ signal });
      return frozen;
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
  }

  static openSync(path: string, options: FrozenModelOptions): FrozenModel {
    const frozen = new FrozenModel(path, options);
    try {
      frozen.#weights?.loadSync();
      return frozen;
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(path: string, { threads, blocks, isTrainedThrough = false }: FrozenModelOptions) {
    super("a frozen language model");
    this.device = Device.create("cpu", threads);
    if (path === noModel) {
      this.fingerprint = noModel;
      this.model = identity();
      return;
    }
    try {
      this.#file = openGguf(path);
      this.fingerprint = this.#file.fingerprint();
      const { metadata } = this.#file;
      const family = familyOf(metadata.requireString("general.architecture"));
      this.#weights = TrainingWeights.open(this.device, this.#file, { frozen: "f32", transposed: isTrainedThrough });
      this.model = family.build(withBlocks(metadata, family.configure(metadata).blocks.length, blocks), withoutHead(this.#weights));
    } catch (error) {
      this.release();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#weights?.sizeBytes ?? 0;
  }

  get hasVocabulary(): boolean {
    return this.#file !== undefined;
  }

  /** Token ids of a text, as the model's own vocabulary has them. */
  encode(text: string): readonly number[] {
    if (this.#file === undefined) throw new OptionError("languageModel", `"${noModel}" reads no text`);
    this.#vocabulary ??= LlamaVocabulary.loadSync(this.#file, { contextLength: this.model.config.contextLength });
    return this.#vocabulary.encode(text);
  }

  /**
   * Tokens of text, the most frequent first, as the vocabulary's training found them: it joins the most frequent pairs first. Single characters,
   * which it begins with in the order of their codes, are left out.
   */
  frequentTokens(count: number): Int32Array {
    if (this.#file === undefined) throw new OptionError("languageModel", `"${noModel}" reads no text`);
    const { metadata } = this.#file;
    const types = metadata.getNumbers("tokenizer.ggml.token_type");
    const isText = (token: string, id: number) => (types === undefined || types[id] === normalToken) && [...token].length > 1;
    const found: number[] = [];
    for (const [id, token] of [...metadata.requireStrings("tokenizer.ggml.tokens")].entries())
      if (found.length < count && isText(token, id)) found.push(id);
    if (found.length === 0) throw new OptionError("languageModel", `${this.#file.path} has no token of more than one character`);
    return Int32Array.from(found);
  }

  /** Embeddings of tokens: [ids.length, C]. @throws RangeError for an id outside the vocabulary, or none at all */
  embeddingsOf(ids: Int32Array): Float32Array {
    const { vocabSize } = this.model.config;
    if (ids.length === 0 || ids.some((id) => id < 0 || id >= vocabSize))
      throw new RangeError(`expected at least one token id, each in [0, ${vocabSize}), got ${ids.length === 0 ? "none" : "others"}`);
    using program = Program.compile(this.device, { rows: this.model.embed(input("ids", "i32", [ids.length])) });
    program.input<"i32">("ids").set(ids);
    program.runSync();
    return program.read("rows");
  }

  /** The mean length of token embeddings, so that other inputs come in the size that the model knows; 1 without a model. */
  embeddingLength(): number {
    if (this.#file === undefined) return 1;
    const { vocabSize, hiddenSize } = this.model.config;
    const count = Math.min(1024, vocabSize);
    const rows = this.embeddingsOf(Int32Array.from({ length: count }, (_, i) => Math.floor((i * vocabSize) / count)));
    let sum = 0;
    for (let row = 0; row < count; row++) sum += Math.hypot(...rows.subarray(row * hiddenSize, (row + 1) * hiddenSize));
    return sum / count;
  }

  protected release(): void {
    this.#vocabulary?.[Symbol.dispose]();
    this.#weights?.[Symbol.dispose]();
    this.#file?.[Symbol.dispose]();
    this.device[Symbol.dispose]();
  }
}

function identity(): Transformer {
  const config = { architecture: noModel, vocabSize: 1, hiddenSize: noModelWidth, contextLength: 2 ** 20, blocks: [] };
  const refuse = () => {
    throw new OptionError("languageModel", `"${noModel}" reads no text`);
  };
  return { config, embed: refuse, blocks: [], norm: (x) => x, head: refuse };
}

/** The metadata of a model with its first blocks only. */
function withBlocks(metadata: Metadata, of: number, blocks: number | undefined): Metadata {
  if (blocks === undefined || blocks === of) return metadata;
  if (blocks > of) throw new OptionError("blocks", `the language model has ${of} blocks, ${blocks} were asked for`);
  const entries = [...metadata].map(([key, value]) =>
    key.endsWith(".block_count") ? ([key, { type: "uint32", value: blocks }] as const) : ([key, value] as const),
  );
  return new Metadata(metadata.file, entries);
}

/** A shared embedding is then kept as a table alone, without copies to multiply with. */
function withoutHead(weights: TrainingWeights): WeightSource {
  const isHead = (name: string) => name === "output.weight" || name === "token_embd.weight";
  return {
    get: (name, shape) => (isHead(name) ? weights.table(name, shape) : weights.get(name, shape)),
    find: (name, shape) => (isHead(name) ? undefined : weights.find(name, shape)),
    table: (name, shape) => weights.table(name, shape),
  };
}
