import type { Message } from "../../chat/index.ts";
import type { Visibility } from "../../engine/index.ts";
import { OptionError, TemplateError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { text } from "../method.ts";
import { defineLayout, type LaidOut, type LayoutContext } from "./layout.ts";
import { checkEncodeOptions, isMessages, needsBos, renderMessages } from "./plain.ts";

/** Text, or a set of texts without an order. */
export type Part<Content> = Content | readonly Content[];

/** How a set is marked in text. */
export interface Markers {
  readonly start: string;
  readonly split: string;
  readonly end: string;
}

/**
 * Stand for the markers while messages go through a template: characters for private use, so that what a template itself writes is never
 * taken for a marker.
 */
const sentinels: Markers = { start: "\u{F5E10}", split: "\u{F5E11}", end: "\u{F5E12}" };

export const set = defineLayout({
  name: "set",
  summary: "marked sets of texts that have no order: their members don't see each other and all begin at the same position",
  source: { title: "Order-Independence Without Fine Tuning (Set-Based Prompting)", arxiv: "2406.06581" },
  parameters: {
    start: text({ default: "[[", doc: "opens a set in text or in a message" }),
    split: text({ default: "||", doc: "stands between its members" }),
    end: text({ default: "]]", doc: "closes it" }),
  },
  neutral: {},
  needs: ["input", "positions", "visible"],
  create: (markers) => ({ name: "set", layOut: (context) => layOutSet(context, checkMarkers(markers)) }),
});

async function layOutSet(context: LayoutContext, markers: Markers): Promise<Omit<LaidOut, "kind">> {
  const { encoder, input } = context;
  checkEncodeOptions(input, context);
  if (isMessages(input)) {
    const marked = input.map((message) => withSentinels(message, markers));
    const rendered = await renderMessages(encoder, marked, context);
    const parts = await partsOfRendered(rendered, marked);
    return layOutParts(encodeParts(context, parts, { special: true, bos: needsBos(encoder, rendered) }));
  }
  const parts = typeof input === "string" ? splitMarked(input, markers) : checkParts(input);
  return layOutParts(encodeParts(context, parts, { special: context.parseSpecial ?? false, bos: encoder.tokenizer.addBos }));
}

/** Each part's tokens by itself, so that what stands beside a member can't change them; BOS before the first part. */
export function encodeParts(
  { encoder }: Pick<LayoutContext, "encoder">,
  parts: readonly Part<string>[],
  { special, bos }: { readonly special: boolean; readonly bos: boolean },
): Part<readonly TokenId[]>[] {
  const { tokenizer } = encoder;
  const encode = (one: string, withBos: boolean) => (one === "" && !withBos ? [] : tokenizer.encode(one, { special, bos: withBos }));
  // BOS must not be a part of a set: where one comes first, an empty text before it takes it
  const whole = typeof parts[0] === "string" ? parts : ["", ...parts];
  return whole.map((part, index) => (typeof part === "string" ? encode(part, bos && index === 0) : part.map((one) => encode(one, false))));
}

/** Which of the two edits are made, and whether members are sorted: a set needs all; the tests leave each out. */
export interface SetEdits {
  readonly positions: boolean;
  readonly visible: boolean;
  readonly sorted: boolean;
}

/**
 * Parts as one row of tokens. A set's members see what stands before the set and themselves, and begin at the position at which the set
 * begins; what follows begins after its longest member.
 *
 * Attention sums over what it sees in the order of the cells, and floating-point sums depend on their order. Members are therefore put into
 * an order of their own (by their tokens) before the model sees them: so the same set gives the same request, and the same bits, whatever the
 * order in which it was written, on every backend and however the prompt is cut.
 *
 * Sets of one member are plain text. @param parts  [T] tokens of a text, or [M][T] of a set's members
 * @throws OptionError for a set without members, an empty member, or a set with nothing behind it
 */
export function layOutParts(
  parts: readonly Part<readonly TokenId[]>[],
  edits: SetEdits = { positions: true, visible: true, sorted: true },
): Omit<LaidOut, "kind"> {
  const tokens: TokenId[] = [];
  const positions: number[] = [];
  const visible: Visibility[] = [];
  let next = 0;
  const add = (row: readonly TokenId[], from: number) => {
    for (const [index, token] of row.entries()) {
      tokens.push(token);
      positions.push(from + index);
    }
  };
  let sets = 0;
  for (const part of parts) {
    if (!isSet(part)) {
      add(part, next);
      next += part.length;
      continue;
    }
    sets += 1;
    if (part.length === 0) throw new OptionError("prompt", `set ${sets} has no members`);
    const empty = part.findIndex((member) => member.length === 0);
    if (empty !== -1) throw new OptionError("prompt", `member ${empty + 1} of set ${sets} is empty; each needs at least one token`);
    const start = tokens.length;
    let shift = 0;
    for (const member of edits.sorted ? [...part].sort(compareTokens) : part) {
      const from = tokens.length;
      add(member, next + shift);
      if (!edits.positions) shift += member.length;
      const own = [from, tokens.length] as const;
      // the first member sees no sibling anyway: nothing that comes later is seen
      if (edits.visible && from > start) visible.push({ rows: own, sees: [[0, start], own] });
    }
    next += edits.positions ? Math.max(...part.map(({ length }) => length)) : shift;
  }
  const last = parts.findLast((part) => part.length > 0);
  if (last !== undefined && isSet(last))
    throw new OptionError("prompt", "ends with a set; the answer follows the last token, so text must stand behind the last set");
  const isPlain = visible.length === 0 && positions.every((position, index) => position === index);
  return isPlain ? { tokens } : { tokens, positions, ...(visible.length === 0 ? {} : { visible }) };
}

function isSet(part: Part<readonly TokenId[]>): part is readonly (readonly TokenId[])[] {
  return part.length > 0 && typeof part[0] !== "number";
}

function compareTokens(a: readonly TokenId[], b: readonly TokenId[]): number {
  for (let index = 0; index < a.length && index < b.length; index++) if (a[index] !== b[index]) return a[index]! - b[index]!;
  return a.length - b.length;
}

/** Text with marked sets as parts. @throws OptionError for a set that isn't closed, a nested one, or a closing marker alone */
export function splitMarked(marked: string, { start, split, end }: Markers, where = "prompt"): Part<string>[] {
  const parts: Part<string>[] = [];
  for (let at = 0; ; ) {
    const open = marked.indexOf(start, at);
    const before = marked.slice(at, open === -1 ? undefined : open);
    if (before.includes(end))
      throw new OptionError(where, `has ${end} at character ${at + before.indexOf(end)} without a ${start} before it`);
    parts.push(before);
    if (open === -1) return parts;
    const close = marked.indexOf(end, open + start.length);
    if (close === -1) throw new OptionError(where, `the set that ${start} opens at character ${open} is not closed by ${end}`);
    const inner = marked.slice(open + start.length, close);
    if (inner.includes(start)) throw new OptionError(where, `a set within the set at character ${open}; sets can't be nested`);
    parts.push(inner.split(split));
    at = close + end.length;
  }
}

function checkMarkers(markers: Markers): Markers {
  const written = Object.values(markers);
  for (const [name, marker] of Object.entries(markers)) {
    if (marker === "") throw new OptionError("layout", `set: ${name} must not be empty`);
    if (written.some((other) => other !== marker && other.includes(marker)))
      throw new OptionError("layout", `set: ${name} (${marker}) must not be a part of another marker`);
  }
  if (new Set(written).size < 3) throw new OptionError("layout", `set: start, split and end must differ, got ${written.join(" ")}`);
  return markers;
}

function checkParts(input: readonly unknown[]): Part<string>[] {
  if (!Array.isArray(input)) throw new OptionError("prompt", "must be text, messages, or a list of texts and sets (lists of texts)");
  for (const [index, part] of input.entries()) {
    const isSetOfTexts = Array.isArray(part) && part.length > 0 && part.every((member) => typeof member === "string");
    if (typeof part !== "string" && !isSetOfTexts)
      throw new OptionError("prompt", `part ${index} must be a text or a set: a list of at least one text, and nothing else`);
  }
  return input as Part<string>[];
}

/** A message with sentinels in place of its markers. */
function withSentinels(message: Message, markers: Markers): Message {
  const replace = (content: string): string => {
    if (Object.values(sentinels).some((sentinel) => content.includes(sentinel)))
      throw new OptionError("prompt", "holds a character that stands for a set's markers (U+F5E10 to U+F5E12)");
    const parts = splitMarked(content, markers, `a message of the ${message.role}`);
    return joinParts(parts, sentinels);
  };
  const { content } = message as { content?: unknown };
  if (typeof content === "string") return { ...message, content: replace(content) } as Message;
  if (!Array.isArray(content)) return message;
  return {
    ...message,
    content: content.map((part) => (typeof part.text === "string" ? { ...part, text: replace(part.text) } : part)),
  } as Message;
}

function joinParts(parts: readonly Part<string>[], { start, split, end }: Markers): string {
  return parts.map((part) => (typeof part === "string" ? part : `${start}${part.join(split)}${end}`)).join("");
}

/** @throws TemplateError where the template did not copy a message as it stands */
async function partsOfRendered(rendered: string, messages: readonly Message[]): Promise<Part<string>[]> {
  const count = (written: string) => Object.values(sentinels).map((sentinel) => written.split(sentinel).length - 1);
  const expected = count(JSON.stringify(messages));
  if (count(rendered).some((found, index) => found !== expected[index]))
    throw new TemplateError("the chat template does not write every set once as it stands, so that its members can't be told apart");
  return splitMarked(rendered, sentinels);
}
