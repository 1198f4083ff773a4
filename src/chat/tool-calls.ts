import type { JsonValue, Message, Tool, ToolCall } from "./messages.ts";

// Tool calls as text. There is one notation, that of the Hermes and Qwen models:
//
//     <tool_call>
//     {"name": "get_weather", "arguments": {"city": "Paris"}}
//     </tool_call>
//
// Templates that write it are given the tools; for all others the tools are described in the system message. Either way the answer is held to
// the notation by a grammar, so that reading it back can't fail.

const opening = "<tool_call>";
const closing = "\n</tool_call>";

/** Who decides whether a tool is called: the model, nobody (some tool is), or the caller, who names it. */
export type ToolChoice = "auto" | "required" | { readonly name: string };

/** What a template is given so that the model learns of its tools, of earlier calls, and of their answers. */
export function layOutTools(
  template: string,
  messages: readonly Message[],
  tools: readonly Tool[] | undefined,
): { readonly messages: readonly Message[]; readonly tools?: readonly Tool[] } {
  if (template.includes(opening)) return { messages, ...(tools === undefined ? {} : { tools }) };
  const written: Message[] = [];
  for (const message of messages) {
    if (message.role === "tool") addAnswer(written, textOf(message));
    else if (message.toolCalls === undefined) written.push(message);
    else {
      const { toolCalls, ...rest } = message;
      written.push({ ...rest, content: [textOf(message), ...toolCalls.map(writeCall)].filter((text) => text !== "").join("\n") });
    }
  }
  if (tools === undefined) return { messages: written };
  const [first, ...others] = written;
  const description = describeTools(tools);
  return first?.role === "system" || first?.role === "developer"
    ? { messages: [{ ...first, content: `${textOf(first)}\n\n${description}` }, ...others] }
    : { messages: [{ role: "system", content: description }, ...written] };
}

/** A tool's answer, as part of the user's message: templates that don't know tools know no such role. Answers in a row are one message. */
function addAnswer(list: Message[], answer: string): void {
  const text = `<tool_response>\n${answer}\n</tool_response>`;
  const last = list.at(-1);
  if (last?.role === "user" && textOf(last).endsWith("</tool_response>"))
    list[list.length - 1] = { role: "user", content: `${textOf(last)}\n${text}` };
  else list.push({ role: "user", content: text });
}

const textOf = ({ content }: Message): string => (typeof content === "string" ? content : content.map(({ text }) => text).join("\n"));

const callHead = (name: string): string => `\n{"name": ${JSON.stringify(name)}, "arguments": `;

const writeCall = ({ name, arguments: values }: ToolCall): string => `${opening}${callHead(name)}${JSON.stringify(values)}}${closing}`;

function describeTools(tools: readonly Tool[]): string {
  return [
    "You may call functions to help with the request. The functions are these, each a JSON object:",
    "<tools>",
    ...tools.map((tool) => JSON.stringify(tool)),
    "</tools>",
    "To call one, answer with its name and arguments as JSON between tags:",
    `${opening}\n{"name": "the function's name", "arguments": {"its": "arguments"}}${closing}`,
  ].join("\n");
}

/**
 * What an answer with tools may be, for the guide `grammar` (GBNF with `%json`): calls whose arguments are valid under the tool's schema, and,
 * where the model may choose, a text or else a text before the calls.
 *
 * @param options.isParallel  several calls in one answer
 * @param options.answer      JSON Schema of an answer that calls nothing; default: any text
 */
export function toolGrammar(
  tools: readonly Tool[],
  choice: ToolChoice,
  options: { readonly isParallel: boolean; readonly answer?: JsonValue },
): string {
  const offered = typeof choice === "string" ? tools : tools.filter(({ name }) => name === choice.name);
  const calls = `call${options.isParallel ? ` ("\\n" call)*` : ""}`;
  const isFree = choice === "auto";
  const root = !isFree ? calls : options.answer === undefined ? `text (${calls})?` : `%json ${JSON.stringify(options.answer)} | ${calls}`;
  return [
    `root ::= ${root}`,
    `call ::= ${offered.map((_, index) => `call-${index}`).join(" | ")}`,
    ...offered.map(
      ({ name, parameters }, index) =>
        `call-${index} ::= ${literal(opening + callHead(name))} %json ${JSON.stringify(parameters)} ${literal(`}${closing}`)}`,
    ),
    ...(isFree && options.answer === undefined ? [textRule] : []),
  ].join("\n");
}

