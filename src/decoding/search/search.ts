import type {
  BranchFact,
  ChoiceFact,
  CostCurve,
  DraftFacts,
  EffortFact,
  ForwardRequest,
  ForwardResult,
  Sequence,
  TokenFact,
} from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Companion } from "../companions.ts";
import type { Draft, Probes } from "../drafting/draft.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";
import type { ChatFormat, ModelSource } from "../model.ts";
import type { StepRules } from "../sampling/step.ts";
import type { Ending, FinishReason, StopRules } from "../stop.ts";
import type { AttributeHead } from "./attribute-head.ts";
import type { JudgeName, Questioner } from "./judge.ts";
import type { JudgeQuality } from "./judge-quality.ts";

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
  /** The same for what is asked beside the answer, such as a judgement: no skip takes part. */
  consult(sequence: Sequence, request: ForwardRequest): Promise<ForwardResult | undefined>;
  /** Whether the prompt is a conversation. */
  readonly isChat: boolean;
  readonly chat?: ChatFormat;
  /** What the run has cost so far. */
  spent(): { readonly passes: number; readonly ms: number };
  /** Another model that one of the run's methods names by a parameter; undefined: the model that writes, beside itself. */
  companion(source: ModelSource | undefined): Companion;
  /** @see GuideRun */
  within<T>(work: (signal: AbortSignal | undefined) => Promise<T>): Promise<T | undefined>;
  /** T(n)/T(1) of the model after so many tokens; absent where it has none. */
  costCurve?(entries?: number): Promise<CostCurve>;
  /** Of the model; absent where it can't have any. @see DraftContext */
  transferMaps?(): Promise<Probes["chain"]>;
  /** A head that was fitted for the model; undefined where there is none. */
  attributeHead?(name: string): Promise<AttributeHead | undefined>;
  /** How well a judge tells good answers from bad ones, measured once; undefined once the deadline has passed. */
  judgeQuality?(judge: JudgeName): Promise<JudgeQuality | undefined>;
  /** Reports of the draft, when the search ends. */
  reportDrafts(drafts: DraftFacts, choices: readonly ChoiceFact[]): void;
  reportChoices(choices: readonly ChoiceFact[]): void;
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
      /** A branch that goes on has grown by some tokens, so that the tree can be drawn as it grows. */
      readonly kind: "growth";
      readonly id: number;
      readonly parent: number | undefined;
      /** Index of the generated token at which the branch left its parent. */
      readonly from: number;
      /** Index of the first of `tokens` in the branch's answer. */
      readonly at: number;
      readonly tokens: readonly number[];
      /** In the measure by which the search compares branches, where there is one before the end. */
      readonly score?: number;
    }
  | {
      /** A branch came to its end. */
      readonly kind: "branch";
      readonly fact: BranchFact;
    }
  | {
      /** How far a search that spends many passes has come; the first, before any token, says what is expected. */
      readonly kind: "effort";
      readonly fact: EffortFact;
    };

/** What a judge of the run's answers needs. */
export function questionerOf(run: Run): Questioner {
  const { tokenizer, chat, isChat, prompt, stop, sequence } = run;
  return {
    ...{ tokenizer, isChat, numPromptTokens: prompt.length, maxTokens: stop.maxTokens, contextLength: sequence.contextLength },
    ...(chat === undefined ? {} : { chat }),
    consult: (target, request) => run.consult(target, request),
  };
}

export function defineSearch<Table extends ParameterTable>(definition: Definition<Search, Table>): Method<Search> {
  return defineMethod("search", definition);
}
