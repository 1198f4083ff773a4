import type {
  BranchFact,
  ChoiceFact,
  CostCurve,
  DraftFacts,
  ForwardRequest,
  ForwardResult,
  Sequence,
  TokenFact,
} from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Draft } from "../drafting/draft.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { StepRules } from "../sampling/step.ts";
import type { Ending, FinishReason, StopRules } from "../stop.ts";

/** A value of the search axis: the loop that turns a prompt into an answer. Plain sequential code that awaits `run.forward`. */
export type Search = (run: Run) => AsyncGenerator<SearchEvent, SearchResult>;

export interface SearchResult {
  readonly ending: Ending;
  /** Text held back until then, shown now. */
  readonly text: string;
  /** Holds the answer when the search went on in a fork; the run's own sequence, which holds the prompt, is then closed. */
  readonly sequence?: Sequence;
  /** Other answers, best first, for searches that were asked for several. */
  readonly alternatives?: readonly Alternative[];
}

/** An answer beside the one that won. */
export interface Alternative {
  readonly text: string;
  readonly tokens: readonly TokenId[];
  /** In the measure by which the search compares answers. */
  readonly score: number;
  readonly finishReason: FinishReason;
}

/** What a search is given. */
export interface Run {
  readonly tokenizer: Tokenizer;
  /** Holds the first `numCached` tokens of the prompt. The run owns it. */
  readonly sequence: Sequence;
  /** The whole prompt. */
  readonly prompt: readonly TokenId[];
  /** Fewer than the prompt has. */
  readonly numCached: number;
  readonly rules: StepRules;
  /** Who guesses ahead; a search that can't use one says so in its registry line and gets none. */
  readonly draft: Draft | undefined;
  readonly stop: StopRules;
  /** How many most probable tokens each token fact lists; undefined for none, and no log-probability is promised. */
  readonly logprobs: number | undefined;
  readonly promptLogprobs: number | undefined;
  /**
   * `sequence.forward` on any sequence of the run, counted in its facts; undefined once the deadline has passed.
   *
   * @throws what it throws; the signal's reason when the run was aborted
   */
  forward(sequence: Sequence, request: ForwardRequest): Promise<ForwardResult | undefined>;
  /** T(n)/T(1) of the model; absent where it has none. */
  costCurve?(): Promise<CostCurve>;
  /** Reports of the draft, when the search ends. */
  reportDrafts(drafts: DraftFacts, choices: readonly ChoiceFact[]): void;
  /** Reports of guides, when the search ends. */
  reportGuides(guides: readonly { readonly name: string; readonly weight: number; readonly meanShift: number }[]): void;
}

export type SearchEvent =
  | {
      readonly kind: "prompt";
      readonly tokens: readonly TokenId[];
      /** How many of them the sequence held already. */
      readonly numCached: number;
      /** With `promptLogprobs`: of each token but the first; absent for the first. */
      readonly facts?: readonly TokenFact[];
    }
  | {
      readonly kind: "token";
      /** Index in the answer. */
      readonly index: number;
      readonly fact: TokenFact;
      /** Text that became certain with this token; often empty. The answer is all events' text in a row. */
      readonly text: string;
    }
  | {
      /** A branch came to its end. */
      readonly kind: "branch";
      readonly fact: BranchFact;
    };

export function defineSearch<Table extends ParameterTable>(definition: Definition<Search, Table>): Method<Search> {
  return defineMethod("search", definition);
}
