import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Companion } from "../companions.ts";
import type { DraftTree } from "../drafting/draft.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { ModelSource } from "../model.ts";
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
  /** All guides of the run, in their order. */
  readonly guides: readonly Guide[];
  /** Another model that one of its parameters names; undefined: the model that writes, beside itself. */
  companion(source: ModelSource | undefined): Companion;
  /**
   * For work that is no pass of a model: what it gives, or undefined once the deadline has passed. Its signal ends it early.
   * @throws what it throws; the signal's reason when the run was aborted
   */
  within<T>(work: (signal: AbortSignal | undefined) => Promise<T>): Promise<T | undefined>;
}

/** A guide within one run. Its state moves with the sequence: it advances, rewinds and forks. */
export interface GuideState {
  /**
   * Which tokens the next {@link apply} may change. A list: these and no others; their logits are then known to it.
   * "lowers": any, but only downwards (a mask). "all": any; the full row is read at every step.
   */
  touches(): readonly TokenId[] | "lowers" | "all";
  /** Changes `logits[place]` of entries in place, as a pure function of state, row, token and logit; entries stay where they are. */
  apply(distribution: Pick<Distribution, "ids" | "logits" | "original" | "row" | "size" | "indexOf">): void;
  /** The token was generated. */
  advance(token: TokenId): void;
  /**
   * For guides with a model of their own: computes what {@link apply} needs here and after each of the tokens that may follow. The run
   * awaits it beside its own pass over the same tokens, before any row is decided on. False once the deadline has passed.
   */
  prepare?(ahead: DraftTree): Promise<boolean>;
  /** Forgets every generated token from `length` on. */
  rewind(length: number): void;
  fork(): GuideState;
  /** Gives back what `start` and `fork` acquired. */
  [Symbol.dispose]?(): void;
}

export function defineGuide<Table extends ParameterTable>(definition: Definition<Guide, Table>): Method<Guide> {
  return defineMethod("guide", definition);
}
