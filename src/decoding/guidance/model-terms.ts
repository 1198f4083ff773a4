import type { RowResult } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { ReadAlong } from "../read-along.ts";
import type { GuideState } from "./guide.ts";

/** Another model's share in a sum of log-probabilities. */
export interface ModelTerm {
  readonly reader: ReadAlong;
  readonly weight: number;
}

/** What readers of such terms need of a row. */
export const termRow = { want: { top: 1, fullLogits: true } } as const;

/** What is done to the sum beside adding the terms. */
export interface SumRules {
  /** Weight of the model's own log-probability, beyond the one that is there. */
  readonly own: number;
  /** Rules out what the model itself gives less than this share of its most probable token's probability; 0 rules nothing out. */
  readonly plausible: number;
  /** Divides the sum. */
  readonly divisor: number;
}

/**
 * Adds weighted log-probabilities of other models to every logit. A token that one of them rules out, or that lies beyond its vocabulary,
 * is ruled out: files pad their rows with tokens that have no text.
 */
export class ModelTerms implements GuideState {
  readonly #terms: readonly ModelTerm[];
  readonly #rules: SumRules;

  constructor(terms: readonly ModelTerm[], rules: SumRules) {
    this.#terms = terms;
    this.#rules = rules;
  }

  touches(): "all" {
    return "all";
  }

  prepare(ahead: Parameters<ReadAlong["prepare"]>[0]): Promise<boolean> {
    return Promise.all(this.#terms.map(({ reader }) => reader.prepare(ahead))).then((done) => !done.includes(false));
  }

  apply({ ids, logits, original, row, size }: Parameters<GuideState["apply"]>[0]): void {
    const { own, plausible, divisor } = this.#rules;
    const terms = this.#terms.map(({ reader, weight }) => ({ weight, ...logProbabilities(reader.row) }));
    // by what the guides before it leave, or a grammar and this one together would leave nothing
    let largest = Number.NEGATIVE_INFINITY;
    for (let place = 0; place < size; place++)
      if (logits[place]! > Number.NEGATIVE_INFINITY && original[place]! > largest) largest = original[place]!;
    const least = largest + Math.log(plausible); // of 0: -Infinity
    for (let place = 0; place < size; place++) {
      const id = ids[place]!;
      let sum = own * (original[place]! - row.logSumExp);
      let isPossible = original[place]! >= least;
      for (const term of terms) {
        const logit = term.logits[id] ?? Number.NEGATIVE_INFINITY;
        if (logit === Number.NEGATIVE_INFINITY) isPossible = false;
        else sum += term.weight * (logit - term.logSumExp);
      }
      logits[place] = isPossible ? (logits[place]! + sum) / divisor : Number.NEGATIVE_INFINITY;
    }
  }

  advance(token: TokenId): void {
    for (const { reader } of this.#terms) reader.advance(token);
  }

  rewind(length: number): void {
    for (const { reader } of this.#terms) reader.rewind(length);
  }

  fork(): ModelTerms {
    return new ModelTerms(
      this.#terms.map(({ reader, weight }) => ({ reader: reader.fork(), weight })),
      this.#rules,
    );
  }

  [Symbol.dispose](): void {
    for (const { reader } of this.#terms) reader[Symbol.dispose]();
  }
}

/** What a guide with weight 0 does: nothing, without a pass of its model. */
export const noTerms: GuideState = { touches: () => [], apply() {}, advance() {}, rewind() {}, fork: () => noTerms };

function logProbabilities(row: RowResult): { readonly logits: Float32Array; readonly logSumExp: number } {
  return { logits: row.logits!, logSumExp: row.candidates!.logSumExp };
}
