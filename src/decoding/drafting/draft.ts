import type { Candidates, ChoiceFact, CostCurve } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { Companion } from "../companions.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { ModelSource } from "../model.ts";
import type { StepRules } from "../sampling/step.ts";

/**
 * A value of the draft axis: who guesses the tokens to come, so that one pass verifies several. What it proposes changes how
 * many passes an answer takes and nothing else: see {@link Verifier}.
 */
export interface Draft {
  readonly name: string;
  start(prompt: readonly TokenId[], context: DraftContext): DraftState | Promise<DraftState>;
}

/** What a draft may know of the run. */
export interface DraftContext {
  /** How the run chooses its tokens. */
  readonly rules: StepRules;
  /** Which of the run's random numbers decide. */
  readonly stream: number;
  /** Another model that one of its parameters names; undefined: the model that writes, beside itself. */
  companion(source: ModelSource | undefined): Companion;
  /** T(n)/T(1) of the model in use after so many tokens; absent where the model has none. */
  costCurve?(entries?: number): Promise<CostCurve>;
  /** Trained maps that move the model's states ahead; absent where the model can't have any. */
  transferMaps?(): Promise<Probes["chain"]>;
}

/**
 * Rows that go through the pass with a draft and are then forgotten: after the last token and after each drafted one a chain, whose rows take
 * that token's state at a tap through a registered map. What they say of the tokens to come is what the next draft is made of.
 */
export interface Probes {
  readonly chain: readonly { readonly tap: string; readonly map: string }[];
  /** Candidates of each row. */
  readonly top: number;
}

/** A draft within one run. Its state moves with the sequence: it advances, rewinds and forks. */
export interface DraftState<Tree extends DraftTree = DraftTree> {
  /** What goes through each pass beside its drafts; default nothing. */
  readonly probes?: Probes;
  /**
   * Guesses at what follows the last token; an empty tree for none.
   *
   * @param maxNodes  most tokens that will be verified; a longer tree is cut after as many
   * @param maxDepth  most tokens of one path
   */
  propose(limits: DraftLimits): Tree | Promise<Tree>;
  /** The token was generated, drafted or not. */
  advance(token: TokenId): void;
  /** Forgets every generated token from `length` on. */
  rewind(length: number): void;
  fork(): DraftState<Tree>;
  /** Gives back what `start` and `fork` acquired. */
  [Symbol.dispose]?(): void;
  /** What it decided in the run, asked for once at the end. */
  report?(): {
    readonly offBecause?: string;
    readonly choices?: readonly ChoiceFact[];
    /** What it went by. */
    readonly curve?: CostCurve;
  };
}

export interface DraftLimits {
  readonly maxNodes: number;
  readonly maxDepth: number;
  /** What the last pass's {@link Probes} after the token before the last one said: the first of them of what follows the last one. */
  readonly probed?: readonly Candidates[];
}

/** Guessed tokens as a tree, the likelier before the less likely: any first part of it is a draft too. */
export interface DraftTree {
  readonly tokens: readonly TokenId[];
  /** For each token the index of the one before it on its path, -1 after the last token of the sequence; lower than its own. */
  readonly parents: readonly number[];
}

/** What `auto` can choose from. */
export interface WeighedTree extends DraftTree {
  /** For each token the method's own estimate, in (0, 1], of its chance to come where those before it on its path have come. */
  readonly chances: readonly number[];
}

/** Most tokens of a draft: passes of 64 rows and more use other kernels, which round differently. */
export const maxDraftTokens = 62;

export const noDraft: WeighedTree = { tokens: [], parents: [], chances: [] };

/** Tokens one after the other, as a tree. */
export function chain(tokens: readonly TokenId[]): DraftTree {
  return { tokens, parents: tokens.map((_, index) => index - 1) };
}

export function defineDraft<Table extends ParameterTable>(definition: Definition<Draft, Table>): Method<Draft> {
  return defineMethod("draft", definition);
}
