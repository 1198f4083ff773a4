import type { RowResult } from "../../engine/index.ts";
import { Verifier } from "../drafting/verifier.ts";
import { StepSampler } from "../sampling/step.ts";
import { AnswerText } from "../stop.ts";
import { readPrompt, tokenFact } from "./read-prompt.ts";
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
    const read = yield* readPrompt(run, sampler);
    if (read === undefined) return atDeadline();
    let row: RowResult | undefined = read.last;
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

export const path = defineSearch({
  name: "path",
  summary: "one answer, token after token",
  parameters: {},
  isNeutral: true,
  needs: ["input", "want.logits", "want.top", "rewind"],
  create: () => followPath,
});
