import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { Distribution } from "../sampling/distribution.ts";
import type { StopRules } from "../stop.ts";

/**
 * A value of the guide axis: a rule that changes logits before temperature and truncation. Guides run in the order listed, each
 * on what the one before it left. A guide that adds a term per token commutes with every other such guide.
 */
export interface Guide {
  readonly name: string;
  /** How strong it is, in its own measure; 0 changes nothing in guides that add. Reported in the facts. */
  readonly weight: number;
  start(prompt: readonly TokenId[], run: GuideRun): GuideState | Promise<GuideState>;
}

/** What a guide may know of the run that it takes part in. */
export interface GuideRun {
  readonly tokenizer: Tokenizer;
  readonly stop: StopRules;
}

/** A guide within one run. Its state moves with the sequence: it advances, rewinds and forks. */
export interface GuideState {
  /**
   * Which tokens the next {@link apply} may change. A list: these and no others; their logits are then known to it.
   * "lowers": any, but only downwards (a mask). "all": any; the full row is read at every step.
   */
  touches(): readonly TokenId[] | "lowers" | "all";
  /** Changes `logits[place]` of entries in place, as a pure function of state, token and logit; entries stay where they are. */
  apply(distribution: Pick<Distribution, "ids" | "logits" | "size" | "indexOf">): void;
  /** The token was generated. A guide with a model of its own returns a promise; the run awaits it beside its own pass. */
  advance(token: TokenId): void | Promise<void>;
  /** Forgets every generated token from `length` on. */
  rewind(length: number): void;
  fork(): GuideState;
  /** Gives back what `start` and `fork` acquired. */
  [Symbol.dispose]?(): void;
}

export function defineGuide<Table extends ParameterTable>(definition: Definition<Guide, Table>): Method<Guide> {
  return defineMethod("guide", definition);
}
