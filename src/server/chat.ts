import type { AnswerDelta, Message as ChatMessage } from "../chat/index.ts";
import type { Prompt } from "../decoding/index.ts";
import { chatLogprob, checkStreamOptions, extensionOf, finishReason, searchStep, sharedOptions, usageOf } from "./answers.ts";
import { RequestError } from "./parse-body.ts";
import type { WireOptions, WireResult } from "./protocol.ts";
import type { Answer, GenerateTask, Message, StreamShape } from "./runs.ts";
import type { ChatRequest } from "./schemas.ts";
import { type AnswerForm, AnswerReader, answerForm, earlierCall, newId } from "./tools.ts";

// `/v1/chat/completions`: the request as a task, and its events in OpenAI's shapes.

/** The head that every answer and chunk has. */
export interface ChatHead {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

/** @throws RequestError */
export function chatTask(request: ChatRequest): { readonly task: GenerateTask; readonly form: AnswerForm } {
  const { max_tokens: maxTokens, max_completion_tokens: maxCompletionTokens, top_logprobs: topLogprobs, tool_choice: choice } = request;
  checkStreamOptions(request);
  if (maxTokens != null && maxCompletionTokens != null && maxTokens !== maxCompletionTokens)
    throw new RequestError("max_tokens", "invalid_value", "max_tokens and max_completion_tokens contradict each other");
  if (topLogprobs != null && request.logprobs !== true)
    throw new RequestError("top_logprobs", "invalid_value", "top_logprobs needs logprobs: true");
  const { response_format: format } = request;
  const form = answerForm({
    tools: request.tools?.map((tool) => tool.function),
    choice: typeof choice === "object" && choice !== null ? choice.function : choice,
    isParallel: request.parallel_tool_calls,
    format: format?.type === "json_schema" ? { type: format.type, schema: format.json_schema.schema } : format,
  });
  const limit = maxCompletionTokens ?? maxTokens;
  const task: GenerateTask = {
    kind: "generate",
    prompt: request.messages.map(toMessage) as Prompt,
    ...(form.tools === undefined ? {} : { tools: form.tools }),
    options: {
      ...sharedOptions(request, form.guide),
      ...(limit == null ? {} : { maxTokens: limit }),
      ...(request.logprobs === true ? { logprobs: topLogprobs ?? 0 } : {}),
    } as WireOptions,
    count: request.n ?? 1,
  };
  return { task, form };
}

function toMessage(message: ChatRequest["messages"][number], index: number): ChatMessage {
  const { role } = message;
  if (role === "tool") return { role, content: message.content, toolCallId: message.tool_call_id };
  const name = message.name === undefined ? {} : { name: message.name };
  if (role !== "assistant") return { role, content: message.content, ...name };
  const { tool_calls: calls, content } = message;
  if (content == null && calls === undefined)
    throw new RequestError(`messages.${index}.content`, "invalid_value", `messages.${index}.content: is needed where nothing is called`);
  const toolCalls = calls?.map((call, at) =>
    earlierCall(call.id, call.function.name, call.function.arguments, `messages.${index}.tool_calls.${at}.function.arguments`),
  );
  return { role, content: content ?? "", ...name, ...(toolCalls === undefined ? {} : { toolCalls }) };
}

export function chatAnswer(request: ChatRequest, form: AnswerForm, head: ChatHead, answers: readonly Answer[]) {
  const results = answers.map(({ result }) => result);
  return {
    ...head,
    object: "chat.completion",
    choices: answers.map(({ text, logprobs, result }, index) => {
      const reader = new AnswerReader(form);
      const deltas = reader.end(text);
      return {
        index,
        message: { role: "assistant", refusal: null, ...messageOf(deltas) },
        logprobs: request.logprobs === true ? { content: logprobs.map(chatLogprob), refusal: null } : null,
        finish_reason: reasonOf(reader, result),
      };
    }),
    usage: usageOf(results, 1),
    ...(withFacts(request) ? { chainrule: { choices: results.map(extensionOf) } } : {}),
  };
}

function messageOf(deltas: readonly AnswerDelta[]) {
  const content = deltas.map((delta) => (delta.kind === "text" ? delta.text : "")).join("");
  const calls: { id: string; type: "function"; function: { name: string; arguments: string } }[] = [];
  for (const delta of deltas) {
    if (delta.kind === "call") calls.push({ id: newId("call"), type: "function", function: { name: delta.name, arguments: "" } });
    else if (delta.kind === "arguments") calls[delta.index]!.function.arguments += delta.text;
  }
  return calls.length === 0 ? { content } : { content: content === "" ? null : content, tool_calls: calls };
}

const reasonOf = (reader: AnswerReader, result: WireResult) =>
  reader.hasCalls && result.finishReason === "stop" ? "tool_calls" : finishReason(result);

const withFacts = (request: ChatRequest) => request.chainrule?.facts !== false;

export function chatStream(request: ChatRequest, form: AnswerForm, head: ChatHead): StreamShape {
  const readers = new Map<number, AnswerReader>();
  const chunk = (choices: readonly object[], more: object = {}): Message => ({
    data: { ...head, object: "chat.completion.chunk", choices, ...more },
  });
  const facts = (choice: number, more: object) => (withFacts(request) ? { chainrule: { choice, ...more } } : {});
  return {
    begin(index) {
      readers.set(index, new AnswerReader(form));
      return [chunk([{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }])];
    },
    token(index, { text, fact, logprob }) {
      const [first = {}, ...others] = readers.get(index)!.push(text).map(toDelta); // a token's fact goes out also where its text is held back
      const logprobs = logprob === undefined ? null : { content: [chatLogprob(logprob)], refusal: null };
      return [
        chunk([{ index, delta: first, logprobs, finish_reason: null }], facts(index, { token: fact })),
        ...others.map((delta) => chunk([{ index, delta, logprobs: null, finish_reason: null }])),
      ];
    },
    search: (index, { step }) =>
      withFacts(request) ? [chunk([{ index, delta: {}, logprobs: null, finish_reason: null }], facts(index, searchStep(step)))] : [],
    finish(index, { text, result }) {
      const reader = readers.get(index)!;
      const deltas = reader.end(text).map(toDelta);
      const last = deltas.pop() ?? {};
      return [
        ...deltas.map((delta) => chunk([{ index, delta, logprobs: null, finish_reason: null }])),
        chunk([{ index, delta: last, logprobs: null, finish_reason: reasonOf(reader, result) }], facts(index, extensionOf(result))),
      ];
    },
    end: (results) => [
      ...(request.stream_options?.include_usage === true ? [chunk([], { usage: usageOf(results, 1) })] : []),
      { data: "[DONE]" },
    ],
    failed: (error) => ({ event: "error", data: { error: error.body } }),
  };
}

function toDelta(delta: AnswerDelta): object {
  switch (delta.kind) {
    case "text":
      return { content: delta.text };
    case "call":
      return { tool_calls: [{ index: delta.index, id: newId("call"), type: "function", function: { name: delta.name, arguments: "" } }] };
    case "arguments":
      return { tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] };
    default:
      return delta satisfies never;
  }
}
