import { randomUUID } from "node:crypto";
import { type AnswerDelta, type JsonValue, type Tool, type ToolCall, ToolCallReader, toolGrammar } from "../chat/index.ts";
import { RequestError } from "./parse-body.ts";
import type { MethodSpec } from "./schemas.ts";

// Tools as requests name them, in either of OpenAI's two shapes, and calls as answers do.

export interface FunctionTool {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly parameters?: { readonly [key: string]: unknown } | null | undefined;
}

export type WireChoice = "none" | "auto" | "required" | { readonly name: string };

/** What an answer must look like where the request says so. */
export type Format =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly schema: { readonly [key: string]: unknown } };

/** Characters of all tools' schemas together. */
const maxToolsLength = 256 * 1024;

/** What a request's tools and format mean to a run. */
export interface AnswerForm {
  readonly guide?: MethodSpec;
  /** Laid out in the prompt. */
  readonly tools?: readonly Tool[];
  /** Whether the answer may hold calls, which are read out of its text. */
  readonly mayCall: boolean;
}

/** @throws RequestError naming the field that doesn't fit the others */
export function answerForm(request: {
  readonly tools?: readonly FunctionTool[] | null | undefined;
  readonly choice?: WireChoice | null | undefined;
  readonly isParallel?: boolean | null | undefined;
  readonly format?: Format | null | undefined;
}): AnswerForm {
  const { isParallel, format, choice } = request;
  const schema =
    format == null || format.type === "text"
      ? undefined
      : ((format.type === "json_object" ? { type: "object" } : format.schema) as JsonValue);
  const answer = schema === undefined ? {} : { guide: { name: "grammar", schema: JSON.stringify(schema) } };
  if (request.tools == null) {
    if (choice != null && choice !== "none") throw new RequestError("tool_choice", "invalid_value", "tool_choice needs tools");
    if (isParallel != null) throw new RequestError("parallel_tool_calls", "invalid_value", "parallel_tool_calls needs tools");
    return { ...answer, mayCall: false };
  }
  const tools = request.tools.map(({ name, description, parameters }): Tool => {
    const given = (parameters ?? { type: "object", properties: {}, additionalProperties: false }) as Tool["parameters"];
    return { name, ...(description == null ? {} : { description }), parameters: { type: "object", ...given } };
  });
  const names = tools.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new RequestError("tools", "invalid_value", `tools: two tools are named ${JSON.stringify(twice)}`);
  if (typeof choice === "object" && choice !== null && !names.includes(choice.name))
    throw new RequestError("tool_choice", "invalid_value", `tool_choice: there is no tool ${JSON.stringify(choice.name)}`);
  if (choice === "none") return { ...answer, tools, mayCall: false };
  const size = tools.reduce((sum, tool) => sum + JSON.stringify(tool.parameters).length, 0);
  if (size > maxToolsLength)
    throw new RequestError(
      "tools",
      "invalid_value",
      `tools: their parameters hold ${size} characters, at most ${maxToolsLength} are compiled`,
    );
  const gbnf = toolGrammar(tools, choice ?? "auto", {
    isParallel: isParallel ?? true,
    ...(schema === undefined ? {} : { answer: schema }),
  });
  return { guide: { name: "grammar", gbnf }, tools, mayCall: true };
}

/** An earlier call, as the client gives it back. @throws RequestError */
export function earlierCall(id: string, name: string, values: string, where: string): ToolCall {
  let parsed: unknown;
  try {
    parsed = JSON.parse(values);
  } catch {
    throw new RequestError(where, "invalid_value", `${where}: must be the arguments as JSON text`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
    throw new RequestError(where, "invalid_value", `${where}: must be a JSON object`);
  return { id, name, arguments: parsed as ToolCall["arguments"] };
}

export const newId = (prefix: string): string => `${prefix}_${randomUUID().replaceAll("-", "")}`;

/** An answer's text split into text and calls; all of it is text where nothing may be called. */
export class AnswerReader {
  readonly #calls: ToolCallReader | undefined;

  constructor({ mayCall }: AnswerForm) {
    this.#calls = mayCall ? new ToolCallReader() : undefined;
  }

  get hasCalls(): boolean {
    return this.#calls !== undefined && this.#calls.callCount > 0;
  }

  push(text: string): AnswerDelta[] {
    if (this.#calls !== undefined) return this.#calls.push(text);
    return text === "" ? [] : [{ kind: "text", text }];
  }

  /** The last of the text, and what was held back. */
  end(text: string): AnswerDelta[] {
    return this.#calls === undefined ? this.push(text) : [...this.push(text), ...this.#calls.end()];
  }
}
