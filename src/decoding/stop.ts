import type { TokenId } from "../token.ts";
import { Detokenizer, type Tokenizer } from "../tokenizer/index.ts";

/**
 * Why an answer ended. "stop": the model or the caller's stop says it is complete; "length": maxTokens; "deadline": deadlineMs.
 * OpenAI's `finish_reason` has the first two under the same names; a deadline is its "length". An aborted run has no answer: it
 * throws the signal's reason.
 */
export type FinishReason = "stop" | "length" | "deadline";

/** What ended an answer whose reason is "stop". */
export type StoppedBy =
  | { readonly kind: "end-token"; readonly token: TokenId }
  | { readonly kind: "stop-token"; readonly token: TokenId }
  | { readonly kind: "stop-text"; readonly text: string };

export type Ending = { readonly reason: "length" | "deadline" } | { readonly reason: "stop"; readonly by: StoppedBy };

export interface StopRules {
  /** Tokens that end an answer as the vocabulary says. */
  readonly endTokens: ReadonlySet<TokenId>;
  readonly stopTokens: ReadonlySet<TokenId>;
  /** None empty. */
  readonly stopTexts: readonly string[];
  readonly maxTokens: number;
}

/**
 * The text of one answer as its tokens arrive: what may be shown, and when it is over. Forks with its branch. A token that
 * ends the answer gives no text; a stop text and everything after it never comes out.
 */
export class AnswerText {
  readonly #rules: StopRules;
  readonly #detokenizer: Detokenizer;
  readonly #stopTexts: StopTextMatcher;
  #numTokens: number;

  private constructor(rules: StopRules, detokenizer: Detokenizer, stopTexts: StopTextMatcher, numTokens: number) {
    this.#rules = rules;
    this.#detokenizer = detokenizer;
    this.#stopTexts = stopTexts;
    this.#numTokens = numTokens;
  }

  static start(tokenizer: Tokenizer, rules: StopRules): AnswerText {
    return new AnswerText(rules, new Detokenizer(tokenizer), new StopTextMatcher(rules.stopTexts), 0);
  }

  /** The text that is certain with this token, and the ending if the token brings one. */
  push(token: TokenId): { readonly text: string; readonly ending?: Ending } {
    this.#numTokens++;
    const { endTokens, stopTokens, maxTokens } = this.#rules;
    for (const [kind, tokens] of [["end-token", endTokens] as const, ["stop-token", stopTokens] as const]) {
      if (tokens.has(token)) return { text: this.flush(), ending: { reason: "stop", by: { kind, token } } };
    }
    const { text, found } = this.#stopTexts.push(this.#detokenizer.push(token));
    if (found !== undefined) return { text, ending: { reason: "stop", by: { kind: "stop-text", text: found } } };
    return this.#numTokens < maxTokens ? { text } : { text: text + this.flush(), ending: { reason: "length" } };
  }

  /** The text held back so far, when the answer ends without more tokens. An unfinished character is U+FFFD. */
  flush(): string {
    const { text, found } = this.#stopTexts.push(this.#detokenizer.flush());
    return found === undefined ? text + this.#stopTexts.flush() : text;
  }

  fork(): AnswerText {
    return new AnswerText(this.#rules, this.#detokenizer.fork(), this.#stopTexts.fork(), this.#numTokens);
  }
}

/**
 * Finds the first of several texts in a stream of text, wherever it is cut. Text that may become one is held back; everything
 * else comes out at once. Where two end at the same character, the longer one counts. Linear in the text (Knuth, Morris &
 * Pratt 1977), for each stop text.
 */
export class StopTextMatcher {
  readonly #patterns: readonly { readonly text: string; readonly borders: Int32Array }[];
  /** For each stop text, how many of its characters the text so far ends with. */
  readonly #matched: number[];
  /** What is held back: as long as the longest of `#matched`. */
  #held = "";

  constructor(stopTexts: readonly string[]) {
    // longest first: of those that end together, the first one found is the longest
    this.#patterns = [...stopTexts].sort((a, b) => b.length - a.length).map((text) => ({ text, borders: bordersOf(text) }));
    this.#matched = this.#patterns.map(() => 0);
  }

  push(text: string): { readonly text: string; readonly found?: string } {
    if (this.#patterns.length === 0 || text === "") return { text };
    const all = this.#held + text;
    for (let at = this.#held.length; at < all.length; at++) {
      const found = this.#patterns.find((pattern, index) => this.#advance(index, all.charCodeAt(at)) === pattern.text.length);
      if (found !== undefined) {
        this.#held = "";
        return { text: all.slice(0, at + 1 - found.text.length), found: found.text };
      }
    }
    const end = all.length - Math.max(...this.#matched);
    this.#held = all.slice(end);
    return { text: all.slice(0, end) };
  }

  /** What is held back; nothing will follow. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    this.#matched.fill(0);
    return text;
  }

  fork(): StopTextMatcher {
    const copy = new StopTextMatcher(this.#patterns.map((pattern) => pattern.text));
    copy.#matched.splice(0, this.#matched.length, ...this.#matched);
    copy.#held = this.#held;
    return copy;
  }

  #advance(index: number, code: number): number {
    const { text, borders } = this.#patterns[index]!;
    let matched = this.#matched[index]!;
    while (matched > 0 && text.charCodeAt(matched) !== code) matched = borders[matched - 1]!;
    if (text.charCodeAt(matched) === code) matched++;
    this.#matched[index] = matched;
    return matched;
  }
}

/** For each prefix, the length of its longest proper prefix that is also its suffix. */
function bordersOf(text: string): Int32Array {
  const borders = new Int32Array(text.length);
  for (let at = 1, length = 0; at < text.length; at++) {
    while (length > 0 && text[at] !== text[length]) length = borders[length - 1]!;
    if (text[at] === text[length]) length++;
    borders[at] = length;
  }
  return borders;
}
