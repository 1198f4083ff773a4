import { OptionError } from "../errors.ts";

/** What JSON can carry: what a template may be given. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

const roles = ["system", "developer", "user", "assistant", "tool"] as const;
export type Role = (typeof roles)[number];

/** A piece of a message. Only text for now. */
export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/** A call the assistant made of one of the {@link Tool}s it was offered. */
export interface ToolCall {
  readonly id?: string;
  readonly name: string;
  readonly arguments: { readonly [name: string]: JsonValue };
}

/** One turn of a conversation. */
export interface Message {
  readonly role: Role;
  /** The text. Several parts are one text, joined by a line feed, as llama.cpp and vLLM join them. May be empty. */
  readonly content: string | readonly TextPart[];
  /** Who speaks, or which tool answers, for templates that show it. */
  readonly name?: string;
  /** The assistant's thoughts before its answer, for templates that show them. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
  /** In a `tool` message: the {@link ToolCall.id} that it answers. */
  readonly toolCallId?: string;
}

/** A function the assistant may call. */
export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments, an object. */
  readonly parameters: { readonly [key: string]: JsonValue };
}

/** Messages in the form that templates read: that of the Transformers library, which owns these names. @throws OptionError */
export function toTemplateMessages(messages: readonly Message[]): JsonValue[] {
  if (!Array.isArray(messages)) throw new OptionError("messages", `must be a list of messages, got ${kindOf(messages)}`);
  if (messages.length === 0) throw new OptionError("messages", "must hold at least one message");
  return messages.map((message, index) => toTemplateMessage(`messages[${index}]`, message));
}

function toTemplateMessage(path: string, message: Message): JsonValue {
  refuseUnknownFields(path, message, ["role", "content", "name", "reasoning", "toolCalls", "toolCallId"]);
  if (!roles.includes(message.role)) throw new OptionError(`${path}.role`, `must be one of ${roles.join(", ")}, got ${show(message.role)}`);
  const { name, reasoning, toolCalls, toolCallId } = message;
  if (toolCalls !== undefined && message.role !== "assistant") {
    throw new OptionError(`${path}.toolCalls`, `only the assistant calls tools, this message is from ${message.role}`);
  }
  if (toolCallId !== undefined && message.role !== "tool") {
    throw new OptionError(`${path}.toolCallId`, `only a message from tool answers a call, this one is from ${message.role}`);
  }
  return {
    role: message.role,
    content: joinContent(`${path}.content`, message.content),
    ...(name === undefined ? {} : { name: text(`${path}.name`, name) }),
    ...(reasoning === undefined ? {} : { reasoning_content: text(`${path}.reasoning`, reasoning) }),
    ...(toolCalls === undefined ? {} : { tool_calls: list(`${path}.toolCalls`, toolCalls, toTemplateToolCall) }),
    ...(toolCallId === undefined ? {} : { tool_call_id: text(`${path}.toolCallId`, toolCallId) }),
  };
}

function joinContent(path: string, content: Message["content"]): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw new OptionError(path, `must be a string or a list of parts, got ${kindOf(content)}`);
  return list(path, content as readonly TextPart[], (partPath, part) => {
    if (part?.type !== "text")
      throw new OptionError(`${partPath}.type`, `only parts of type "text" are supported, got ${show(part?.type)}`);
    refuseUnknownFields(partPath, part, ["type", "text"]);
    return text(`${partPath}.text`, part.text);
  }).join("\n");
}

function toTemplateToolCall(path: string, call: ToolCall): JsonValue {
  refuseUnknownFields(path, call, ["id", "name", "arguments"]);
  return {
    ...(call.id === undefined ? {} : { id: text(`${path}.id`, call.id) }),
    type: "function",
    function: { name: text(`${path}.name`, call.name), arguments: jsonObject(`${path}.arguments`, call.arguments) },
  };
}

/** Tools in the form that templates read: OpenAI's. @throws OptionError */
export function toTemplateTools(tools: readonly Tool[]): JsonValue[] {
  return list("tools", tools, (path, tool) => {
    refuseUnknownFields(path, tool, ["name", "description", "parameters"]);
    return {
      type: "function",
      function: {
        name: text(`${path}.name`, tool.name),
        ...(tool.description === undefined ? {} : { description: text(`${path}.description`, tool.description) }),
        parameters: jsonObject(`${path}.parameters`, tool.parameters),
      },
    };
  });
}

/** Checks that `value` is a plain object which JSON carries without loss. @throws OptionError that names the first bad place */
export function jsonObject(path: string, value: unknown): { readonly [key: string]: JsonValue } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new OptionError(path, `must be an object, got ${kindOf(value)}`);
  }
  return jsonValue(path, value, 0) as { readonly [key: string]: JsonValue };
}

/** Deeper than any schema in use; bounds the recursion, also on an object that holds itself. */
const maxDepth = 64;

function jsonValue(path: string, value: unknown, depth: number): JsonValue {
  if (depth > maxDepth) throw new OptionError(path, `is nested deeper than ${maxDepth} levels`);
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item, index) => jsonValue(`${path}[${index}]`, item, depth + 1));
  if (typeof value === "object" && [Object.prototype, null].includes(Object.getPrototypeOf(value))) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined); // as JSON.stringify leaves them out
    return Object.fromEntries(entries.map(([key, item]) => [key, jsonValue(`${path}.${key}`, item, depth + 1)]));
  }
  throw new OptionError(path, `must be a JSON value, got ${kindOf(value)}`);
}

function list<T, U>(path: string, values: readonly T[], convert: (path: string, value: T) => U): U[] {
  if (!Array.isArray(values)) throw new OptionError(path, `must be a list, got ${kindOf(values)}`);
  return values.map((value, index) => convert(`${path}[${index}]`, value));
}

function text(path: string, value: unknown): string {
  if (typeof value !== "string") throw new OptionError(path, `must be a string, got ${kindOf(value)}`);
  return value;
}

function refuseUnknownFields(path: string, value: object, known: readonly string[]): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new OptionError(path, `must be an object, got ${kindOf(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw new OptionError(`${path}.${key}`, `is not a field here; the fields are ${known.join(", ")}`);
  }
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "number" ? String(value) : typeof value;
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : kindOf(value);
}
