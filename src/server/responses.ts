import type { AnswerDelta, Message as ChatMessage, ToolCall } from "../chat/index.ts";
import type { Prompt } from "../decoding/index.ts";
import { chatLogprob, checkStreamOptions, extensionOf, sharedOptions } from "./answers.ts";
import { RequestError } from "./parse-body.ts";
import type { WireLogprob, WireOptions, WireResult } from "./protocol.ts";
import type { Answer, GenerateTask, Message, StreamShape } from "./runs.ts";
import type { ResponsesRequest } from "./schemas.ts";
import { type AnswerForm, AnswerReader, answerForm, earlierCall, newId } from "./tools.ts";

// `/v1/responses`: the request as a task, and its answer as a list of items that grows event by event. Nothing is stored.

/** @throws RequestError */
export function responsesTask(request: ResponsesRequest): { readonly task: GenerateTask; readonly form: AnswerForm } {
  checkStreamOptions(request);
  const wantsLogprobs = request.include?.includes("message.output_text.logprobs") === true;
  if (request.top_logprobs != null && !wantsLogprobs)
    throw new RequestError("top_logprobs", "invalid_value", 'top_logprobs needs include: ["message.output_text.logprobs"]');
  const form = answerForm({
    tools: request.tools,
    choice: request.tool_choice,
    isParallel: request.parallel_tool_calls,
    format: request.text?.format,
  });
  const { seed, stop, ...chainrule } = request.chainrule ?? {};
  const limit = request.max_output_tokens;
  const task: GenerateTask = {
    kind: "generate",
    prompt: toMessages(request) as Prompt,
    ...(form.tools === undefined ? {} : { tools: form.tools }),
    options: {
      ...sharedOptions({ ...request, seed, stop, chainrule }, form.guide),
      ...(limit == null ? {} : { maxTokens: limit }),
      ...(wantsLogprobs ? { logprobs: request.top_logprobs ?? 0 } : {}),
    } as WireOptions,
    count: 1,
  };
  return { task, form };
}

function toMessages({ input, instructions }: ResponsesRequest): ChatMessage[] {
  const messages: ChatMessage[] = instructions == null ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...messages, { role: "user", content: input }];
  for (const [index, item] of input.entries()) {
    if ("role" in item) {
      const content = typeof item.content === "string" ? item.content : item.content.map(({ text }) => text).join("\n");
      messages.push({ role: item.role, content });
    } else if (item.type === "function_call_output") messages.push({ role: "tool", content: item.output, toolCallId: item.call_id });
    else addCall(messages, earlierCall(item.call_id, item.name, item.arguments, `input.${index}.arguments`));
  }
  return messages;
}

/** Calls in a row, and a text before them, are one message of the assistant's. */
function addCall(messages: ChatMessage[], call: ToolCall): void {
  const last = messages.at(-1);
  if (last?.role === "assistant") messages[messages.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), call] };
  else messages.push({ role: "assistant", content: "", toolCalls: [call] });
}

interface TextItem {
  readonly id: string;
  readonly type: "message";
  status: "in_progress" | "completed" | "incomplete";
  readonly role: "assistant";
  readonly content: { type: "output_text"; text: string; annotations: never[]; logprobs: object[] }[];
}

interface CallItem {
  readonly id: string;
  readonly type: "function_call";
  status: "in_progress" | "completed" | "incomplete";
  readonly call_id: string;
  readonly name: string;
  arguments: string;
}

export interface ResponseHead {
  readonly id: string;
  readonly created_at: number;
  readonly model: string;
}

/** A response as it grows; every step gives the events that tell of it. */
export class GrowingResponse {
  readonly #request: ResponsesRequest;
  readonly #head: ResponseHead;
  readonly #reader: AnswerReader;
  readonly #items: (TextItem | CallItem)[] = [];
  /** Of tokens whose text has not gone out. */
  #logprobs: object[] = [];
  #numEvents = 0;

  constructor(request: ResponsesRequest, form: AnswerForm, head: ResponseHead) {
    this.#request = request;
    this.#head = head;
    this.#reader = new AnswerReader(form);
  }

