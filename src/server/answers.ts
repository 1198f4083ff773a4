import type { GenerateOptions, Prompt, TokenLogprob } from "../decoding/index.ts";
import type { Task, WireOptions, WireResult } from "./protocol.ts";
import { type ChatRequest, type CompletionRequest, type Extension, RequestError } from "./schemas.ts";

// From OpenAI's requests to the engine's options, and from its events to OpenAI's shapes.

/** What every request for text says of sampling, limits and axes. @throws RequestError for two names of one thing */
function sharedOptions(request: ChatRequest | CompletionRequest): WireOptions {
  const { facts: _, ...axes }: Extension = request.chainrule ?? {};
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
  return {
    ...sampling,
    ...(request.seed == null ? {} : { seed: request.seed }),
    ...(stop === undefined ? {} : { stop }),
    ...(request.presence_penalty == null ? {} : { presencePenalty: request.presence_penalty }),
    ...(request.frequency_penalty == null ? {} : { frequencyPenalty: request.frequency_penalty }),
    ...(request.logit_bias == null ? {} : { bias: request.logit_bias }),
    ...(axes as Partial<GenerateOptions>),
  };
}

export function chatTask(request: ChatRequest): Extract<Task, { kind: "generate" }> {
  const { max_tokens: maxTokens, max_completion_tokens: maxCompletionTokens, top_logprobs: topLogprobs } = request;
  if (maxTokens != null && maxCompletionTokens != null && maxTokens !== maxCompletionTokens)
    throw new RequestError("max_tokens", "invalid_value", "max_tokens and max_completion_tokens contradict each other");
  if (topLogprobs != null && request.logprobs !== true)
    throw new RequestError("top_logprobs", "invalid_value", "top_logprobs needs logprobs: true");
  const options = sharedOptions(request);
  const limit = maxCompletionTokens ?? maxTokens;
  const format = formatGuide(request.response_format);
  const guides =
    format === undefined ? {} : { guide: [...(options.guide === undefined ? [] : [options.guide].flat()), format] as WireOptions["guide"] };
  return {
    kind: "generate",
    prompt: request.messages.map(({ role, content, name }) => ({ role, content, ...(name === undefined ? {} : { name }) })) as Prompt,
    options: {
      ...options,
      ...guides,
      ...(limit == null ? {} : { maxTokens: limit }),
      ...(request.logprobs === true ? { logprobs: topLogprobs ?? 0 } : {}),
    } as WireOptions,
    count: request.n ?? 1,
  };
}

function formatGuide(format: ChatRequest["response_format"]) {
  if (format == null || format.type === "text") return undefined;
  const schema = format.type === "json_object" ? { type: "object" } : format.json_schema.schema;
  return { name: "grammar", schema: JSON.stringify(schema) };
}

/** One task per prompt. */
export function completionTasks(request: CompletionRequest): Extract<Task, { kind: "generate" }>[] {
  const { prompt, echo, logprobs } = request;
  const maxTokens = request.max_tokens ?? 16; // OpenAI's own default here
  if (maxTokens === 0 && echo !== true) throw new RequestError("max_tokens", "invalid_value", "max_tokens: 0 is allowed with echo only");
  const prompts: Prompt[] =
    typeof prompt === "string" ? [prompt] : typeof prompt[0] === "number" ? [prompt as unknown as Prompt] : (prompt as unknown as Prompt[]);
  const options = sharedOptions(request);
  return prompts.map((one) => ({
    kind: "generate",
    prompt: one,
    options: {
      ...options,
      maxTokens,
      ...(logprobs == null ? {} : { logprobs }),
      ...(logprobs == null || echo !== true ? {} : { promptLogprobs: logprobs }),
    },
    count: request.n ?? 1,
  }));
}

export const finishReason = ({ finishReason }: WireResult): "stop" | "length" => (finishReason === "stop" ? "stop" : "length");

const bytesOf = (text: string) => [...Buffer.from(text)];

/** A chat's `logprobs.content` entry. */
export const chatLogprob = ({ text, logprob, top }: TokenLogprob) => ({
  token: text,
  logprob,
  bytes: bytesOf(text),
  top_logprobs: top.map((entry) => ({ token: entry.text, logprob: entry.logprob, bytes: bytesOf(entry.text) })),
});

/** The legacy shape of log-probabilities: parallel lists over tokens. */
export interface LegacyLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

export function legacyLogprobs(entries: readonly TokenLogprob[], offset: number, first?: string): LegacyLogprobs {
  const result: LegacyLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let at = offset;
  const add = (text: string, logprob: number | null, top: Record<string, number> | null) => {
    result.tokens.push(text);
    result.token_logprobs.push(logprob);
    result.top_logprobs.push(top);
    result.text_offset.push(at);
    at += text.length;
  };
  if (first !== undefined) add(first, null, null); // nothing precedes the first token
  for (const { text, logprob, top } of entries) add(text, logprob, Object.fromEntries(top.map((entry) => [entry.text, entry.logprob])));
  return result;
}

export function joinLegacy(a: LegacyLogprobs, b: LegacyLogprobs): LegacyLogprobs {
  return {
    tokens: [...a.tokens, ...b.tokens],
    token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
    top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
    text_offset: [...a.text_offset, ...b.text_offset],
  };
}

export function usageOf(results: readonly WireResult[], prompts: number) {
  const completion = results.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  // the answers to one prompt share it
  const perPrompt = results.length / prompts;
  const prompt = results.filter((_, index) => index % perPrompt === 0).reduce((sum, { usage }) => sum + usage.promptTokens, 0);
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