const literal = (text: string): string => `"${text.replace(/["\\]/g, "\\$&").replaceAll("\n", "\\n")}"`;

/**
 * Any text that doesn't hold the opening tag. Its first character occurs in it once, so an attempt at it that fails with another character
 * goes on as text, and one that fails with that character is a new attempt.
 */
const attempts = Array.from(opening, (_, index) => opening.slice(0, index)).slice(1); // "<", "<t" …
const textRule = [
  `text ::= ([^<] | attempt* (${attempts.map((made) => `${literal(made)} [^<${opening[made.length]}]`).join(" | ")}))* attempt*`,
  `attempt ::= ${attempts.map(literal).join(" | ")}`,
].join("\n");

/** A piece of an answer. Calls count from 0. */
export type AnswerDelta =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "call"; readonly index: number; readonly name: string }
  /** More of a call's arguments, as JSON text. */
  | { readonly kind: "arguments"; readonly index: number; readonly text: string };

/** Splits an answer of {@link toolGrammar}, piece by piece as it comes, into text and calls. */
export class ToolCallReader {
  #held = "";
  #state: "text" | "head" | "arguments" | "end" = "text";
  #calls = 0;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;

  /** Calls begun so far. */
  get callCount(): number {
    return this.#calls;
  }

  push(text: string): AnswerDelta[] {
    this.#held += text;
    const deltas: AnswerDelta[] = [];
    while (this.#step(deltas));
    return deltas;
  }

  /** What is left when the answer has ended, also where it was cut. */
  end(): AnswerDelta[] {
    const rest = this.#state === "text" ? this.#held : "";
    this.#held = "";
    return rest === "" || this.#isBetweenCalls(rest) ? [] : [{ kind: "text", text: rest }];
  }

  /** Takes what can be taken of the held text; whether there may be more to take. */
  #step(deltas: AnswerDelta[]): boolean {
    switch (this.#state) {
      case "text": {
        const at = this.#held.indexOf(opening);
        const end = at === -1 ? this.#held.length - partialLength(this.#held) : at;
        const text = this.#held.slice(0, end);
        if (text !== "" && !this.#isBetweenCalls(text)) deltas.push({ kind: "text", text });
        this.#held = this.#held.slice(at === -1 ? end : at + opening.length);
        if (at !== -1) this.#state = "head";
        return at !== -1;
      }
      case "head": {
        const match = /^\n\{"name": "([^"]*)", "arguments": /.exec(this.#held);
        if (match === null) return false;
        deltas.push({ kind: "call", index: this.#calls, name: match[1]! });
        this.#calls += 1;
        this.#held = this.#held.slice(match[0].length);
        this.#state = "arguments";
        return true;
      }
      case "arguments": {
        const length = this.#jsonLength();
        if (length > 0) deltas.push({ kind: "arguments", index: this.#calls - 1, text: this.#held.slice(0, length) });
        this.#held = this.#held.slice(length);
        if (this.#depth > 0 || length === 0) return false;
        this.#state = "end";
        return true;
      }
      case "end": {
        const end = `}${closing}`;
        if (this.#held.length < end.length) return false;
        this.#held = this.#held.slice(end.length);
        this.#state = "text";
        return true;
      }
    }
  }

  #isBetweenCalls(text: string): boolean {
    return this.#calls > 0 && text.trim() === "";
  }

  /** How much of the held text belongs to the object that is being read; depth is 0 once it is whole. */
  #jsonLength(): number {
    for (let at = 0; at < this.#held.length; at += 1) {
      const character = this.#held[at]!;
      if (this.#isEscaped) this.#isEscaped = false;
      else if (this.#isInString) {
        if (character === "\\") this.#isEscaped = true;
        else if (character === '"') this.#isInString = false;
      } else if (character === '"') this.#isInString = true;
      else if (character === "{") this.#depth += 1;
      else if (character === "}") {
        this.#depth -= 1;
        if (this.#depth === 0) return at + 1;
      }
    }
    return this.#held.length;
  }
}

/** Length of the longest end of a text that begins the opening tag. */
function partialLength(text: string): number {
  const at = text.lastIndexOf("<");
  return at !== -1 && opening.startsWith(text.slice(at)) ? text.length - at : 0;
}
