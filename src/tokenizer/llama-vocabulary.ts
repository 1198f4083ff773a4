import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContextOverflowError, NativeError, OptionError } from "../errors.ts";
import { loadNative, type Native, Owner, type Pointer } from "../ggml/index.ts";
import { type TokenId, tokenId } from "../token.ts";
import { checkVocabulary, type GgufFile, headerOnlyCopy, type VocabularyFacts } from "../weights/index.ts";
import { recursesOnWords, refuseLongStretches } from "./pre-tokenizers.ts";
import type { Tokenizer } from "./tokenizer.ts";

const space = 0x20;
const maxTextBytes = 4 * 1024 * 1024;

export interface LlamaVocabularyOptions {
  /** Tokens that fit in the context: bounds the texts that are worth encoding. */
  readonly contextLength: number;
}

/** The call that reads a vocabulary. */
interface VocabularyCall {
  readonly native: Native;
  readonly path: string;
  readonly params: Parameters<Native["llama_model_load_from_file"]>[1];
}

/** A token's bytes; special tokens have a written form that is part of the text only when asked for. */
interface Piece {
  readonly bytes: Uint8Array;
  readonly isSpecial: boolean;
}

/**
 * The vocabulary of a GGUF file, driven by libllama: the very code that the file was made for. libllama sees neither the file
 * nor a text that our own checks have not passed, since a failed check of its own ends the process.
 */
export class LlamaVocabulary extends Owner implements Tokenizer {
  readonly vocabSize: number;
  readonly bos: TokenId | undefined;
  readonly eos: TokenId | undefined;
  readonly addBos: boolean;
  readonly endTokens: ReadonlySet<TokenId>;
  readonly backspace: TokenId | undefined;
  readonly #native: Native;
  readonly #model: Pointer<"llama_model">;
  readonly #vocabulary: Pointer<"llama_vocab">;
  readonly #contextLength: number;
  readonly #longestTokenBytes: number;
  readonly #recursesOnWords: boolean;
  readonly #pieces: (Piece | undefined)[]; // filled as tokens come up
  readonly #addsSpacePrefix: boolean;

  /**
   * Loads the vocabulary on a thread of the pool, so that weights can be read meanwhile. Needs 40 ms for 30,000 tokens, 1.3 s
   * for 262,000.
   *
   * @throws FormatError, UnsupportedError for a vocabulary that libllama must not see; NativeError if it still refuses it
   */
  static async load(file: GgufFile, options: LlamaVocabularyOptions): Promise<LlamaVocabulary> {
    const steps = LlamaVocabulary.#steps(file, options);
    const { native, path, params } = steps.next().value as VocabularyCall;
    return await native.async("llama_model_load_from_file", path, params).then(
      (model) => steps.next(model).value as LlamaVocabulary,
      (error) => steps.throw(error).value as never,
    );
  }

  /** {@link load} on the calling thread. */
  static loadSync(file: GgufFile, options: LlamaVocabularyOptions): LlamaVocabulary {
    const steps = LlamaVocabulary.#steps(file, options);
    const { native, path, params } = steps.next().value as VocabularyCall;
    return steps.next(native.llama_model_load_from_file(path, params)).value as LlamaVocabulary;
  }

