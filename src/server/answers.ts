import type { GenerateOptions } from "../decoding/index.ts";
import { RequestError } from "./parse-body.ts";
import type { SearchStep, WireLogprob, WireOptions, WireResult } from "./protocol.ts";
import type { MethodSpec, SamplingFields } from "./schemas.ts";

// What OpenAI's endpoints have in common: options in, log-probabilities and usage out.

/** @throws RequestError for options of a stream that isn't asked for */
export function checkStreamOptions(request: { readonly stream?: boolean | null | undefined; readonly stream_options?: unknown }): void {
  if (request.stream_options != null && request.stream !== true)
    throw new RequestError("stream_options", "invalid_value", "stream_options needs stream: true");
}

/**
 * What every request for text says of sampling, limits and axes.
 * @param guide  what holds the answer to a form
 * @throws RequestError for two names of one thing
 */
export function sharedOptions(request: SamplingFields, guide?: MethodSpec): WireOptions {
  const { facts: _, ...axes } = request.chainrule ?? {};
  const temperature = request.temperature ?? undefined;
  const topP = request.top_p ?? undefined;
  if (axes.sample !== undefined && (temperature !== undefined || topP !== undefined))
    throw new RequestError(
      "chainrule.sample",
      "invalid_value",
      "chainrule.sample and temperature or top_p contradict each other: name them in its list",
    );
  const isGreedy = temperature === 0;
  const sampling =
    axes.sample === undefined ? { temperature: temperature ?? 1, ...(topP === undefined || topP === 1 || isGreedy ? {} : { topP }) } : {};
  const stop = request.stop ?? undefined;
  const guides = guide === undefined ? {} : { guide: [...(axes.guide === undefined ? [] : [axes.guide].flat()), guide] };
  return {
    ...sampling,
    ...(request.seed == null ? {} : { seed: request.seed }),
    ...(stop === undefined ? {} : { stop }),
    ...(request.presence_penalty == null ? {} : { presencePenalty: request.presence_penalty }),
    ...(request.frequency_penalty == null ? {} : { frequencyPenalty: request.frequency_penalty }),
    ...(request.logit_bias == null ? {} : { bias: request.logit_bias }),
    ...({ ...axes, ...guides } as Partial<GenerateOptions>),
  };
}

/** Where a request says what an option of generate() is made of; the first one that it has. */
const fields: Readonly<Record<string, readonly string[]>> = {
  maxTokens: ["max_completion_tokens", "max_output_tokens", "max_tokens"],
  topP: ["top_p"],
  presencePenalty: ["presence_penalty"],
  frequencyPenalty: ["frequency_penalty"],
  bias: ["logit_bias"],
  logprobs: ["top_logprobs", "logprobs"],
  guide: ["response_format", "text", "tools"],
};

/** The field of a request that an option of generate() came from. */
export function fieldOf(request: object, option: string): string {
  const { chainrule, ...own } = request as { readonly chainrule?: object; readonly [field: string]: unknown };
  if (chainrule !== undefined && Object.hasOwn(chainrule, option)) return `chainrule.${option}`;
  return fields[option]?.find((field) => own[field] != null) ?? option;
}

export const finishReason = ({ finishReason }: WireResult): "stop" | "length" => (finishReason === "stop" ? "stop" : "length");

/** An entry of a chat's or response's log-probabilities. */
export const chatLogprob = ({ text, bytes, logprob, top }: WireLogprob) => ({
  token: text,
  logprob,
  bytes,
  top_logprobs: top.map((entry) => ({ token: entry.text, logprob: entry.logprob, bytes: entry.bytes })),
});

/** Tokens of a request; the answers to one prompt share it. */
export function usageOf(results: readonly WireResult[], prompts: number) {
  const completion = results.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  const perPrompt = results.length / prompts;
  const firsts = results.filter((_, index) => index % perPrompt === 0);
  const prompt = firsts.reduce((sum, { usage }) => sum + usage.promptTokens, 0);
  const cached = firsts.reduce((sum, { usage }) => sum + (usage.cachedTokens ?? 0), 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

/** What `chainrule` says of a whole answer: everything that OpenAI's fields have no place for. */
export function extensionOf(result: WireResult) {
  const { usage: _, echo: __, ...rest } = result;
  return rest;
}

/** What `chainrule` says of a search while it goes on: `growth`, `branch` or `effort`. */
export function searchStep({ kind, ...step }: SearchStep): object {
  return { [kind]: "fact" in step ? step.fact : step };
}
