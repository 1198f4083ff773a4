import type { TokenId } from "../token.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Tokens to text, one token at a time. A token may end in the middle of a UTF-8 character: its bytes are held back until the
 * character is whole, so that no half character ever comes out. Bytes that can't become one are U+FFFD as the Encoding Standard
 * prescribes; all text put together is the decoding of all bytes.
 */
export class Detokenizer {
  readonly #tokenizer: Pick<Tokenizer, "piece">;
  readonly #special: boolean;
  #held: Uint8Array = new Uint8Array();

  /** @param options.special  write special tokens out; default false */
  constructor(tokenizer: Pick<Tokenizer, "piece">, options: { readonly special?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#special = options.special ?? false;
  }

  /** The text that is certain with this token; may be empty. */
  push(token: TokenId): string {
    const piece = this.#tokenizer.piece(token, { special: this.#special });
    if (piece.length === 0) return "";
    const bytes = this.#held.length === 0 ? piece : concat(this.#held, piece);
    const end = bytes.length - unfinishedLength(bytes);
    this.#held = bytes.slice(end);
    return decode(bytes.subarray(0, end));
  }

  /** What is held back, as text: an unfinished character is U+FFFD. */
  flush(): string {
    const text = decode(this.#held);
    this.#held = new Uint8Array();
    return text;
  }

  fork(): Detokenizer {
    const copy = new Detokenizer(this.#tokenizer, { special: this.#special });
    copy.#held = this.#held;
    return copy;
  }
}

/** A token alone as text: special tokens written out, a space at its front kept, half a character as U+FFFD. */
export function pieceText(tokenizer: Pick<Tokenizer, "piece">, token: TokenId): string {
  return decode(tokenizer.piece(token, { special: true }));
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

function decode(bytes: Uint8Array): string {
  return bytes.length === 0 ? "" : utf8.decode(bytes);
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

/** How many bytes at the end begin a character that further bytes may finish. */
function unfinishedLength(bytes: Uint8Array): number {
  const limit = Math.min(3, bytes.length);
  for (let count = 1; count <= limit; count++) {
    const lead = bytes[bytes.length - count]!;
    if ((lead & 0xc0) === 0x80) continue; // a continuation byte: the lead is before it
    const length = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xc2 && lead <= 0xdf ? 2 : 1;
    if (length <= count) return 0;
    return count === 1 || mayFollow(lead, bytes[bytes.length - count + 1]!) ? count : 0;
  }
  return 0;
}

/** Whether a lead byte allows this second byte: shortest forms only, no surrogates, nothing above U+10FFFF. */
function mayFollow(lead: number, second: number): boolean {
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second <= 0x9f;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second <= 0x8f;
  return true;
}
