import type { Message } from "../../chat/index.ts";
import type { ChoiceFact, ForwardRequest, Visibility } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { EncodeOptions, PromptEncoder } from "./plain.ts";

/** What a layout is given to lay out: text, messages, or text in parts, of which a list is a set without an order. */
export type LayoutInput = string | readonly Message[] | readonly (string | readonly string[])[];

/** A value of the layout axis: turns an input into tokens, with their positions and what each sees. */
export interface Layout {
  readonly name: string;
  layOut(context: LayoutContext): Promise<Omit<LaidOut, "kind">>;
}

export interface LayoutContext extends EncodeOptions {
  readonly encoder: PromptEncoder;
  readonly input: LayoutInput;
  /** Most tokens that the prompt may have; a layout that can leave something out does. Default: no limit. */
  readonly maxPromptTokens?: number;
}

/** A prompt as the model reads it. It is a prompt itself, so that one layout serves several runs. */
export interface LaidOut {
  readonly kind: "laid-out";
  readonly tokens: readonly TokenId[];
  /** Of each token. Default: 0, 1, 2 … */
  readonly positions?: readonly number[];
  /** Which of the tokens before it a token sees; rows and entries count from the start of the prompt. Default: all. */
  readonly visible?: readonly Visibility[];
  readonly choices?: readonly ChoiceFact[];
  /** Whether it is a conversation, whose last turn the answer is. */
  readonly isChat?: true;
}

/** What of a request says how the prompt's tokens from `from` on, `count` of them, are laid out. */
export function layoutOfRows({ positions, visible }: LaidOut, from: number, count: number): Pick<ForwardRequest, "positions" | "visible"> {
  const to = from + count;
  const seen = (visible ?? []).flatMap(({ rows: [first, last], sees }) => {
    const [start, end] = [Math.max(first, from), Math.min(last, to)];
    // a row sees only what stands before it, so ranges that go on behind the request's rows are cut
    const within = sees.filter(([begin]) => begin < to).map(([begin, stop]) => [begin, Math.min(stop, to)] as const);
    return start < end ? [{ rows: [start - from, end - from] as const, sees: within }] : [];
  });
  return {
    ...(positions === undefined ? {} : { positions: positions.slice(from, to) }),
    ...(seen.length === 0 ? {} : { visible: seen }),
  };
}

export function defineLayout<Table extends ParameterTable>(definition: Definition<Layout, Table>): Method<Layout> {
  return defineMethod("layout", definition);
}
