import type { TokenId } from "../token.ts";

/** Text ↔ token ids. Pure values on both sides, whatever implements it. */
export interface Tokenizer {
  readonly vocabSize: number;
  /** Beginning-of-sequence token, when the vocabulary has one. */
  readonly bos: TokenId | undefined;
  readonly eos: TokenId | undefined;
  /** Whether text continued as it stands gets BOS put before it, as the file says. */
  readonly addBos: boolean;
  /** Every token that ends an answer (end of text, end of turn …). */
  readonly endTokens: ReadonlySet<TokenId>;
  /** The action that takes the last token back, when the model was trained with one. */
  readonly backspace?: TokenId | undefined;
  /**
   * @param options.special  parse special tokens written in the text (`<|im_start|>`) as such; default false
   * @param options.bos      put BOS before the text; default {@link addBos}
   * @throws ContextOverflowError for text longer than the context could hold; lone surrogates become U+FFFD
   */
  encode(text: string, options?: { special?: boolean; bos?: boolean }): TokenId[];
  /** Bytes of one token: may be part of a UTF-8 character. Special tokens give their written form, or nothing if `special` is false. */
  piece(token: TokenId, options?: { special?: boolean }): Uint8Array;
  /** Ids to text; bytes that are not UTF-8 become U+FFFD. Default `special: false`: special tokens are left out. */
  decode(tokens: readonly TokenId[], options?: { special?: boolean }): string;
}
