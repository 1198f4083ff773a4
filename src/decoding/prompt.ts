import type { Message, Tool } from "../chat/index.ts";
import { OptionError, UnsupportedError } from "../errors.ts";
import { type TokenId, tokenIds } from "../token.ts";
import type { ChatFormat, DecodingModel } from "./model.ts";

/** Text continued as it stands (BOS as the file says), messages through the chat template, or tokens as they are. */
export type Prompt = string | readonly Message[] | readonly TokenId[];

export interface EncodeOptions {
  /** Read special tokens written in a text (`<|im_start|>`) as such. Text only; default false. */
  readonly parseSpecial?: boolean;
  /** Messages only: end with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Messages only: functions that the answer may call. What holds the answer to calling them is a guide: see `toolGrammar`. */
  readonly tools?: readonly Tool[];
  readonly signal?: AbortSignal;
}

/** What of a model turns prompts into tokens; it needs no weights. */
export type PromptEncoder = Pick<DecodingModel, "tokenizer" | "vocabSize" | "chat">;

/**
 * The tokens of a prompt.
 *
 * @throws OptionError for an empty or malformed prompt, or an option of another kind of prompt; UnsupportedError for messages
 *         when the model has no chat template; RangeError for token ids outside the vocabulary
 */
export async function encodePrompt(model: PromptEncoder, prompt: Prompt, options: EncodeOptions = {}): Promise<TokenId[]> {
  const { parseSpecial, addGenerationPrompt = true, tools, signal } = options;
  if (tools !== undefined && !isMessages(prompt)) throw new OptionError("tools", "are laid out with messages, not with text or tokens");
  if (parseSpecial !== undefined && typeof prompt !== "string") {
    throw new OptionError("parseSpecial", "is about text; messages and tokens have their special tokens already");
  }
  const tokens = await (typeof prompt === "string"
    ? model.tokenizer.encode(prompt, { special: parseSpecial ?? false })
    : isMessages(prompt)
      ? encodeMessages(model, prompt, {
          addGenerationPrompt,
          ...(tools === undefined ? {} : { tools }),
          ...(signal === undefined ? {} : { signal }),
        })
      : encodeTokens(model, prompt));
  if (tokens.length === 0) throw new OptionError("prompt", "is empty; it needs at least one token");
  return tokens;
}

function encodeTokens(model: PromptEncoder, prompt: readonly TokenId[]): TokenId[] {
  if (!Array.isArray(prompt)) throw new OptionError("prompt", "must be text, a list of messages, or a list of token ids");
  return tokenIds(prompt, model.vocabSize);
}

async function encodeMessages(
  model: PromptEncoder,
  messages: readonly Message[],
  options: Parameters<ChatFormat["render"]>[1],
): Promise<TokenId[]> {
  if (model.chat === undefined) throw new UnsupportedError("this model has no chat template; give the prompt as text or tokens");
  const text = await model.chat.render(messages, options);
  const { tokenizer } = model;
  // most templates write BOS themselves; a second one would change the model's answers
  const startsWithBos = tokenizer.bos !== undefined && text.startsWith(tokenizer.decode([tokenizer.bos], { special: true }));
  return tokenizer.encode(text, { special: true, bos: tokenizer.addBos && !startsWithBos });
}

export function isMessages(prompt: Prompt): prompt is readonly Message[] {
  return Array.isArray(prompt) && typeof prompt[0] === "object" && prompt[0] !== null;
}
