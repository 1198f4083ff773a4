import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { integer } from "../method.ts";
import { chain, type DraftLimits, type DraftState, defineDraft, maxDraftTokens, noDraft, type WeighedTree } from "./draft.ts";

/** Earlier places looked at for one draft, from the latest back: those before them are older and rarely better. */
const maxPlaces = 64;

interface Settings {
  readonly nodes: number;
  readonly longest: number;
  readonly shortest: number;
}

/**
 * Looks up the last tokens in prompt and answer: what followed them before is the draft. The longest match counts, of equally
 * long ones the latest. A match that runs into the end goes round: in "ab ab a" it proposes "b ab ab…".
 */
export class NgramState implements DraftState<WeighedTree> {
  readonly #settings: Settings;
  readonly #numPrompt: number;
  readonly #tokens: TokenId[] = [];
  /** Where each run of `shortest` tokens ends, by its tokens, ascending. */
  readonly #places = new Map<string, number[]>();

  constructor(settings: Settings, prompt: readonly TokenId[], numPrompt = prompt.length) {
    this.#settings = settings;
    this.#numPrompt = numPrompt;
    for (const token of prompt) this.advance(token);
  }

  propose({ maxNodes, maxDepth }: DraftLimits): WeighedTree {
    const { nodes, longest } = this.#settings;
    const tokens = this.#tokens;
    const end = tokens.length;
    let best: number | undefined;
    let matchLength = 0;
    const places = this.#places.get(this.#keyAt(end)) ?? [];
    // the last of the places is the end itself
    for (let index = places.length - 2; index >= Math.max(places.length - 1 - maxPlaces, 0); index--) {
      const place = places[index]!;
      let length = 0;
      while (length < longest && length < place && tokens[place - 1 - length] === tokens[end - 1 - length]) length++;
      if (length > matchLength) {
        best = place;
        matchLength = length;
      }
      if (length === longest) break;
    }
    if (best === undefined) return noDraft;
    const count = Math.min(nodes, maxNodes, maxDepth);
    const draft: TokenId[] = [];
    for (let index = 0; index < count; index++) {
      const from = best + index;
      draft.push(from < end ? tokens[from]! : draft[from - end]!);
    }
    // each token that comes makes the match longer
    return { ...chain(draft), chances: draft.map((_, index) => chanceAfter(matchLength + index)) };
  }

  advance(token: TokenId): void {
    const end = this.#tokens.push(token);
    if (end < this.#settings.shortest) return;
    const key = this.#keyAt(end);
    const places = this.#places.get(key);
    if (places === undefined) this.#places.set(key, [end]);
    else places.push(end);
  }

  rewind(length: number): void {
    const end = this.#numPrompt + length;
    while (this.#tokens.length > end) {
      if (this.#tokens.length >= this.#settings.shortest) this.#places.get(this.#keyAt(this.#tokens.length))!.pop();
      this.#tokens.pop();
    }
  }

  fork(): NgramState {
    return new NgramState(this.#settings, this.#tokens, this.#numPrompt);
  }

  /** The tokens of the run that ends before `end`. */
  #keyAt(end: number): string {
    return this.#tokens.slice(Math.max(end - this.#settings.shortest, 0), end).join(",");
  }
}

/** Chance that a text goes on as it did before, after so many tokens that were the same. */
const chanceAfter = (matchLength: number): number => matchLength / (matchLength + 2);

export const ngram = defineDraft({
  name: "ngram",
  summary: "what followed the last tokens when they occurred before (prompt look-up)",
  source: { title: "Inference with Reference: Lossless Acceleration of Large Language Models", arxiv: "2304.04487" },
  parameters: {
    nodes: integer({ min: 1, max: maxDraftTokens, default: 3, doc: "tokens of a draft" }),
    longest: integer({ min: 1, max: 16, default: 4, doc: "last tokens compared, at most; a longer match goes before a shorter one" }),
    shortest: integer({ min: 1, max: 16, default: 2, doc: "last tokens that must match, at least" }),
  },
  example: { nodes: 4, shortest: 1 },
  needs: ["parents", "keep"],
  create(settings) {
    if (settings.shortest > settings.longest) {
      throw new OptionError("draft", `ngram: shortest must be at most longest (${settings.longest}), got ${settings.shortest}`);
    }
    return { name: "ngram", start: (prompt) => new NgramState(settings, prompt) };
  },
});
