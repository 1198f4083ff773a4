import type { Message } from "../../chat/index.ts";
import { isFilled, readTurns } from "./conversation.ts";

/** Two answers to one prompt, of which the first is preferred. */
export type Preference = { readonly chosen: string; readonly rejected: string } & (
  | { readonly form: "text"; readonly prompt: string }
  | { readonly form: "chat"; readonly messages: readonly Message[] }
);

type Refusal = { readonly reason: string };

/** Whether a row has two answers. */
export const isPreference = ({ chosen, rejected }: Readonly<Record<string, unknown>>): boolean => isFilled(chosen) && isFilled(rejected);

/**
 * Reads a row with `chosen` and `rejected`: texts after a text `prompt`, which they continue; texts or messages after a `prompt` of messages;
 * texts after `system` and `question`; whole conversations, with or without `prompt`; dialogues as text, with "\n\nAssistant:" before each answer.
 */
export function readPreference(row: Readonly<Record<string, unknown>>): Preference | Refusal {
  if (!isPreference(row)) return { reason: 'has no preference: two filled fields, "chosen" and "rejected"' };
  const read = isFilled(row.question) ? readQuestion(row) : typeof row.chosen === "string" ? readTexts(row) : readConversations(row);
  if ("reason" in read) return read;
  if (read.chosen.trim() === "" || read.rejected.trim() === "") return { reason: "has an empty answer" };
  if (read.chosen === read.rejected) return { reason: "has the same answer as chosen and as rejected" };
  return read;
}

function readQuestion({ system, question, prompt, chosen, rejected }: Readonly<Record<string, unknown>>): Preference | Refusal {
  if (isFilled(prompt)) return { reason: 'mixes forms ("question" and "prompt"): keep the fields of one' };
  for (const [name, value] of Object.entries({ system: system ?? "", question, chosen, rejected }))
    if (typeof value !== "string") return { reason: `has no text as "${name}"` };
  const first: Message[] = isFilled(system) ? [{ role: "system", content: String(system) }] : [];
  const messages: Message[] = [...first, { role: "user", content: String(question) }];
  return { form: "chat", messages, chosen: String(chosen), rejected: String(rejected) };
}

function readTexts({ prompt, chosen, rejected }: Readonly<Record<string, unknown>>): Preference | Refusal {
  if (typeof chosen !== "string" || typeof rejected !== "string") return { reason: 'has no text as "rejected", as "chosen" is one' };
  if (Array.isArray(prompt)) {
    const asked = readTurns(prompt, "prompt", "role", "content");
    return "reason" in asked ? asked : { form: "chat", messages: asked.messages, chosen, rejected };
  }
  if (isFilled(prompt))
    return typeof prompt === "string" ? { form: "text", prompt, chosen, rejected } : { reason: 'has no text as "prompt"' };
  const [first, second] = [divide(chosen), divide(rejected)];
  if (first === undefined || second === undefined) return { reason: 'has no "prompt", and its answers are no dialogues with "Assistant:"' };
  if (first.prompt !== second.prompt) return { reason: "has two dialogues that differ before their last answers" };
  return { form: "text", prompt: first.prompt, chosen: first.answer, rejected: second.answer };
}

function divide(dialogue: string): { readonly prompt: string; readonly answer: string } | undefined {
  const mark = "\n\nAssistant:";
  const at = dialogue.lastIndexOf(mark);
  return at === -1 ? undefined : { prompt: dialogue.slice(0, at + mark.length), answer: dialogue.slice(at + mark.length) };
}

function readConversations({ prompt, chosen, rejected }: Readonly<Record<string, unknown>>): Preference | Refusal {
  const read = { chosen: readTurns(chosen, "chosen", "role", "content"), rejected: readTurns(rejected, "rejected", "role", "content") };
  for (const turns of Object.values(read)) if ("reason" in turns) return turns;
  const [first, second] = [read.chosen, read.rejected] as { readonly messages: readonly Message[] }[];
  const given = Array.isArray(prompt) ? readTurns(prompt, "prompt", "role", "content") : undefined;
  if (given !== undefined && "reason" in given) return given;
  if (given === undefined && isFilled(prompt) && typeof prompt !== "string")
    return { reason: 'has a "prompt" that is neither text nor messages' };
  const before = given?.messages ?? (isFilled(prompt) ? [{ role: "user" as const, content: String(prompt) }] : []);
  const whole = (messages: readonly Message[]) => (messages.some(({ role }) => role !== "assistant") ? messages : [...before, ...messages]);
  const [mine, other] = [whole(first!.messages), whole(second!.messages)];
  const messages = mine.slice(0, -1);
  if (JSON.stringify(messages) !== JSON.stringify(other.slice(0, -1)))
    return { reason: "has two conversations that differ before their last answers" };
  if (mine.at(-1)!.role !== "assistant" || other.at(-1)!.role !== "assistant")
    return { reason: "has a conversation that ends without an answer" };
  if (!messages.some(({ role }) => role === "user")) return { reason: 'has answers and no question: the question may stand in "prompt"' };
  const isTold = before.every(({ content }) => messages.some((message) => message.content === content));
  if (!isTold) return { reason: 'has a "prompt" that is not in its conversations' };
  const text = (message: Message) => String(message.content);
  return { form: "chat", messages, chosen: text(mine.at(-1)!), rejected: text(other.at(-1)!) };
}
