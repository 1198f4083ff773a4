import type { FitProgress, FitTask } from "../types.ts";

/** Runs work that comes in parts to its end at one go. */
export function atOnce<T>(work: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value as T;
  }
}

/** Milliseconds that the event loop waits at most for a part that is shorter. */
const turnMs = 50;

/**
 * Runs work that comes in parts, with turns of the event loop between them, so that it can be watched and broken off.
 *
 * @throws the signal's reason; what the work holds is freed before
 */
export async function inTurns<T>(
  work: Generator<FitProgress, T>,
  { signal, onProgress }: Pick<FitTask, "signal" | "onProgress">,
): Promise<T> {
  const start = performance.now();
  let turnAt = start;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = work.next();
      if (done) return value;
      const now = performance.now();
      if (now - turnAt < turnMs) continue;
      turnAt = now;
      const secondsLeft = value.done === 0 ? undefined : (((now - start) / 1000) * (value.total - value.done)) / value.done;
      onProgress?.({ ...value, ...(secondsLeft !== undefined && { secondsLeft }) });
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    work.return(undefined as T);
  }
}

/** The progress of the `index`-th of `count` equal pieces of work as that of all of them. */
export const ofAll = ({ done, total }: FitProgress, index: number, count: number): FitProgress => ({
  done: index * total + done,
  total: count * total,
});
