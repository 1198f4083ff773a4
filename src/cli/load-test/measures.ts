/** One answer as its client saw it; times in milliseconds on one clock. */
export interface Observed {
  /** When it arrived, which may be before it was sent. */
  readonly arrivalMs: number;
  readonly inputTokens: number;
  /** When each token came. */
  readonly tokenMs: readonly number[];
  /** When its answer ended. */
  readonly endMs: number;
  /** What went wrong. */
  readonly error?: string;
}

/** Limits within which an answer is a good one, in milliseconds. */
export type Goodput = Partial<Readonly<Record<"ttft" | "tpot" | "e2el", number>>>;

export type Measures = Readonly<Record<string, number>>;

/**
 * What `vllm bench serve` reports, under its names: time to first token (ttft), time per output token after the first (tpot), inter-token
 * latency (itl), end-to-end latency (e2el), each as mean, median, standard deviation and 99th percentile in milliseconds; throughputs per
 * second. Latencies count from a request's arrival.
 */
export function measure(observed: readonly Observed[], durationMs: number, goodput: Goodput = {}): Measures {
  const done = observed.filter(({ error, tokenMs }) => error === undefined && tokenMs.length > 0);
  const seconds = durationMs / 1000;
  const times = done.map(({ arrivalMs, tokenMs, endMs }) => {
    const first = tokenMs[0]!;
    const last = tokenMs.at(-1)!;
    return {
      ttft: first - arrivalMs,
      e2el: endMs - arrivalMs,
      tpot: tokenMs.length > 1 ? (last - first) / (tokenMs.length - 1) : 0,
      itl: tokenMs.slice(1).map((at, index) => at - tokenMs[index]!),
    };
  });
  const input = done.reduce((sum, { inputTokens }) => sum + inputTokens, 0);
  const output = done.reduce((sum, { tokenMs }) => sum + tokenMs.length, 0);
  const isGood = (one: (typeof times)[number]) =>
    (["ttft", "tpot", "e2el"] as const).every((name) => one[name] <= (goodput[name] ?? Infinity));
  return {
    duration: seconds,
    completed: done.length,
    failed: observed.length - done.length,
    total_input_tokens: input,
    total_output_tokens: output,
    request_throughput: done.length / seconds,
    ...(Object.keys(goodput).length === 0 ? {} : { request_goodput: times.filter(isGood).length / seconds }),
    output_throughput: output / seconds,
    total_token_throughput: (input + output) / seconds,
    ...summary(
      "ttft",
      times.map(({ ttft }) => ttft),
    ),
    ...summary(
      "tpot",
      times.filter(({ itl }) => itl.length > 0).map(({ tpot }) => tpot),
    ),
    ...summary(
      "itl",
      times.flatMap(({ itl }) => itl),
    ),
    ...summary(
      "e2el",
      times.map(({ e2el }) => e2el),
    ),
  };
}

function summary(name: string, values: readonly number[]): Measures {
  if (values.length === 0) return {};
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return {
    [`mean_${name}_ms`]: mean,
    [`median_${name}_ms`]: percentile(values, 50),
    [`std_${name}_ms`]: Math.sqrt(variance),
    [`p99_${name}_ms`]: percentile(values, 99),
  };
}

/** Linear between the two nearest values, as NumPy's default. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = ((sorted.length - 1) * percent) / 100;
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}