  begin(): Message[] {
    const response = this.#response("in_progress", {});
    return [this.#event("response.created", { response }), this.#event("response.in_progress", { response })];
  }

  /** @param more  goes out with the token's first event */
  token(text: string, logprobs: readonly WireLogprob[], more: object): Message[] {
    this.#logprobs.push(...logprobs.map(chatLogprob));
    return this.#reader.push(text).flatMap((delta, index) => this.#take(delta, index === 0 ? more : {}));
  }

  finish(text: string, result: WireResult): Message[] {
    const status = result.finishReason === "stop" ? "completed" : "incomplete";
    const deltas = this.#reader.end(text);
    // an answer without a word is a message too
    if (this.#items.length === 0 && deltas.length === 0) deltas.push({ kind: "text", text: "" });
    const events = [...deltas.flatMap((delta) => this.#take(delta, {})), ...this.#close(status)];
    return [...events, this.#event(`response.${status}`, { response: this.whole(result) })];
  }

  /** The response at its end. */
  whole(result: WireResult): object {
    const { promptTokens, completionTokens, cachedTokens = 0 } = result.usage;
    const isWhole = result.finishReason === "stop";
    return this.#response(isWhole ? "completed" : "incomplete", {
      incomplete_details: isWhole ? null : { reason: "max_output_tokens" },
      usage: {
        input_tokens: promptTokens,
        input_tokens_details: { cached_tokens: cachedTokens },
        output_tokens: completionTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: promptTokens + completionTokens,
      },
      ...(this.#request.chainrule?.facts === false ? {} : { chainrule: extensionOf(result) }),
    });
  }

  failed(error: { readonly code: string; readonly message: string; readonly param: string | null }): Message {
    const { code, message, param } = error;
    return this.#event("error", { code, message, param });
  }

  #take(delta: AnswerDelta, more: object): Message[] {
    switch (delta.kind) {
      case "text": {
        const last = this.#items.at(-1);
        const events = last?.type === "message" ? [] : [...this.#close("completed"), ...this.#openText()];
        const item = this.#items.at(-1) as TextItem;
        item.content[0]!.text += delta.text;
        const logprobs = this.#logprobs.splice(0);
        item.content[0]!.logprobs.push(...logprobs);
        return [
          ...events,
          this.#event("response.output_text.delta", { ...this.#place(item), content_index: 0, delta: delta.text, logprobs, ...more }),
        ];
      }
      case "call": {
        const events = this.#close("completed");
        const item: CallItem = {
          ...{ id: newId("fc"), type: "function_call", status: "in_progress", call_id: newId("call"), name: delta.name, arguments: "" },
        };
        this.#items.push(item);
        return [...events, this.#event("response.output_item.added", { output_index: this.#items.length - 1, item: { ...item } })];
      }
      case "arguments": {
        const item = this.#items.at(-1) as CallItem;
        item.arguments += delta.text;
        return [this.#event("response.function_call_arguments.delta", { ...this.#place(item), delta: delta.text, ...more })];
      }
      default:
        return delta satisfies never;
    }
  }

  #openText(): Message[] {
    const item: TextItem = { id: newId("msg"), type: "message", status: "in_progress", role: "assistant", content: [] };
    this.#items.push(item);
    const added = this.#event("response.output_item.added", {
      output_index: this.#items.length - 1,
      item: { ...item, content: [] },
    });
    const part = { type: "output_text", text: "", annotations: [], logprobs: [] } as const;
    item.content.push({ ...part, annotations: [], logprobs: [] });
    return [added, this.#event("response.content_part.added", { ...this.#place(item), content_index: 0, part })];
  }

  /** Ends the item that is growing, if there is one. */
  #close(status: "completed" | "incomplete"): Message[] {
    const item = this.#items.at(-1);
    if (item === undefined || item.status !== "in_progress") return [];
    item.status = status;
    const { output_index: index } = this.#place(item);
    return [...this.#closeContent(item), this.#event("response.output_item.done", { output_index: index, item })];
  }

  #closeContent(item: TextItem | CallItem): Message[] {
    const place = this.#place(item);
    if (item.type === "function_call")
      return [this.#event("response.function_call_arguments.done", { ...place, name: item.name, arguments: item.arguments })];
    const [part] = item.content;
    const { text, logprobs } = part!;
    return [
      this.#event("response.output_text.done", { ...place, content_index: 0, text, logprobs }),
      this.#event("response.content_part.done", { ...place, content_index: 0, part }),
    ];
  }

  #place(item: TextItem | CallItem) {
    return { item_id: item.id, output_index: this.#items.indexOf(item) };
  }

  #event(type: string, more: object): Message {
    return { event: type, data: JSON.stringify({ type, sequence_number: this.#numEvents++, ...more }) };
  }

  #response(status: string, more: object): object {
    const { instructions, max_output_tokens: limit, tools, tool_choice: choice, text, temperature, top_p: topP } = this.#request;
    return {
      ...this.#head,
      object: "response",
      status,
      error: null,
      incomplete_details: null,
      instructions: instructions ?? null,
      max_output_tokens: limit ?? null,
      metadata: {},
      output: this.#items,
      parallel_tool_calls: this.#request.parallel_tool_calls ?? true,
      previous_response_id: null,
      store: false,
      temperature: temperature ?? 1,
      text: { format: text?.format ?? { type: "text" } },
      tool_choice: choice ?? "auto",
      tools: tools ?? [],
      top_p: topP ?? 1,
      truncation: "disabled",
      usage: null,
      ...more,
    };
  }
}

export function responsesAnswer(request: ResponsesRequest, form: AnswerForm, head: ResponseHead, answer: Answer): object {
  const response = new GrowingResponse(request, form, head);
  response.token("", answer.logprobs, {});
  response.finish(answer.text, answer.result);
  return response.whole(answer.result);
}

export function responsesStream(request: ResponsesRequest, form: AnswerForm, head: ResponseHead): StreamShape {
  const response = new GrowingResponse(request, form, head);
  const facts = request.chainrule?.facts !== false;
  return {
    begin: () => response.begin(),
    token: (_, { text, fact, logprob }) =>
      response.token(text, logprob === undefined ? [] : [logprob], facts ? { chainrule: { token: fact } } : {}),
    search: () => [], // no event of this API has room for it; branches are in the facts at the end
    finish: (_, { text, result }) => response.finish(text, result),
    end: () => [],
    failed: (error) => response.failed(error),
  };
}
