import type { RandomNumbers } from "../sampling/random.ts";

/**
 * The evidence that ReAGent gathers: after each replacement of a random subset of tokens, those replaced gain logit((d + 1) / 2) and all
 * others lose as much, where d is what the replacement took from the target's probability. Only sums matter, so replacements may come in any
 * order.
 */
export class ReplacementScores {
  readonly #sums: Float64Array;
  readonly #isReplaceable: readonly boolean[];
  #count = 0;

  /** @param isReplaceable  the other tokens keep a score of 0 */
  constructor(isReplaceable: readonly boolean[]) {
    this.#sums = new Float64Array(isReplaceable.length);
    this.#isReplaceable = isReplaceable;
  }

  /** @param drop  probability before minus probability after, in [-1, 1] */
  add(isReplaced: readonly boolean[], drop: number): void {
    const update = logit((Math.min(Math.max(drop, -1), 1) + 1) / 2);
    this.#count += 1;
    for (const [index, own] of this.#isReplaceable.entries()) if (own) this.#sums[index]! += isReplaced[index] ? update : -update;
  }

  /**
   * Mean evidence per replacement, in logits, less its mean over the tokens that may be replaced: where every replacement hurts, those left alone
   * lose more often than they gain, and only differences say anything.
   */
  means(): number[] {
    const sums = this.#sums.filter((_, index) => this.#isReplaceable[index]);
    const middle = sums.reduce((total, sum) => total + sum, 0) / Math.max(sums.length, 1);
    const count = Math.max(this.#count, 1);
    return Array.from(this.#sums, (sum, index) => (this.#isReplaceable[index] ? (sum - middle) / count : 0));
  }

  /** softmax of the sums over the tokens that may be replaced; 0 for the others. */
  importance(): number[] {
    const max = Math.max(...this.#sums.filter((_, index) => this.#isReplaceable[index]));
    const weights = Array.from(this.#sums, (sum, index) => (this.#isReplaceable[index] ? Math.exp(sum - max) : 0));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  }
}

/** A drop of exactly 1 or -1 would be infinite evidence. */
const smallest = 1e-6;

function logit(p: number): number {
  const clamped = Math.min(Math.max(p, smallest), 1 - smallest);
  return Math.log(clamped / (1 - clamped));
}

/** Each token that may be replaced is, with probability `ratio`; at least one is. */
export function drawReplaced(isReplaceable: readonly boolean[], ratio: number, random: RandomNumbers): boolean[] {
  const drawn = isReplaceable.map((own) => own && random.next() < ratio);
  if (drawn.includes(true)) return drawn;
  const places = [...isReplaceable.keys()].filter((index) => isReplaceable[index]);
  drawn[places[Math.floor(random.next() * places.length)]!] = true;
  return drawn;
}

/** Indices of the largest values, largest first, ties to the lowest index. */
export function largest(values: readonly number[], count: number, isCounted: readonly boolean[]): number[] {
  return [...values.keys()]
    .filter((index) => isCounted[index])
    .sort((a, b) => values[b]! - values[a]! || a - b)
    .slice(0, count);
}
