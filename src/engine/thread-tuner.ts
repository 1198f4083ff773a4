/**
 * Chooses the number of threads by what passes cost. As many threads as processors are fastest on an idle machine; beside another busy
 * process each operation waits for a thread that was put off its processor, and fewer are faster. So now and then a few passes run with
 * another number, and the better one stays.
 *
 * A pass is compared with passes of its own kind (structure) only. Results never depend on the number: all give the same bits.
 */
export class ThreadTuner {
  /** Numbers to choose from, descending to 1. */
  readonly #counts: readonly number[];
  #current = 0;
  /** Milliseconds of the latest passes with the current number, by kind. */
  readonly #recent = new Map<string, number[]>();
  /** Each kind's normal time since the last decision. */
  readonly #normal = new Map<string, number>();
  #trial: { readonly index: number; readonly ratios: number[] } | undefined;
  #direction = 1;
  #sinceTrial = 0;
  #slow = 0;
  #interval = firstInterval;

  /** @param most  threads to begin with and never to exceed, >= 1 */
  constructor(most: number) {
    const counts = [most];
    while (counts.at(-1)! > 1) counts.push(Math.floor(counts.at(-1)! / 2));
    this.#counts = counts;
  }

  /** Threads of the next pass. */
  get threads(): number {
    return this.#counts[this.#trial?.index ?? this.#current]!;
  }

  /** Tells what a pass cost that ran with {@link threads}. */
  observe(kind: string, ms: number): void {
    if (this.#counts.length === 1) return;
    const recent = this.#recent.get(kind) ?? [];
    if (this.#trial !== undefined) {
      if (recent.length < trialPasses) return; // nothing to compare with
      this.#trial.ratios.push(ms / median(recent));
      if (this.#trial.ratios.length === trialPasses) this.#decide(this.#trial);
      return;
    }
    if (this.#recent.size >= mostKinds) this.#recent.clear();
    this.#recent.set(kind, [...recent.slice(1 - window), ms]);
    this.#sinceTrial += 1;
    const normal = this.#normal.get(kind);
    if (recent.length + 1 >= window && normal === undefined) this.#normal.set(kind, median(this.#recent.get(kind)!));
    this.#slow = normal !== undefined && ms > slowdown * normal ? this.#slow + 1 : 0;
    if (recent.length + 1 >= trialPasses && (this.#sinceTrial >= this.#interval || this.#slow >= trialPasses)) this.#begin();
  }

  /** Tries the next smaller and the next larger number in turn. */
  #begin(): void {
    if (this.#counts[this.#current + this.#direction] === undefined) this.#direction = -this.#direction;
    this.#trial = { index: this.#current + this.#direction, ratios: [] };
    this.#direction = -this.#direction;
  }

  #decide({ index, ratios }: { readonly index: number; readonly ratios: readonly number[] }): void {
    this.#trial = undefined;
    this.#sinceTrial = 0;
    this.#slow = 0;
    this.#normal.clear(); // what is normal now is learnt anew
    if (median(ratios) < margin) {
      this.#current = index;
      this.#recent.clear();
      this.#interval = firstInterval;
    } else {
      this.#interval = Math.min(2 * this.#interval, lastInterval); // what lost is tried ever more rarely
    }
  }
}

const trialPasses = 3;
const window = 9;
/** Passes between two trials, doubled while they don't win. */
const firstInterval = 16;
const lastInterval = 512;
/** What a trial has to win by: less may be chance. */
const margin = 0.9;
/** Passes slower than normal by this much, three in a row, bring the next trial at once. */
const slowdown = 1.3;
const mostKinds = 256;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
