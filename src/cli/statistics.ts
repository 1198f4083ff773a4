import { describeEffort } from "../decoding/index.ts";
import type { Facts, GenerateResult, Model } from "../index.ts";

/** One line: model, prompt and answer with their rates, and how it ended. */
export function statistics({ usage, timings, finishReason, facts }: GenerateResult, model: Model): string {
  const rate = (count: number, perSecond: number) => `${count} tokens${perSecond > 0 ? `, ${perSecond.toFixed(1)}/s` : ""}`;
  return [
    `${model.name}, ${model.threads} ${model.threads === 1 ? "thread" : "threads"}`,
    `loaded in ${(model.loadMs / 1000).toFixed(2)} s`,
    `prompt ${rate(usage.promptTokens, timings.promptTokensPerSecond)}`,
    `answer ${rate(usage.completionTokens, timings.completionTokensPerSecond)}`,
    `first token after ${facts.times.firstTokenMs.toFixed(0)} ms`,
    `${facts.passes} passes`,
    ...(facts.drafts === undefined ? [] : [describeDrafts(facts.drafts)]),
    ...(facts.skips === undefined ? [] : [`skipped ${facts.skips.total - facts.skips.run} of ${facts.skips.total} half-blocks`]),
    ...(facts.effort === undefined ? [] : [describeEffort(facts.effort)]),
    `ended by ${finishReason}`,
  ].join(" · ");
}

function describeDrafts({ method, drafted, accepted, offBecause }: NonNullable<Facts["drafts"]>): string {
  return `draft ${method}: ${accepted} of ${drafted} accepted${offBecause === undefined ? "" : ` (off: ${offBecause})`}`;
}