  /** What is to be done before and after the one call that takes long. libllama reads a file, so it gets one of its own: the checked metadata and nothing else. */
  static *#steps(
    file: GgufFile,
    { contextLength }: LlamaVocabularyOptions,
  ): Generator<VocabularyCall, LlamaVocabulary, Pointer<"llama_model"> | null> {
    if (!Number.isSafeInteger(contextLength) || contextLength < 1) {
      throw new OptionError("contextLength", `must be a positive integer, got ${contextLength}`);
    }
    const facts = checkVocabulary(file);
    const recurses = recursesOnWords(facts);
    const native = loadNative();
    native.llama_log_set(native.libc("abs"), null); // a native no-op: its log lines are no part of our output
    const folder = mkdtempSync(join(tmpdir(), "chainrule-vocabulary-"));
    let model: Pointer<"llama_model"> | null;
    try {
      const path = join(folder, "vocabulary.gguf");
      headerOnlyCopy(file, path);
      model = yield { native, path, params: { ...native.llama_model_default_params(), vocab_only: true, n_gpu_layers: 0 } };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    if (model === null) throw new NativeError(`${file.path}: libllama refuses the vocabulary`);
    try {
      return new LlamaVocabulary(native, model, facts, recurses, contextLength, backspaceTokenOf(file));
    } catch (error) {
      native.llama_model_free(model);
      throw error;
    }
  }

  private constructor(
    native: Native,
    model: Pointer<"llama_model">,
    facts: VocabularyFacts,
    recurses: boolean,
    contextLength: number,
    backspace: TokenId | undefined,
  ) {
    super("the vocabulary");
    this.backspace = backspace;
    this.#native = native;
    this.#model = model;
    this.#vocabulary = native.llama_model_get_vocab(model);
    this.#contextLength = contextLength;
    this.#longestTokenBytes = facts.longestTokenBytes;
    this.#recursesOnWords = recurses;
    this.vocabSize = facts.vocabSize;
    this.#pieces = new Array(facts.vocabSize);
    const optional = (id: number) => (id < 0 ? undefined : tokenId(id, this.vocabSize));
    this.bos = optional(native.llama_vocab_bos(this.#vocabulary));
    this.eos = optional(native.llama_vocab_eos(this.#vocabulary));
    this.addBos = this.bos !== undefined && native.llama_vocab_get_add_bos(this.#vocabulary);
    const endTokens = new Set<TokenId>();
    for (let id = 0; id < this.vocabSize; id += 1) {
      if (native.llama_vocab_is_eog(this.#vocabulary, id)) endTokens.add(id as TokenId);
    }
    this.endTokens = endTokens;
    const [first] = this.#tokenize(Buffer.from("a"), false);
    this.#addsSpacePrefix = first !== undefined && this.#piece(first).bytes[0] === space;
  }

  /**
   * @throws ContextOverflowError for a text of more bytes than a full context of the longest tokens; RangeError for more than 4 MiB; or, with a
   *         pre-tokenizer that recurses, for one with a word of more than 2,048 characters; OptionError for `bos: true` where
   *         the vocabulary has none; DisposedError
   */
  encode(text: string, options: { readonly special?: boolean; readonly bos?: boolean } = {}): TokenId[] {
    this.assertAlive();
    const { special = false, bos = this.addBos } = options;
    if (bos && this.bos === undefined) throw new OptionError("bos", "this model's vocabulary has no BOS token");
    const limit = Math.min(this.#contextLength * this.#longestTokenBytes, maxTextBytes);
    const sizeBytes = text.length > limit ? text.length : Buffer.byteLength(text); // UTF-8 has no fewer bytes than UTF-16 has units
    if (sizeBytes > limit) {
      const message = `the text has ${sizeBytes} bytes or more; ${limit} are the most that a context of ${this.#contextLength} tokens could hold`;
      const neededTokens = Math.ceil(sizeBytes / this.#longestTokenBytes);
      if (neededTokens > this.#contextLength) throw new ContextOverflowError(message, { neededTokens, contextLength: this.#contextLength });
      throw new RangeError(`the text has ${sizeBytes} bytes or more; ${limit} are the most that are taken as one text`);
    }
    if (this.#recursesOnWords) refuseLongStretches(text);
    const tokens = this.#tokenize(Buffer.from(text), special);
    return bos ? [this.bos!, ...tokens] : tokens;
  }

  piece(token: TokenId, options: { readonly special?: boolean } = {}): Uint8Array {
    this.assertAlive();
    const { bytes, isSpecial } = this.#piece(tokenId(token, this.vocabSize));
    return isSpecial && options.special !== true ? bytes.subarray(0, 0) : bytes;
  }

  /** Of the space that some vocabularies put before every text, the first piece is freed. */
  decode(tokens: readonly TokenId[], options: { readonly special?: boolean } = {}): string {
    const bytes = Buffer.concat(tokens.map((token) => this.piece(token, options)));
    return bytes.toString("utf8", this.#addsSpacePrefix && bytes[0] === space ? 1 : 0);
  }

  protected release(): void {
    this.#native.llama_model_free(this.#model);
  }

  #tokenize(bytes: Buffer, special: boolean): TokenId[] {
    if (bytes.length === 0) return [];
    let tokens = new Int32Array(bytes.length + 8); // enough unless a space takes three byte tokens
    const call = () => this.#native.llama_tokenize(this.#vocabulary, bytes, bytes.length, tokens, tokens.length, false, special);
    let count = call();
    if (count < 0) {
      tokens = new Int32Array(-count);
      count = call();
    }
    if (count < 0) throw new NativeError(`internal: llama_tokenize gave ${count} for ${bytes.length} bytes`);
    return Array.from(tokens.subarray(0, count)) as TokenId[];
  }

  #piece(token: TokenId): Piece {
    const known = this.#pieces[token];
    if (known !== undefined) return known;
    const plain = this.#pieceBytes(token, false);
    const written = plain.length > 0 ? plain : this.#pieceBytes(token, true);
    const piece = { bytes: written, isSpecial: written.length > plain.length };
    this.#pieces[token] = piece;
    return piece;
  }

  #pieceBytes(token: TokenId, special: boolean): Uint8Array {
    let bytes = new Uint8Array(64);
    const call = () => this.#native.llama_token_to_piece(this.#vocabulary, token, bytes, bytes.length, 0, special);
    let length = call();
    if (length < 0) {
      bytes = new Uint8Array(-length);
      length = call();
    }
    if (length < 0) throw new NativeError(`internal: llama_token_to_piece gave ${length} for token ${token}`);
    return bytes.slice(0, length);
  }
}

/** Where a model file says which token takes the last one back. Ours alone: libllama reads past it. */
export const backspaceKey = "tokenizer.chainrule.backspace_token_id";

function backspaceTokenOf({ metadata }: GgufFile): TokenId | undefined {
  const vocabSize = metadata.requireStrings("tokenizer.ggml.tokens").length;
  return metadata.getInteger(backspaceKey, { min: 0, max: vocabSize - 1 }) as TokenId | undefined;
}
