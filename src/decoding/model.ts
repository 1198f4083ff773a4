import type { Message, Tool } from "../chat/index.ts";
import type { CostCurve, Exit, Sequence } from "../engine/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { AdapterScale } from "./adapters.ts";
import type { Probes } from "./drafting/draft.ts";
import type { AttributeHead } from "./search/attribute-head.ts";
import type { JudgeName } from "./search/judge.ts";
import type { JudgeQuality } from "./search/judge-quality.ts";
import type { SkipPart } from "./skipping/skip.ts";
import type { SkipOrder } from "./skipping/skip-order.ts";

/** What decoding needs of a model. The object that `load()` returns is one; tests build one over a toy distribution. */
export interface DecodingModel {
  /** For messages and facts. */
  readonly name?: string;
  /** Tells this model's files from every other's, such as their SHA-256: a saved chat names it. */
  readonly hash: string;
  /** Length of a row of logits; may exceed the tokenizer's where files pad it. */
  readonly vocabSize: number;
  /** Most tokens that a sequence may hold. */
  readonly contextLength: number;
  readonly tokenizer: Tokenizer;
  /** The model's chat template. Absent: messages are refused. */
  readonly chat?: ChatFormat | undefined;
  /**
   * An empty sequence.
   *
   * @param options.maxLength  most entries it will hold, so that the run's worst case is checked before it starts
   * @param options.priority   higher ones go first; default 0
   * @param options.prefixKey  prefixes are handed on between sequences of the same key only; default ""
   * @throws MemoryError, ContextOverflowError; the signal's reason when cancelled while it waits for room
   */
  sequence(options: SequenceOptions): Sequence | Promise<Sequence>;
  /** Names of the adapters that sequences may be given. Absent: the axis `adapter` is refused. */
  adapters?(): readonly string[];
  /** Number of transformer blocks. Absent: methods that skip some are refused. */
  readonly blocks?: number;
  /** Width C of the residual stream. Absent where a state that was read can't be given back in a token's place (learned positions). */
  readonly hiddenSize?: number;
  /** In which order it does without blocks, or their feed-forward halves: measured at the first call and kept. @see SkipContext */
  skipOrder?(part: SkipPart, options: { readonly signal?: AbortSignal }): Promise<SkipOrder>;
  /** T(n)/T(1) on this machine after so many tokens: what drafts decide their width by. Absent: methods that need it are refused. */
  costCurve?(options: { readonly signal?: AbortSignal; readonly entries?: number }): Promise<CostCurve>;
  /** What it is worth when it is left early, through its own norm and head: measured at the first call and kept. Absent: no draft counts on it. */
  exits?(options: { readonly signal?: AbortSignal }): Promise<readonly Exit[]>;
  /**
   * Trained maps that move its states ahead, the first by one token. Absent: methods that need them are refused.
   *
   * @throws NotFoundError where none have been trained for it
   */
  transferMaps?(options: { readonly signal?: AbortSignal }): Promise<Probes["chain"]>;
  /** A head fitted for this model, by name. @see fitAttribute */
  attributeHead?(name: string): Promise<AttributeHead | undefined>;
  /** How well a judge tells good answers from bad ones: measured at the first call and kept. @see measureJudge */
  judgeQuality?(judge: JudgeName, options: { readonly signal?: AbortSignal }): Promise<JudgeQuality>;
  /**
   * Where it, or the adapter of it by this name, was trained on pairs of answers and its run's metrics are known: the share of held-out pairs that
   * it ranked right in the end, in [0, 1], and of how many, where its run said so.
   */
  heldOutRanking?(adapter?: string): Promise<{ readonly share: number; readonly numPairs?: number } | undefined>;
  /**
   * Another model by name or path, loaded at the first call and disposed with this one. Absent: methods take models as objects only.
   *
   * @throws OptionError where it may not be loaded; what loading throws
   */
  beside?(name: string, options: { readonly signal?: AbortSignal }): Promise<DecodingModel>;
}

/** How methods reach the model inside an object that `load()` gave. */
export const decodingModel: unique symbol = Symbol("chainrule.decodingModel");

/** A second model as a caller names it: by a name or path that {@link DecodingModel.beside} knows, or as what `load()` gave. */
export type ModelSource = string | { readonly [decodingModel]: DecodingModel };

export function isModelSource(value: unknown): value is ModelSource {
  return (typeof value === "string" && value !== "") || (typeof value === "object" && value !== null && decodingModel in value);
}

export interface SequenceOptions {
  readonly maxLength: number;
  readonly priority?: number;
  readonly prefixKey?: string;
  /** What changes the model for this sequence and its forks. */
  readonly adapters?: readonly AdapterScale[];
  readonly signal?: AbortSignal;
}

export interface ChatFormat {
  /**
   * Messages as the text that the model was trained on, special tokens in their written form.
   *
   * @param options.addGenerationPrompt  end with the opening of the assistant's turn
   * @param options.tools                functions that the answer may call
   * @throws OptionError (messages), TemplateError, TimeoutError
   */
  render(
    messages: readonly Message[],
    options: { readonly addGenerationPrompt: boolean; readonly tools?: readonly Tool[]; readonly signal?: AbortSignal },
  ): Promise<string>;
}
