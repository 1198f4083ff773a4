import type { Prompt, TokenLogprob } from "../decoding/index.ts";
import { checkStreamOptions, extensionOf, finishReason, searchStep, sharedOptions, usageOf } from "./answers.ts";
import type { ChatHead } from "./chat.ts";
import { RequestError } from "./parse-body.ts";
import type { WireResult } from "./protocol.ts";
import type { Answer, GenerateTask, Message, StreamShape } from "./runs.ts";
import type { CompletionRequest } from "./schemas.ts";

// `/v1/completions`: prompts continued as they stand, in OpenAI's legacy shapes.

/** One task per prompt. @throws RequestError */
export function completionTasks(request: CompletionRequest): GenerateTask[] {
  checkStreamOptions(request);
  const { prompt, echo, logprobs } = request;
  const maxTokens = request.max_tokens ?? 16; // OpenAI's own default here
  if (maxTokens === 0 && echo !== true) throw new RequestError("max_tokens", "invalid_value", "max_tokens: 0 is allowed with echo only");
  if (request.stream === true && echo === true && logprobs != null)
    throw new RequestError("echo", "unsupported_parameter", "echo with logprobs is answered in one piece: leave stream out");
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

/** The legacy shape of log-probabilities: parallel lists over tokens. */
interface LegacyLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/**
 * @param pieces  the text that each token adds; default: its own. A token that is a part of a character adds nothing, or all of it.
 * @param first   text of the prompt's first token: nothing precedes it, so it has no log-probability
 */
function legacyLogprobs(entries: readonly TokenLogprob[], offset: number, pieces?: readonly string[], first?: string): LegacyLogprobs {
  const result: LegacyLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let at = offset;
  const add = (text: string, logprob: number | null, top: Record<string, number> | null) => {
    const added = pieces?.[result.tokens.length] ?? text;
    result.tokens.push(text);
    result.token_logprobs.push(logprob);
    result.top_logprobs.push(top);
    result.text_offset.push(at);
    at += added.length;
  };
  if (first !== undefined) add(first, null, null);
  for (const { text, logprob, top } of entries) add(text, logprob, byText(top));
  return result;
}

/** Of tokens with the same text (bytes that are no text alone, say) the first and most probable stands for all. */
function byText(top: TokenLogprob["top"]): Record<string, number> {
  const firsts = top.filter(({ text }, index) => top.findIndex((other) => other.text === text) === index);
  return Object.fromEntries(firsts.map(({ text, logprob }) => [text, logprob]));
}

function joined(a: LegacyLogprobs, b: LegacyLogprobs): LegacyLogprobs {
  return {
    tokens: [...a.tokens, ...b.tokens],
    token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
    top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
    text_offset: [...a.text_offset, ...b.text_offset],
  };
}

/** @param echoed  by prompt, the text that goes before its answers */
export function completionAnswer(request: CompletionRequest, echoed: readonly string[], head: ChatHead, answers: readonly Answer[]) {
  const perPrompt = request.n ?? 1;
  const results = answers.map(({ result }) => result);
  const promptLogprobs = (prompt: string, { promptLogprobs: entries, echo }: WireResult) =>
    entries === undefined ? legacyLogprobs([], prompt.length) : legacyLogprobs(entries, 0, echo?.pieces, echo?.first);
  return {
    ...head,
    object: "text_completion",
    choices: answers.map(({ text, pieces, logprobs, result }, index) => {
      const prompt = echoed[Math.floor(index / perPrompt)]!;
      return {
        index,
        text: prompt + text,
        logprobs: request.logprobs == null ? null : joined(promptLogprobs(prompt, result), legacyLogprobs(logprobs, prompt.length, pieces)),
        finish_reason: finishReason(result),
      };
    }),
    usage: usageOf(results, echoed.length),
    ...(request.chainrule?.facts === false ? {} : { chainrule: { choices: results.map(extensionOf) } }),
  };
}

export function completionStream(request: CompletionRequest, echoed: readonly string[], head: ChatHead): StreamShape {
  const perPrompt = request.n ?? 1;
  const lengths = new Map<number, number>();
  const chunk = (choices: readonly object[], more: object = {}): Message => ({
    data: { ...head, object: "text_completion", choices, ...more },
  });
  const facts = (choice: number, more: object) => (request.chainrule?.facts === false ? {} : { chainrule: { choice, ...more } });
  return {
    begin(index) {
      const text = echoed[Math.floor(index / perPrompt)]!;
      lengths.set(index, text.length);
      return text === "" ? [] : [chunk([{ index, text, logprobs: null, finish_reason: null }])];
    },
    token(index, { text, fact, logprob }) {
      const at = lengths.get(index)!;
      lengths.set(index, at + text.length);
      const logprobs = logprob === undefined ? null : legacyLogprobs([logprob], at);
      return [chunk([{ index, text, logprobs, finish_reason: null }], facts(index, { token: fact }))];
    },
    search: (index, { step }) =>
      request.chainrule?.facts === false
        ? []
        : [chunk([{ index, text: "", logprobs: null, finish_reason: null }], facts(index, searchStep(step)))],
    finish: (index, { text, result }) => [
      chunk([{ index, text, logprobs: null, finish_reason: finishReason(result) }], facts(index, extensionOf(result))),
    ],
    end: (results) => [
      ...(request.stream_options?.include_usage === true ? [chunk([], { usage: usageOf(results, echoed.length) })] : []),
      { data: "[DONE]" },
    ],
    failed: (error) => ({ event: "error", data: { error: error.body } }),
  };
}
