/** One request of a load test. */
export interface PlannedRequest {
  /** Milliseconds from the start at which it arrives. */
  readonly arrivalMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export interface ArrivalOptions {
  readonly numPrompts: number;
  /** Requests per second, Poisson; infinite: all arrive at once. */
  readonly requestRate: number;
  readonly inputLen: number;
  readonly outputLen: number;
  /** Lengths are drawn uniformly from [len · (1 - r), len · (1 + r)], r in [0, 1). */
  readonly rangeRatio: number;
  readonly seed: number;
}

/** What arrives when: the same for the same options, so that several ways of serving can be given the same. */
export function planArrivals({ numPrompts, requestRate, inputLen, outputLen, rangeRatio, seed }: ArrivalOptions): PlannedRequest[] {
  const next = uniform(seed);
  const around = (length: number) => Math.max(1, Math.round(length * (1 - rangeRatio + 2 * rangeRatio * next())));
  let arrivalMs = 0;
  return Array.from({ length: numPrompts }, () => {
    const request = { arrivalMs, inputTokens: around(inputLen), outputTokens: around(outputLen) };
    if (Number.isFinite(requestRate)) arrivalMs += (-Math.log(1 - next()) / requestRate) * 1000; // exponential gaps
    return request;
  });
}

/** Uniform in [0, 1), the same for the same seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** "fused": every request goes out when it arrives. "static": up to a batch of those that have arrived, when the whole batch before has ended. */
export type Way = { readonly kind: "fused"; readonly maxConcurrency: number } | { readonly kind: "static"; readonly batchSize: number };

/**
 * Sends planned requests in one way. One by one is "fused" with a concurrency of 1.
 *
 * @param send  resolves when the answer has ended
 * @param wait  resolves after so many milliseconds; an argument for tests
 */
export async function drive(
  requests: readonly PlannedRequest[],
  way: Way,
  send: (index: number) => Promise<void>,
  wait: (ms: number) => Promise<void> = (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  now: () => number = () => performance.now(),
): Promise<void> {
  const start = now();
  const queue: number[] = [];
  let arrived = 0;
  let wake: () => void = () => undefined;
  const arrivals = (async () => {
    for (const [index, { arrivalMs }] of requests.entries()) {
      const left = start + arrivalMs - now();
      if (left > 0) await wait(left);
      queue.push(index);
      arrived += 1;
      wake();
    }
  })();
  const something = () => new Promise<void>((resolve) => (wake = resolve));
  const running = new Set<Promise<void>>();
  const mayStart = () =>
    queue.length > 0 && (way.kind === "fused" ? running.size < way.maxConcurrency : running.size === 0 && queue.length > 0);
  while (arrived < requests.length || queue.length > 0 || running.size > 0) {
    if (!mayStart()) {
      await Promise.race([something(), ...running]);
      continue;
    }
    for (const index of queue.splice(0, way.kind === "fused" ? way.maxConcurrency - running.size : way.batchSize)) {
      const one: Promise<void> = send(index).finally(() => running.delete(one));
      running.add(one);
    }
  }
  await arrivals;
}
