import type { TokenId } from "../../token.ts";
import type { Guide, GuideState } from "./guide.ts";
import { noTerms } from "./model-terms.ts";

/**
 * A guide that changes tokens which have occurred, by how often they did.
 *
 * @param change  the new logit from the old one and the count (>= 1)
 * @param window  which tokens count: of the prompt and the answer, or of the answer alone; and how many of the last, 0 for all; `off` is the
 *                weight that changes nothing
 */
export function countingGuide(
  name: string,
  weight: number,
  change: (logit: number, count: number) => number,
  window: { readonly off: number; readonly countsPrompt: boolean; readonly last: number },
): Guide {
  return {
    name,
    weight,
    start: (prompt) => (weight === window.off ? noTerms : new CountingState(change, window.last, window.countsPrompt ? prompt : [])),
  };
}

class CountingState implements GuideState {
  readonly #change: (logit: number, count: number) => number;
  readonly #last: number;
  /** Tokens that count, oldest first: `#numPrompt` of the prompt, then the generated ones. */
  readonly #tokens: TokenId[];
  readonly #numPrompt: number;
  readonly #counts = new Map<TokenId, number>();
  /** The counted tokens, each once; undefined after one came or went. */
  #touched: readonly TokenId[] | undefined;

  constructor(change: (logit: number, count: number) => number, last: number, prompt: readonly TokenId[]) {
    this.#change = change;
    this.#last = last;
    this.#tokens = [...prompt];
    this.#numPrompt = prompt.length;
    this.#recount();
  }

  touches(): readonly TokenId[] {
    this.#touched ??= [...this.#counts.keys()];
    return this.#touched;
  }

  apply(distribution: Parameters<GuideState["apply"]>[0]): void {
    for (const [token, count] of this.#counts) {
      const place = distribution.indexOf(token);
      if (place !== undefined) distribution.logits[place] = this.#change(distribution.logits[place]!, count);
    }
  }

  advance(token: TokenId): void {
    this.#tokens.push(token);
    this.#count(token, 1);
    if (this.#last > 0 && this.#tokens.length > this.#last) this.#count(this.#tokens.at(-1 - this.#last)!, -1);
  }

  rewind(length: number): void {
    this.#tokens.length = this.#numPrompt + length;
    this.#recount();
  }

  fork(): CountingState {
    const copy = new CountingState(this.#change, this.#last, this.#tokens.slice(0, this.#numPrompt));
    for (const token of this.#tokens.slice(this.#numPrompt)) copy.advance(token);
    return copy;
  }

  #recount(): void {
    this.#counts.clear();
    this.#touched = undefined;
    for (const token of this.#tokens.slice(-this.#last)) this.#count(token, 1); // slice(-0) is everything
  }

  #count(token: TokenId, step: number): void {
    const before = this.#counts.get(token) ?? 0;
    if (before + step === 0) this.#counts.delete(token);
    else this.#counts.set(token, before + step);
    if (before === 0 || before + step === 0) this.#touched = undefined;
  }
}
