import { standard } from "../method.ts";
import { StepSampler } from "../sampling/step.ts";
import { readPrompt } from "./read-prompt.ts";
import { defineSearch, type Run, type SearchEvent, type SearchResult } from "./search.ts";
import { Walk } from "./walk.ts";

/** One answer, token after token. */
export async function* followPath(run: Run): AsyncGenerator<SearchEvent, SearchResult> {
  const { sequence, prompt, rules } = run;
  const sampler = await StepSampler.start(rules, sequence.vocabSize, prompt, run);
  const walk = await Walk.start(run, sequence, sampler, 0);
  try {
    const read = yield* readPrompt(run, sampler);
    if (read === undefined) return { ending: { reason: "deadline" }, text: walk.flush() };
    if (run.stop.maxTokens === 0) return { ending: { reason: "length" }, text: "" };
    walk.begin(read.last);
    for (let index = 0; ; index++) {
      const step = await walk.step();
      if (step === undefined) return { ending: { reason: "deadline" }, text: walk.flush() };
      yield { kind: "token", index, ...step };
      if (walk.ending !== undefined) return { ending: walk.ending, text: "" };
    }
  } finally {
    walk.settle(); // whatever ended the run: the sequence holds the answer's path, without its last token
    const drafts = walk.draftFacts();
    if (drafts !== undefined) run.reportDrafts(drafts, walk.draftReport()?.choices ?? []);
    run.reportGuides(sampler.guideFacts());
    walk[Symbol.dispose]();
    sampler[Symbol.dispose]();
  }
}

export const path = defineSearch({
  name: "path",
  summary: "one answer, token after token",
  source: standard,
  parameters: {},
  isNeutral: true,
  needs: ["input", "want.logits", "want.top", "rewind"],
  create: () => followPath,
});
