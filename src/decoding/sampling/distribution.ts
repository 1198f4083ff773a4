import type { Candidates } from "../../engine/index.ts";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { sortLargest } from "./select.ts";

/** What a row's candidates tell of the whole row. */
export interface RowFacts {
  readonly logSumExp: number;
  readonly largest: number;
}

export const rowFacts = ({ logSumExp, logits }: Candidates): RowFacts => ({ logSumExp, largest: logits[0]! });

/**
 * The next token's distribution while guides and samplers work on it: entries (token, logit) that are known, and what is known
 * of the rest of the vocabulary. Loaded from a row's candidates it knows k entries, those that guides touch, and the exact mass
 * of the rest; loaded from the full row it knows every entry. Samplers are the same functions on both: they say when the
 * entries do not suffice, and are then run again on the full row.
 *
 * The *head* are the k candidates and the touched tokens, on both paths; the *tail*, on the full row only, is everything else.
 * One object serves a whole run: its arrays are reused from token to token.
 */
export class Distribution {
  readonly vocabSize: number;
  ids: Int32Array;
  logits: Float64Array;
  /** The model's own logits of the entries, whatever guides do to `logits`; until {@link arrange}. */
  original: Float64Array;
  /** Of the model's own row: log Σ exp over the vocabulary, and the largest logit. */
  row: RowFacts = { logSumExp: 0, largest: 0 };
  /** Number of known entries. */
  size = 0;
  /** Entries [0, head) are the head. */
  head = 0;
  /** Entries [0, sorted) are in final order (large to small, ties to the lowest id), and no token outside them precedes them. */
  sorted = 0;
  /** Tokens that are not known: how many, the largest logit one may have, natural logarithms of bounds on Σ exp(logit). */
  restCount = 0;
  restCap = Number.NEGATIVE_INFINITY;
  restLow = Number.NEGATIVE_INFINITY;
  restHigh = Number.NEGATIVE_INFINITY;
  /** Place of a token among the entries, -1 when unknown; made when first needed. */
  #places: Int32Array | undefined;
  /** Whether `#places` says where the entries are now. */
  #isIndexed = false;

  constructor(vocabSize: number) {
    this.vocabSize = vocabSize;
    this.ids = new Int32Array(256);
    this.logits = new Float64Array(256);
    this.original = new Float64Array(256);
  }

  /**
   * Takes a row's candidates and, beside them, `touched` tokens with their logits.
   *
   * @throws NativeError if the row has logits that are no numbers
   */
  load(candidates: Candidates, touched: readonly TokenId[] = [], scores: ArrayLike<number> = []): void {
    this.#loadHead(candidates, touched, scores);
    this.restCount = this.vocabSize - this.size;
    this.restCap = candidates.logits[candidates.logits.length - 1]!;
    let known = 0;
    for (let index = 0; index < this.size; index++) known += Math.exp(this.logits[index]! - candidates.logSumExp);
    // 1 - known is rounding noise when it is tiny; no unknown token exceeds the cap
    const mass = Math.min(Math.max(1 - known, 0), this.restCount * Math.exp(this.restCap - candidates.logSumExp));
    this.restLow = this.restHigh = this.restCount === 0 ? Number.NEGATIVE_INFINITY : candidates.logSumExp + Math.log(mass);
  }

  /** Takes the whole row. The head is that of {@link load} with the same candidates and touched tokens. */
  loadFull(logits: Float32Array, candidates: Candidates, touched: readonly TokenId[] = []): void {
    if (logits.length !== this.vocabSize) {
      throw new NativeError(`a row of ${logits.length} logits came for a vocabulary of ${this.vocabSize}`);
    }
    this.#reserve(this.vocabSize);
    const scores = touched.map((id) => logits[id]!);
    this.#loadHead(candidates, touched, scores);
    const places = this.#indexed();
    let size = this.size;
    for (let id = 0; id < this.vocabSize; id++) {
      if (places[id]! >= 0) continue;
      places[id] = size;
      this.ids[size] = id;
      this.original[size] = logits[id]!;
      this.logits[size++] = logits[id]!;
    }
    this.size = size;
    this.#setNoRest();
  }

  /** Takes one token of a row alone: to see what guides do to it. */
  loadOne(token: TokenId, logit: number, row: RowFacts): void {
    this.#clear();
    this.row = row;
    this.#append(token, logit);
    this.head = this.sorted = this.size;
    this.#setNoRest();
  }

  /** Place of a token among the entries, or undefined. Valid between loading and the first sampler. */
  indexOf(token: number): number | undefined {
    const place = this.#indexed()[token]!;
    return place < 0 ? undefined : place;
  }

