import { type ArrivalOptions, drive, planArrivals, type Way } from "./arrivals.ts";
import { complete, promptOf, type Target } from "./client.ts";
import { type Goodput, type Measures, measure, type Observed } from "./measures.ts";

/** Sends what arrives in one way and measures it. */
export async function loadTest(
  target: Target,
  options: ArrivalOptions,
  way: Way,
  goodput: Goodput,
  signal: AbortSignal,
  onDone: () => void = () => undefined,
): Promise<Measures> {
  const requests = planArrivals(options);
  const observed: Observed[] = [];
  const start = performance.now();
  await drive(requests, way, async (index) => {
    const { arrivalMs, inputTokens, outputTokens } = requests[index]!;
    const tokenMs: number[] = [];
    let error: string | undefined;
    try {
      const prompt = promptOf(target.vocabulary, inputTokens, options.seed * 1_000_003 + index);
      await complete(target, prompt, outputTokens, () => tokenMs.push(performance.now() - start), signal);
    } catch (reason) {
      signal.throwIfAborted();
      error = (reason as Error).message;
    }
    observed.push({ arrivalMs, inputTokens, tokenMs, endMs: performance.now() - start, ...(error === undefined ? {} : { error }) });
    onDone();
  });
  return measure(observed, performance.now() - start, goodput);
}
