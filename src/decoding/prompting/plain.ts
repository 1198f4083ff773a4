import type { Message, Tool } from "../../chat/index.ts";
import { OptionError, TemplateError } from "../../errors.ts";
import { type TokenId, tokenIds } from "../../token.ts";
import type { ChatFormat, DecodingModel } from "../model.ts";

/** Text continued as it stands (BOS as the file says), messages through the chat template, or tokens as they are. */
export type PlainPrompt = string | readonly Message[] | readonly TokenId[];

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

/** The tokens of a prompt without a layout. @throws see `encodePrompt` */
export async function encodePlain(model: PromptEncoder, prompt: PlainPrompt, options: EncodeOptions = {}): Promise<TokenId[]> {
  checkEncodeOptions(prompt, options);
  if (typeof prompt === "string") return model.tokenizer.encode(prompt, { special: options.parseSpecial ?? false });
  if (!isMessages(prompt)) return encodeTokens(model, prompt);
  const text = await renderMessages(model, prompt, options);
  return model.tokenizer.encode(text, { special: true, bos: needsBos(model, text) });
}

/** @throws OptionError for an option that is about another kind of prompt */
export function checkEncodeOptions(prompt: unknown, { tools, parseSpecial }: EncodeOptions): void {
  if (tools !== undefined && !isMessages(prompt)) throw new OptionError("tools", "are laid out with messages, not with text or tokens");
  const isText = typeof prompt === "string" || (Array.isArray(prompt) && prompt.some((part) => typeof part === "string"));
  if (parseSpecial !== undefined && !isText) {
    throw new OptionError("parseSpecial", "is about text; messages and tokens have their special tokens already");
  }
}

/** Messages as the text that the model's template makes of them. @throws OptionError, TemplateError, also where the model has none */
export async function renderMessages(
  model: PromptEncoder,
  messages: readonly Message[],
  { addGenerationPrompt = true, tools, signal }: EncodeOptions,
): Promise<string> {
  if (model.chat === undefined) throw new TemplateError("this model has no chat template: give the prompt as text or tokens");
  const options: Parameters<ChatFormat["render"]>[1] = {
    addGenerationPrompt,
    ...(tools === undefined ? {} : { tools }),
    ...(signal === undefined ? {} : { signal }),
  };
  return model.chat.render(messages, options);
}

/** Whether a rendered text still wants BOS: most templates write it themselves, and a second one would change the model's answers. */
export function needsBos({ tokenizer }: PromptEncoder, text: string): boolean {
  const startsWithBos = tokenizer.bos !== undefined && text.startsWith(tokenizer.decode([tokenizer.bos], { special: true }));
  return tokenizer.addBos && !startsWithBos;
}

export function isMessages(prompt: unknown): prompt is readonly Message[] {
  return Array.isArray(prompt) && typeof prompt[0] === "object" && prompt[0] !== null && !Array.isArray(prompt[0]);
}

function encodeTokens(model: PromptEncoder, prompt: readonly TokenId[]): TokenId[] {
  if (!Array.isArray(prompt))
    throw new OptionError("prompt", "must be text, a list of messages, a list of token ids, or a layout { kind, prompt, … }");
  return tokenIds(prompt, model.vocabSize);
}
