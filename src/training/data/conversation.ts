import type { Message } from "../../chat/index.ts";
import { TemplateError } from "../../errors.ts";

/** A conversation of a row, or why there is none; undefined where the row has none of the forms. */
export type Conversation = { readonly messages: readonly Message[] } | { readonly reason: string } | undefined;

/** Lays a conversation out as text, with special tokens in their written form. */
export type RenderChat = (messages: readonly Message[], addGenerationPrompt: boolean) => Promise<string>;

/** Text of a laid-out conversation; an answer's text is followed by what ends its turn. */
export interface Turn {
  readonly text: string;
  readonly isAnswer: boolean;
}

const rolesOf: Readonly<Record<string, Message["role"]>> = {
  ...{ system: "system", user: "user", assistant: "assistant" },
  ...{ human: "user", gpt: "assistant" }, // ShareGPT's names
};

/** Whether a row has fields of a form of conversation. */
export function conversationForms(row: Readonly<Record<string, unknown>>): string[] {
  const has = (name: string) => row[name] !== undefined && row[name] !== null; // Parquet has null where a row lacks a column
  const forms: string[] = [];
  if (has("messages")) forms.push("messages");
  if (has("conversations")) forms.push("conversations");
  if (has("instruction") && (has("output") || has("input"))) forms.push("instruction and output");
  if (has("instruction") && (has("response") || has("context"))) forms.push("instruction and response");
  return forms;
}

/** Reads `messages` (role, content), `conversations` (from, value), alpaca's (instruction, input, output) or dolly's form (…, context, response). */
export function readConversation(row: Readonly<Record<string, unknown>>): Conversation {
  const [form] = conversationForms(row);
  if (form === undefined) return undefined;
  if (form === "messages") return readAnswered(row.messages, form, "role", "content");
  if (form === "conversations") return readAnswered(row.conversations, form, "from", "value");
  for (const name of ["system", "history", "tools"]) if (isFilled(row[name])) return { reason: `has "${name}": write it as "messages"` };
  const [extra, answer] = form === "instruction and output" ? (["input", "output"] as const) : (["context", "response"] as const);
  const more = row[extra] ?? "";
  const texts = { instruction: row.instruction, [extra]: more, [answer]: row[answer] };
  for (const [name, value] of Object.entries(texts)) {
    if (typeof value !== "string") return { reason: `has no text as "${name}"` };
    if (value === "" && name !== extra) return { reason: `has an empty "${name}"` };
  }
  const question = more === "" ? String(row.instruction) : `${row.instruction}\n\n${more}`;
  return {
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: String(row[answer]) },
    ],
  };
}

function readAnswered(list: unknown, form: string, roleName: string, textName: string): Conversation {
  const turns = readTurns(list, form, roleName, textName);
  if ("reason" in turns) return turns;
  for (const [index, { role }] of turns.messages.entries())
    if (role === "assistant" && !turns.messages.slice(0, index).some((earlier) => earlier.role === "user"))
      return { reason: `has an answer in ${form}[${index}] before any question` };
  return turns.messages.some(({ role }) => role === "assistant") ? turns : { reason: `has "${form}" without an answer` };
}

/** A list of messages, whoever speaks in it. */
export function readTurns(
  list: unknown,
  form: string,
  roleName: string,
  textName: string,
): { readonly messages: readonly Message[] } | { readonly reason: string } {
  if (!Array.isArray(list)) return { reason: `has "${form}" that is no list` };
  const messages: Message[] = [];
  for (const [index, turn] of list.entries()) {
    const at = `${form}[${index}]`;
    if (typeof turn !== "object" || turn === null) return { reason: `has ${at} that is no object` };
    const { [roleName]: name, [textName]: content, ...others } = turn as Record<string, unknown>;
    // what is not known (tool calls, weights) may change what should be learned
    const other = Object.keys(others).find((key) => isFilled(others[key]));
    if (other !== undefined) return { reason: `has ${at}.${other}; the fields are ${roleName} and ${textName}` };
    const role = typeof name === "string" && Object.hasOwn(rolesOf, name) ? rolesOf[name] : undefined;
    if (role === undefined) return { reason: `has ${at}.${roleName} that is none of ${Object.keys(rolesOf).join(", ")}` };
    if (typeof content !== "string") return { reason: `has ${at}.${textName} that is no text` };
    if (content === "" && role === "assistant") return { reason: `has an empty answer in ${at}` };
    messages.push({ role, content });
  }
  return messages.length > 0 ? { messages } : { reason: `has "${form}" without a message` };
}

export const isFilled = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== "" && !(Array.isArray(value) && value.length === 0);

/**
 * A conversation up to its last answer. Each answer follows the very text that the model is given when it is asked for it, so a template
 * that changes earlier turns later is no base for learning them all, and gives a reason.
 */
export async function layOutConversation(messages: readonly Message[], render: RenderChat): Promise<readonly Turn[] | { reason: string }> {
  const turns: Turn[] = [];
  let done = "";
  for (const [index, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    let asked: string;
    let answered: string;
    try {
      asked = await render(messages.slice(0, index), true);
      answered = await render(messages.slice(0, index + 1), false);
    } catch (error) {
      if (error instanceof TemplateError) return { reason: `can't be laid out: ${error.message}` };
      throw error;
    }
    if (!asked.startsWith(done) || !answered.startsWith(asked))
      return { reason: `can't be learned turn by turn: the chat template changes earlier text at message ${index + 1}` };
    turns.push({ text: asked.slice(done.length), isAnswer: false }, { text: answered.slice(asked.length), isAnswer: true });
    done = answered;
  }
  return turns;
}
