import type { Message } from "../../chat/index.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { layOutConversation, type RenderChat } from "./conversation.ts";
import type { Preference } from "./preferences.ts";
import type { Sample } from "./samples.ts";

/** Set in a stored token that is read and not learned. */
export const notLearned = 2 ** 31;

export interface EncodeOptions {
  readonly tokenizer: Tokenizer;
  /** The model's chat template; without it conversations are bad samples. */
  readonly chat?: RenderChat | undefined;
  /** Most tokens of a sample; a text's parts may be longer and are then divided. */
  readonly contextLength: number;
}

type Encoded = { readonly ids: Uint32Array } | { readonly reason: string };

/**
 * A sample as tokens, those that are not learned marked. A pair is its prompt, the chosen answer, the prompt's last token once more, the
 * rejected answer; the answers are what is marked as learned.
 */
export async function encodeSample(sample: Exclude<Sample, { kind: "bad" }>, options: EncodeOptions): Promise<Encoded> {
  switch (sample.kind) {
    case "sample":
      return encodeText(sample, options);
    case "chat":
      return encodeChat(sample.messages, options);
    case "pair":
      return encodePair(sample.preference, options);
    default:
      return sample satisfies never;
  }
}

function encodeText({ segments, isWhole }: Sample & { kind: "sample" }, { tokenizer, contextLength }: EncodeOptions): Encoded {
  const ids: number[] = [];
  for (const [index, { text, isLearned }] of segments.entries()) {
    const bos = index === 0 && tokenizer.addBos;
    for (const [i, id] of tokenizer.encode(text, { bos }).entries()) ids.push(isLearned && !(bos && i === 0) ? id : id + notLearned);
  }
  if (isWhole && tokenizer.eos !== undefined) ids.push(tokenizer.eos);
  return checked(ids, isWhole ? contextLength : Number.POSITIVE_INFINITY);
}

async function encodeChat(messages: readonly Message[], options: EncodeOptions): Promise<Encoded> {
  const turns = await encodeTurns(messages, options);
  if ("reason" in turns) return turns;
  return checked(turns.flatMap(marked), options.contextLength);
}

async function encodePair(preference: Preference, options: EncodeOptions): Promise<Encoded> {
  const parts = preference.form === "text" ? splitTexts(preference, options.tokenizer) : await splitChats(preference, options);
  if ("reason" in parts) return parts;
  const { prompt, chosen, rejected } = parts;
  if (prompt.length === 0) return { reason: "has an empty prompt" };
  const read = (ids: readonly number[]) => ids.map((id) => id + notLearned);
  const ids = [...read(prompt), ...chosen, ...read(prompt.slice(-1)), ...rejected];
  if (ids.length > options.contextLength)
    return { reason: `has ${ids.length} tokens in its prompt and both answers, more than ${options.contextLength}` };
  return { ids: Uint32Array.from(ids) };
}

interface PairTokens {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

function splitTexts({ prompt, chosen, rejected }: Preference & { form: "text" }, tokenizer: Tokenizer): PairTokens {
  const end = tokenizer.eos === undefined ? [] : [tokenizer.eos];
  const answer = (text: string) => [...tokenizer.encode(text, { bos: false }), ...end];
  return { prompt: tokenizer.encode(prompt, { bos: tokenizer.addBos }), chosen: answer(chosen), rejected: answer(rejected) };
}

async function splitChats(
  { messages, chosen, rejected }: Preference & { form: "chat" },
  options: EncodeOptions,
): Promise<PairTokens | { reason: string }> {
  const both: EncodedTurn[][] = [];
  for (const content of [chosen, rejected]) {
    const turns = await encodeTurns([...messages, { role: "assistant", content }], options);
    if ("reason" in turns) return turns;
    both.push(turns);
  }
  const [first, second] = both.map((turns) => turns.slice(0, -1).flatMap(({ ids }) => ids)) as [number[], number[]];
  if (first.join() !== second.join()) return { reason: "is laid out differently before its two answers by the chat template" };
  const [mine, other] = both.map((turns) => turns.at(-1)!) as [EncodedTurn, EncodedTurn];
  return { prompt: first, chosen: mine.ids.slice(0, mine.numLearned), rejected: other.ids.slice(0, other.numLearned) };
}

/** Tokens of a turn, of which the first `numLearned` are the model's. */
interface EncodedTurn {
  readonly ids: readonly number[];
  readonly numLearned: number;
}

const marked = ({ ids, numLearned }: EncodedTurn): number[] => ids.map((id, i) => (i < numLearned ? id : id + notLearned));

/** Of each answer, all up to the token that ends it is learned; where the template writes none, the end of the text is learned after the last. */
async function encodeTurns(
  messages: readonly Message[],
  { tokenizer, chat }: EncodeOptions,
): Promise<EncodedTurn[] | { readonly reason: string }> {
  if (chat === undefined) return { reason: "is a conversation, and the model has no chat template" };
  const turns = await layOutConversation(messages, chat);
  if ("reason" in turns) return turns;
  return turns.map(({ text, isAnswer }, index) => {
    const ids: number[] = [...tokenizer.encode(text, { special: true, bos: false })];
    if (index === 0 && tokenizer.addBos && tokenizer.bos !== undefined && ids[0] !== tokenizer.bos) ids.unshift(tokenizer.bos);
    const end = ids.findLastIndex((id) => (tokenizer.endTokens as ReadonlySet<number>).has(id));
    const isOpen = isAnswer && end < 0;
    if (isOpen && index === turns.length - 1 && tokenizer.eos !== undefined) ids.push(tokenizer.eos);
    return { ids, numLearned: isOpen ? ids.length : isAnswer ? end + 1 : 0 };
  });
}

function checked(ids: readonly number[], contextLength: number): Encoded {
  if (ids.length > contextLength) return { reason: `has ${ids.length} tokens, more than the context of ${contextLength}` };
  if (ids.length < 2) return { reason: "has fewer than two tokens" };
  return { ids: Uint32Array.from(ids) };
}
