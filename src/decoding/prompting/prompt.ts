import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { type MethodSpec, parseMethod } from "../method.ts";
import { registry } from "../registry.ts";
import type { Example } from "./few-shot.ts";
import type { LaidOut, LayoutInput } from "./layout.ts";
import { type EncodeOptions, encodePlain, isMessages, type PlainPrompt, type PromptEncoder } from "./plain.ts";

/** A prompt with a layout: a method of the layout axis by its `kind`, with its parameters, and what it lays out. */
export type LayoutPrompt =
  | { readonly kind: "set"; readonly prompt: LayoutInput; readonly start?: string; readonly split?: string; readonly end?: string }
  | {
      readonly kind: "few-shot";
      readonly prompt: LayoutInput;
      readonly examples: readonly Example[];
      readonly k?: number;
      readonly template?: string;
      readonly separator?: string;
      readonly description?: string;
      readonly seed?: number;
      readonly anyOrder?: boolean;
    };

export type Prompt = PlainPrompt | LayoutPrompt | LaidOut;

/**
 * A prompt as the model reads it: its tokens, and what a layout says of their positions and of what they see.
 *
 * @param options.maxPromptTokens  a layout that can leave something out stays within it
 * @throws OptionError for an empty or malformed prompt, or an option of another kind of prompt; TemplateError for messages
 *         when the model has no chat template; RangeError for token ids outside the vocabulary
 */
export async function layOutPrompt(
  encoder: PromptEncoder,
  prompt: Prompt,
  options: EncodeOptions & { readonly maxPromptTokens?: number } = {},
): Promise<LaidOut> {
  const laidOut = await layOut(encoder, prompt, options);
  if (laidOut.tokens.length === 0) throw new OptionError("prompt", "is empty; it needs at least one token");
  return laidOut;
}

async function layOut(
  encoder: PromptEncoder,
  prompt: Prompt,
  options: EncodeOptions & { readonly maxPromptTokens?: number },
): Promise<LaidOut> {
  if (!isLayout(prompt)) {
    const { maxPromptTokens: _, ...rest } = options;
    return { kind: "laid-out", tokens: await encodePlain(encoder, prompt, rest), ...(isMessages(prompt) ? { isChat: true } : {}) };
  }
  if (prompt.kind === "laid-out") return prompt;
  const { kind, prompt: input, ...parameters } = prompt;
  if (input === undefined) throw new OptionError("prompt", `a layout needs what it lays out: { kind: "${kind}", prompt: … }`);
  const { method, values } = parseMethod(registry.layout, { name: kind, ...parameters }, "layout");
  const laidOut = await method.create(values).layOut({ encoder, input, ...options });
  return { kind: "laid-out", ...laidOut, ...(isMessages(input) ? { isChat: true } : {}) };
}

/**
 * The tokens of a prompt.
 * @throws what {@link layOutPrompt} throws
 */
export async function encodePrompt(encoder: PromptEncoder, prompt: Prompt, options: EncodeOptions = {}): Promise<TokenId[]> {
  return [...(await layOutPrompt(encoder, prompt, options)).tokens];
}

/**
 * A prompt with the layout that an option names: `withLayout("set", "Which of [[a||b]] is it?")`.
 * @param spec  as every method is written: `"set,split=;"` or `{ name: "few-shot", examples: […] }`
 * @param beside  parameters that have no compact form, such as examples
 * @throws OptionError naming the method or parameter; for a prompt that has a layout already, or of tokens
 */
export function withLayout(spec: MethodSpec, prompt: Prompt, beside: Readonly<Record<string, unknown>> = {}): LayoutPrompt {
  if (isLayout(prompt) || (Array.isArray(prompt) && typeof prompt[0] === "number"))
    throw new OptionError("layout", "lays out text or messages; this prompt is tokens or has a layout already");
  const { method, values } = parseMethod(registry.layout, spec, "layout", beside);
  return { ...values, kind: method.name, prompt } as unknown as LayoutPrompt;
}

function isLayout(prompt: Prompt): prompt is LayoutPrompt | LaidOut {
  return typeof prompt === "object" && prompt !== null && !Array.isArray(prompt) && typeof (prompt as LayoutPrompt).kind === "string";
}
