import type { RowResult, TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { StepSampler } from "../sampling/step.ts";
import type { Run, SearchEvent } from "./search.ts";

/**
 * Evaluates what the sequence lacks of the prompt, in one request: the engine cuts it as it likes. Gives the last row and, with
 * `hidden`, the states of that row or of all; undefined once the deadline has passed.
 */
export async function* readPrompt(
  run: Run,
  sampler: StepSampler,
  { hidden }: { readonly hidden?: "last" | "all" } = {},
): AsyncGenerator<SearchEvent, { readonly last: RowResult; readonly states: readonly Float32Array[] } | undefined> {
  const { sequence, prompt, numCached, promptLogprobs } = run;
  const input = prompt.slice(numCached);
  const last = sampler.want({ top: run.logprobs ?? 0, isPrompt: true });
  const states = hidden === undefined ? {} : { hidden };
  if (promptLogprobs === undefined) {
    const [result, isReady] = await Promise.all([run.forward(sequence, { input, want: { ...last, ...states } }), sampler.prepare()]);
    if (result === undefined || !isReady) return undefined;
    yield { kind: "prompt", tokens: prompt, numCached };
    return { last: result.rows.at(-1)!, states: statesOf(result.rows) };
  }
  const top = Math.min(Math.max(last.top, promptLogprobs), sequence.vocabSize);
  // whole rows of logits for a whole prompt would be gigabytes: should the sampler need the last one, it asks again
  const scores = [...input.slice(1).map((token) => [token]), last.scores?.[0] ?? []];
  const want = { logits: "all", top, scores, ...states } as const;
  const [result, isReady] = await Promise.all([run.forward(sequence, { input, want }), sampler.prepare()]);
  if (result === undefined || !isReady) return undefined;
  const { rows } = result;
  const facts = input.slice(1).map((token, row) => tokenFact(rows[row]!, token, rows[row]!.scores![0]!, promptLogprobs));
  yield { kind: "prompt", tokens: prompt, numCached, facts };
  return { last: rows.at(-1)!, states: statesOf(rows) };
}

/** What is reported of a token that was chosen from a row. */
export function tokenFact(row: RowResult, token: TokenId, logit: number, numTop: number | undefined): TokenFact {
  const { ids, logits, logSumExp } = row.candidates!;
  const fact = { id: token, logprob: logit - logSumExp, source: "model" } as const;
  if (numTop === undefined) return fact;
  const top = Array.from(ids.subarray(0, numTop), (id, place) => ({ id, logprob: logits[place]! - logSumExp }));
  return { ...fact, top };
}

function statesOf(rows: readonly RowResult[]): Float32Array[] {
  return rows.flatMap(({ hidden }) => (hidden === undefined ? [] : [hidden]));
}
