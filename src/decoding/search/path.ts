import type { RowResult, TokenFact } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { Verifier } from "../drafting/verifier.ts";
import { StepSampler } from "../sampling/step.ts";
import { AnswerText } from "../stop.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";

/** One answer: a token is chosen, appended, evaluated, and so on until something stops it. With a draft, a pass evaluates several. */
async function* followPath(run: Run): AsyncGenerator<SearchEvent, SearchResult> {
  const { sequence, prompt, logprobs, draft, rules, costCurve } = run;
  const { endTokens, stopTokens, maxTokens } = run.stop;
  const answer = AnswerText.start(run.tokenizer, run.stop);
  const atDeadline = (): SearchResult => ({ ending: { reason: "deadline" }, text: answer.flush() });
  const state = await draft?.start(prompt, { seed: rules.seed, ...(costCurve === undefined ? {} : { costCurve }) });
  const sampler = await StepSampler.start(rules, sequence.vocabSize, prompt, run);
  const verifier = new Verifier({
    ...{ sequence, sampler, maxTokens, top: logprobs ?? 0 },
    ...(draft === undefined || state === undefined ? {} : { draft: { name: draft.name, state } }),
    isEnd: (token) => endTokens.has(token) || stopTokens.has(token),
    forward: (request) => run.forward(sequence, request),
  });
  try {
    let row = yield* readPrompt(run, sampler);
    if (row === undefined) return atDeadline();
    if (maxTokens === 0) return { ending: { reason: "length" }, text: "" };
    for (let index = 0, last = prompt.at(-1)!; ; index++) {
      let chosen = sampler.choose(row, { stream: 0, index });
      if (chosen === undefined) {
        row = await verifier.again(last);
        if (row === undefined) return atDeadline();
        chosen = sampler.choose(row, { stream: 0, index })!;
      }
      last = chosen.token;
      sampler.measure(chosen);
      const { text, ending } = answer.push(last);
      yield { kind: "token", index, fact: { ...tokenFact(row, last, chosen.logit, logprobs), ...verifier.sourceOf(last) }, text };
      if (ending !== undefined) return { ending, text: "" };
      row = await verifier.after(last);
      if (row === undefined) return atDeadline();
    }
  } finally {
    verifier.settle(); // whatever ended the run: the sequence holds the answer's path, without its last token
    const drafts = verifier.facts();
    if (drafts !== undefined) run.reportDrafts(drafts, state?.report?.().choices ?? []);
    run.reportGuides(sampler.guideFacts());
    state?.[Symbol.dispose]?.();
    sampler[Symbol.dispose]();
  }
}

/** Evaluates what the sequence lacks of the prompt, in one request: the engine cuts it as it likes. Gives the last row. */
async function* readPrompt(run: Run, sampler: StepSampler): AsyncGenerator<SearchEvent, RowResult | undefined> {
  const { sequence, prompt, numCached, promptLogprobs } = run;
  const input = prompt.slice(numCached);
  const last = sampler.want({ top: run.logprobs ?? 0, isPrompt: true });
  if (promptLogprobs === undefined) {
    const result = await run.forward(sequence, { input, want: last });
    if (result !== undefined) yield { kind: "prompt", tokens: prompt, numCached };
    return result?.rows[0];
  }
  const top = Math.min(Math.max(last.top, promptLogprobs), sequence.vocabSize);
  // whole rows of logits for a whole prompt would be gigabytes: should the sampler need the last one, it asks again
  const scores = [...input.slice(1).map((token) => [token]), last.scores?.[0] ?? []];
  const result = await run.forward(sequence, { input, want: { logits: "all", top, scores } });
  if (result === undefined) return undefined;
  const { rows } = result;
  const facts = input.slice(1).map((token, row) => tokenFact(rows[row]!, token, rows[row]!.scores![0]!, promptLogprobs));
  yield { kind: "prompt", tokens: prompt, numCached, facts };
  return rows.at(-1);
}

function tokenFact(row: RowResult, token: TokenId, logit: number, numTop: number | undefined): TokenFact {
  const { ids, logits, logSumExp } = row.candidates!;
  const fact = { id: token, logprob: logit - logSumExp, source: "model" } as const;
  if (numTop === undefined) return fact;
  const top = Array.from(ids.subarray(0, numTop), (id, place) => ({ id, logprob: logits[place]! - logSumExp }));
  return { ...fact, top };
}

export const path = defineSearch({
  name: "path",
  summary: "one answer, token after token",
  parameters: {},
  needs: ["input", "want.logits", "want.top", "rewind"],
  create: () => followPath,
});
