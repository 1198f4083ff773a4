import type { TokenId } from "../token.ts";
import { Detokenizer, pieceText, type Tokenizer } from "../tokenizer/index.ts";

export interface Echo {
  /** Of the prompt's first token, which has no log-probability. */
  readonly first: string;
  /** The text that each of the prompt's tokens adds to what is echoed. */
  readonly pieces: readonly string[];
}

/**
 * How a prompt's tokens make up the text that is echoed: what a vocabulary puts before a text (BOS, a space) adds nothing to it.
 * @param text  the prompt as it was sent; undefined for tokens
 */
export function echoOf(tokenizer: Pick<Tokenizer, "bos" | "piece" | "decode">, tokens: readonly TokenId[], text?: string): Echo {
  const echoed = text ?? tokenizer.decode(tokens, { special: true });
  const detokenizer = new Detokenizer(tokenizer, { special: true });
  const pieces = tokens.map((token) => detokenizer.push(token));
  if (tokens[0] === tokenizer.bos && !echoed.startsWith(pieces[0]!)) pieces[0] = "";
  if (pieces.join("") + detokenizer.flush() === ` ${echoed}`) {
    const at = pieces.findIndex((piece) => piece !== "");
    pieces[at] = pieces[at]!.slice(1);
  }
  return { first: pieceText(tokenizer, tokens[0]!), pieces };
}
