import { ChatRenderer } from "../chat/index.ts";
import { chatFormat, encodePrompt, type Prompt, type PromptEncoder } from "../decoding/index.ts";
import type { TokenId } from "../token.ts";
import type { LlamaVocabulary, Tokenizer } from "../tokenizer/index.ts";
import type { GgufFile } from "../weights/index.ts";

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
