import { expect, test } from "vitest";
import { drive, planArrivals, type Way } from "./arrivals.ts";
import { measure, percentile } from "./measures.ts";

const options = { numPrompts: 4000, requestRate: 5, inputLen: 64, outputLen: 100, rangeRatio: 0.5, seed: 3 };

test("arrivals are Poisson: gaps have the mean and the spread of an exponential law; lengths fill their range", () => {
  const requests = planArrivals(options);
  expect(requests).toEqual(planArrivals(options));
  expect(requests).not.toEqual(planArrivals({ ...options, seed: 4 }));
  const gaps = requests.slice(1).map(({ arrivalMs }, index) => arrivalMs - requests[index]!.arrivalMs);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
  // 4,000 gaps: four standard errors of the mean are 6 %, of the deviation 9 %
  expect(Math.abs(mean / 200 - 1)).toBeLessThan(0.065);
  expect(Math.abs(deviation / 200 - 1)).toBeLessThan(0.1);
  const lengths = requests.map(({ outputTokens }) => outputTokens);
  expect([Math.min(...lengths), Math.max(...lengths)]).toEqual([50, 150]);
  expect(planArrivals({ ...options, requestRate: Number.POSITIVE_INFINITY }).every(({ arrivalMs }) => arrivalMs === 0)).toBe(true);
});

test("measures are vLLM's: worked by hand", () => {
  const measures = measure(
    [
      { arrivalMs: 0, inputTokens: 10, tokenMs: [100, 150, 250], endMs: 260 },
      { arrivalMs: 100, inputTokens: 20, tokenMs: [400], endMs: 400 },
      { arrivalMs: 100, inputTokens: 20, tokenMs: [], endMs: 400, error: "429" },
    ],
    2000,
    { ttft: 200, tpot: 75 },
  );
  expect(measures).toMatchObject({
    ...{ completed: 2, failed: 1, duration: 2, total_input_tokens: 30, total_output_tokens: 4 },
    ...{ request_throughput: 1, request_goodput: 0.5, output_throughput: 2, total_token_throughput: 17 },
    ...{ mean_ttft_ms: 200, median_ttft_ms: 200, std_ttft_ms: 100, p99_ttft_ms: 298 },
    ...{ mean_tpot_ms: 75, mean_itl_ms: 75, std_itl_ms: 25, mean_e2el_ms: 280 },
  });
  expect(percentile([1, 2, 3, 10], 50)).toBe(2.5); // numpy.percentile([1, 2, 3, 10], 50)
  expect(percentile([1, 2, 3, 10], 99)).toBeCloseTo(9.79, 10); // 3 + 0.97 · 7
});

/** Serves with a clock of its own: when each of the requests starts, its work taking as long as it is told. */
async function startsOf(arrivals: readonly number[], works: readonly number[], way: Way): Promise<number[]> {
  let time = 0;
  const timers: { at: number; go: () => void }[] = [];
  const wait = (ms: number) => new Promise<void>((go) => timers.push({ at: time + ms, go }));
  const starts: number[] = [];
  const requests = arrivals.map((arrivalMs) => ({ arrivalMs, inputTokens: 1, outputTokens: 1 }));
  let isOver = false;
  const driven = drive(
    requests,
    way,
    (index) => {
      starts[index] = time;
      return wait(works[index]!);
    },
    wait,
    () => time,
  ).then(() => {
    isOver = true;
  });
  while (!isOver) {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    const next = timers.sort((a, b) => a.at - b.at).shift();
    if (next === undefined) continue;
    time = next.at;
    next.go();
  }
  await driven;
  return starts;
}

test("fused starts at arrival, one by one in turn, static when the whole batch before has ended", async () => {
  const arrivals = [0, 1, 2, 3];
  const works = [10, 4, 4, 4];
  expect(await startsOf(arrivals, works, { kind: "fused", maxConcurrency: Number.POSITIVE_INFINITY })).toEqual([0, 1, 2, 3]);
  expect(await startsOf(arrivals, works, { kind: "fused", maxConcurrency: 1 })).toEqual([0, 10, 14, 18]);
  expect(await startsOf(arrivals, works, { kind: "fused", maxConcurrency: 2 })).toEqual([0, 1, 5, 9]);
  expect(await startsOf(arrivals, works, { kind: "static", batchSize: 2 })).toEqual([0, 10, 10, 14]);
});
