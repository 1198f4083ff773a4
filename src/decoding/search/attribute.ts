import type { TokenId } from "../../token.ts";
import type { Guide, GuideState } from "../guidance/guide.ts";

/**
 * Attributes of a finished answer that a single token can make unattainable. Each is a mask: it leaves the tokens after which the
 * answer may still have the attribute, so that no probability is lost but that of answers which have it not.
 */

/** Only answers of `min` to `max` tokens, the token that ends them not counted. */
export function ofLength(min: number, max: number): Guide {
  return {
    name: "length",
    weight: 1,
    start(_prompt, { stop }) {
      const ends = new Set([...stop.endTokens, ...stop.stopTokens]);
      return new Counted([], (token, tokens) => (ends.has(token) ? tokens.length >= min : tokens.length < max));
    },
  };
}

/** Only answers that hold no sequence of `n` tokens twice. The prompt does not count. */
export function withoutRepeated(n: number): Guide {
  return {
    name: "no-repeat",
    weight: 1,
    start: () => new Counted([], (token, tokens) => !repeats(n, tokens, token)),
  };
}

/** Whether the last n - 1 tokens and this one stand among the tokens already. */
function repeats(n: number, tokens: readonly TokenId[], token: TokenId): boolean {
  const first = tokens.length - n + 1; // of the sequence that the token would end
  for (let at = 0; at < first; at++) {
    if (tokens[at + n - 1] !== token) continue;
    let same = 0;
    while (same < n - 1 && tokens[at + same] === tokens[first + same]) same++;
    if (same === n - 1) return true;
  }
  return false;
}

/** A mask that follows from the answer's tokens alone. */
class Counted implements GuideState {
  readonly #tokens: TokenId[];
  readonly #allows: (token: TokenId, tokens: readonly TokenId[]) => boolean;

  constructor(tokens: TokenId[], allows: (token: TokenId, tokens: readonly TokenId[]) => boolean) {
    this.#tokens = tokens;
    this.#allows = allows;
  }

  touches(): "lowers" {
    return "lowers";
  }

  apply({ ids, logits, size }: Parameters<GuideState["apply"]>[0]): void {
    for (let place = 0; place < size; place++) {
      if (!this.#allows(ids[place]! as TokenId, this.#tokens)) logits[place] = Number.NEGATIVE_INFINITY;
    }
  }

  advance(token: TokenId): void {
    this.#tokens.push(token);
  }

  rewind(length: number): void {
    this.#tokens.length = length;
  }

  fork(): Counted {
    return new Counted([...this.#tokens], this.#allows);
  }
}