  /**
   * Restores the order after guides changed entries; `mayLowerRest` when they may lower tokens that are not known.
   *
   * @returns the largest logit that any token may have
   * @throws NativeError if an entry became NaN
   */
  arrange(mayLowerRest: boolean): number {
    let tailCap = this.restCount > 0 ? this.restCap : Number.NEGATIVE_INFINITY;
    for (let index = 0; index < this.size; index++) {
      const logit = this.logits[index]!;
      if (Number.isNaN(logit)) throw new NativeError(`a guide made the logit of token ${this.ids[index]} NaN`);
      if (index >= this.head && logit > tailCap) tailCap = logit;
    }
    sortLargest(this.ids, this.logits, 0, this.head, this.head);
    this.#isIndexed = false;
    this.sorted = 0;
    const isAlone = this.size === this.head && this.restCount === 0;
    while (this.sorted < this.head && (isAlone || this.logits[this.sorted]! > tailCap)) this.sorted++;
    if (mayLowerRest) this.restLow = Number.NEGATIVE_INFINITY;
    return Math.max(tailCap, this.logits[0]!);
  }

  /** Puts the first `count` entries into final order. False if tokens that are not known may belong there. */
  reach(count: number): boolean {
    if (count <= this.sorted) return true;
    if (this.restCount > 0) return false;
    this.#isIndexed = false;
    sortLargest(this.ids, this.logits, this.sorted, this.size, count - this.sorted);
    this.sorted = Math.min(count, this.size);
    return true;
  }

  /** Places of the `count` most probable entries, without impossible ones; undefined if tokens that are not known may belong there. */
  best(count: number): number[] | undefined {
    if (!this.reach(Math.min(count, this.size + this.restCount))) return undefined;
    const places: number[] = [];
    while (places.length < Math.min(count, this.size) && this.logits[places.length]! > Number.NEGATIVE_INFINITY) places.push(places.length);
    return places;
  }

  /** log Σ exp(logit) over all tokens, or undefined where that of the tokens that are not known is not exact. */
  logSumExp(): number | undefined {
    if (this.restLow !== this.restHigh) return undefined;
    let max = this.restHigh;
    for (let place = 0; place < this.size; place++) max = Math.max(max, this.logits[place]!);
    if (max === Number.NEGATIVE_INFINITY) return max;
    let sum = Math.exp(this.restHigh - max);
    for (let place = 0; place < this.size; place++) sum += Math.exp(this.logits[place]! - max);
    return max + Math.log(sum);
  }

  /** Leaves the first `count` entries and nothing else. */
  truncate(count: number): void {
    this.size = this.head = Math.min(count, this.size);
    this.sorted = Math.min(this.sorted, this.size);
    this.#setNoRest();
  }

  /** Leaves the entries that `isKept` names by their place, in final order, and nothing else. */
  keepOnly(isKept: (place: number) => boolean): void {
    this.#isIndexed = false;
    let count = 0;
    for (let place = 0; place < this.size; place++) {
      if (!isKept(place)) continue;
      this.ids[count] = this.ids[place]!;
      this.logits[count++] = this.logits[place]!;
    }
    this.sorted = 0;
    this.truncate(count);
    this.reach(count);
  }

  #loadHead(candidates: Candidates, touched: readonly TokenId[], scores: ArrayLike<number>): void {
    const { ids, logits, logSumExp } = candidates;
    if (!Number.isFinite(logSumExp) || !Number.isFinite(logits[0])) {
      throw new NativeError(`the model returned logits that are not finite (log-sum-exp ${logSumExp}, largest ${logits[0]})`);
    }
    if (scores.length !== touched.length) {
      throw new NativeError(`${scores.length} scores came for ${touched.length} tokens asked for in want.scores`);
    }
    this.#clear();
    this.#reserve(ids.length + touched.length);
    this.ids.set(ids);
    this.logits.set(logits);
    this.original.set(logits);
    this.row = rowFacts(candidates);
    this.size = ids.length;
    for (let index = 0; index < touched.length; index++) {
      if (this.indexOf(touched[index]!) === undefined) this.#append(touched[index]!, scores[index]!);
    }
    this.head = this.size;
    this.sorted = ids.length;
  }

  #indexed(): Int32Array {
    this.#places ??= new Int32Array(this.vocabSize);
    if (!this.#isIndexed) {
      this.#places.fill(-1);
      for (let index = 0; index < this.size; index++) this.#places[this.ids[index]!] = index;
      this.#isIndexed = true;
    }
    return this.#places;
  }

  #append(id: number, logit: number): void {
    this.ids[this.size] = id;
    this.logits[this.size] = this.original[this.size] = logit;
    if (this.#isIndexed) this.#places![id] = this.size;
    this.size++;
  }

  #clear(): void {
    this.size = 0;
    this.#isIndexed = false;
  }

  #reserve(count: number): void {
    if (count <= this.ids.length) return;
    this.ids = new Int32Array(count);
    this.logits = new Float64Array(count);
    this.original = new Float64Array(count);
  }

  #setNoRest(): void {
    this.restCount = 0;
    this.restCap = this.restLow = this.restHigh = Number.NEGATIVE_INFINITY;
  }
}
