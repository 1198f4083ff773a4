import { createHash } from "node:crypto";
import type { Message } from "../chat/index.ts";
import { FormatError } from "../errors.ts";
import { type TokenId, tokenIds } from "../token.ts";
import type { DecodingModel } from "./model.ts";

/** What a saved chat holds: the conversation, and the tokens its sequence held. */
export interface ChatState {
  readonly messages: readonly Message[];
  readonly tokens: readonly TokenId[];
}

/** The container: JSON with the content's length and hash beside it, so that a cut or changed file is refused. */
interface Container {
  readonly format: typeof format;
  readonly version: typeof version;
  /** Hash of the model's files. */
  readonly model: string;
  /** UTF-8 bytes of `content`. */
  readonly length: number;
  /** SHA-256 of `content`, hexadecimal. */
  readonly sha256: string;
  /** JSON of a {@link ChatState}. */
  readonly content: string;
}

const format = "chainrule-chat";
const version = 1;
const name = "saved chat";

export function writeSavedChat(model: DecodingModel, state: ChatState): string {
  const content = JSON.stringify(state);
  const container: Container = { format, version, model: model.hash, length: Buffer.byteLength(content), sha256: sha256(content), content };
  return `${JSON.stringify(container)}\n`;
}

/** @throws FormatError saying what is wrong: no saved chat, another version, damaged, or of another model */
export function readSavedChat(saved: string, model: DecodingModel): ChatState {
  const container = parse(saved) as Partial<Container> | null;
  if (typeof container !== "object" || container?.format !== format) throw new FormatError(name, "is not a saved chat");
  if (container.version !== version) throw new FormatError(name, `has version ${container.version}, this program reads version ${version}`);
  const { content, length, sha256: hash } = container;
  if (typeof content !== "string" || Buffer.byteLength(content) !== length || sha256(content) !== hash) {
    throw new FormatError(name, "is damaged: length or hash do not match its content");
  }
  if (container.model !== model.hash) {
    throw new FormatError(name, `belongs to another model: it names ${container.model}, this one is ${model.hash}`);
  }
  const state = parse(content) as Partial<ChatState> | null;
  if (!Array.isArray(state?.messages) || !state.messages.every(isMessage) || !Array.isArray(state.tokens)) {
    throw new FormatError(name, "holds no messages and tokens");
  }
  if (state.tokens.length > model.contextLength) {
    throw new FormatError(name, `holds ${state.tokens.length} tokens, more than the context of ${model.contextLength}`);
  }
  try {
    return { messages: state.messages, tokens: tokenIds(state.tokens, model.vocabSize) };
  } catch (cause) {
    throw new FormatError(name, (cause as Error).message, { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError(name, "is not JSON", { cause });
  }
}

/** Enough to hold it; the template's renderer checks the rest. */
function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && typeof (value as Message).role === "string" && "content" in value;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
