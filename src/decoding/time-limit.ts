import { setMaxListeners } from "node:events";

/** A caller's signal and a deadline as one: reaching the deadline is an expected outcome, being aborted is an error. */
export class TimeLimit {
  /** For what the run awaits; undefined when nothing can end it early. */
  readonly signal: AbortSignal | undefined;
  readonly #endMs: number;
  readonly #aborted: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  /** What the signal throws when it is the deadline that ends the work. */
  readonly #deadlineReason = new Error("the deadline was reached");

  /** @param startMs  `performance.now()` from which the deadline counts */
  constructor(aborted: AbortSignal | undefined, deadlineMs: number | undefined, startMs: number) {
    this.#aborted = aborted;
    this.#endMs = startMs + (deadlineMs ?? Number.POSITIVE_INFINITY);
    if (aborted !== undefined) setMaxListeners(0, aborted); // every branch that waits listens; Node takes eleven for a leak
    if (deadlineMs === undefined) {
      this.signal = aborted;
      return;
    }
    const deadline = new AbortController();
    this.#timer = setTimeout(() => deadline.abort(this.#deadlineReason), Math.max(this.#endMs - performance.now(), 0));
    this.signal = aborted === undefined ? deadline.signal : AbortSignal.any([aborted, deadline.signal]);
    setMaxListeners(0, this.signal);
  }

  /** What `work` gives, or undefined when the deadline came first. @throws what `work` throws; the caller's reason when aborted */
  async within<T>(work: () => Promise<T>): Promise<T | undefined> {
    this.#aborted?.throwIfAborted();
    if (performance.now() >= this.#endMs) return undefined;
    try {
      return await work();
    } catch (error) {
      if (error === this.#deadlineReason) return undefined;
      throw error;
    }
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
