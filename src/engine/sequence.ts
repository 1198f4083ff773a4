import type { TokenId } from "../token.ts";

/**
 * The interface between strategies and models. A sequence is a value with a cache behind it; everything a decoding method
 * may want of a model is data in a {@link ForwardRequest}. A toy distribution implements `input`, `parents`, `positions` and
 * `want` and refuses the rest with an UnsupportedError, so every search and draft rule can be tested without a model.
 *
 * Axes: T rows of a request, L entries of the sequence before it, C hidden size, V vocabulary size.
 */
export interface Sequence {
  /** Number of entries (tokens or embeddings) the sequence holds. */
  readonly length: number;
  readonly vocabSize: number;
  /** Most entries the sequence may hold. */
  readonly contextLength: number;
  /**
   * Appends the request's rows to the sequence and evaluates them. Awaiting is batching: requests queued in the same turn of
   * the event loop are fused into one pass where their structure allows.
   *
   * With `parents` (a tree), every row is appended in the order given; `keep` afterwards says which path stays.
   *
   * @throws ContextOverflowError, OptionError, RangeError (token id), DisposedError; the signal's reason when cancelled.
   *         After an error the sequence has its old length.
   */
  forward(request: ForwardRequest): Promise<ForwardResult>;
  /** A new sequence with the same content; the prefix's cells are shared by reference count. */
  fork(): Sequence;
  /** Forgets everything from entry `length` on. @throws RangeError if `length` is not in [0, this.length] */
  rewind(length: number): void;
  /**
   * Of the last request's rows keeps these, in this order, and forgets the others: what a verified tree needs. Each row's
   * parent must be the row kept before it (the first one's: the end of the sequence before that request).
   */
  keep(rows: readonly number[]): void;
  /** Completes cells of blocks which earlier requests skipped (K/V holes), so that deeper reads see every entry. */
  fill(): Promise<void>;
  /** Gives its cells back. Idempotent. */
  [Symbol.dispose](): void;
}

/** Input embeddings in place of tokens, row-major. */
export interface Embeddings {
  /** [T, C] */
  readonly values: Float32Array;
  /** C */
  readonly hiddenSize: number;
}

export interface ForwardRequest {
  /** Token ids [T], or embeddings [T, C] (after any embedding scale of the family); T >= 1. */
  readonly input: readonly TokenId[] | Embeddings;
  /** For each row the index of its parent row in this request, -1 for the end of the sequence. Default: a chain. parents[i] < i. */
  readonly parents?: readonly number[];
  /** For each row its position (rotary or learned). Default: the parent's position + 1. */
  readonly positions?: readonly number[];
  /** Restricts what rows see of the sequence. Rows of no entry see all their ancestors. */
  readonly visible?: readonly Visibility[];
  readonly want?: Want;
  /** Which half-blocks run. Default: all. */
  readonly blocks?: BlockPlan | SkipRule;
  /** Indices of blocks whose output state also goes through the final norm and the head. */
  readonly exits?: readonly number[];
  readonly inject?: readonly Injection[];
  /** Adapters by name with their scales. Default: those that the sequence was made with. */
  readonly adapters?: readonly { readonly name: string; readonly scale: number }[];
  readonly signal?: AbortSignal;
}

/** Rows [rows[0], rows[1]) of the request see, of the entries they descend from, only those in `sees` (ranges [from, to) of
 * entry indices; the request's own rows count on from `length`), and always themselves. */
export interface Visibility {
  readonly rows: readonly [from: number, to: number];
  readonly sees: readonly (readonly [from: number, to: number])[];
}

export interface Want {
  /** Which rows give candidates or logits. Default "last" if `top`, `scores` or `fullLogits` is set, otherwise none. */
  readonly logits?: "last" | "all" | readonly number[];
  /** Number of candidates per row, >= 1. Default 64. */
  readonly top?: number;
  /**
   * For each row that `logits` names, in its order, tokens whose logits are returned as well, wherever they rank: the token to
   * be scored, or those a guide changes. One list per such row, any length, repeats allowed.
   */
  readonly scores?: readonly (readonly TokenId[])[];
  /** Also the whole row of logits [V], for samplers that the candidates do not suffice. Default false. */
  readonly fullLogits?: boolean;
  /** Rows whose state after the final norm is returned. */
  readonly hidden?: "last" | "all" | readonly number[];
  /** Taps by name, all rows: `blocks.<i>.resid_pre | attn_out | mlp_out | resid_mid | resid_post`, `blocks.<i>.attn.pattern`. */
  readonly taps?: readonly string[];
}

/** `false` for a half-block that does not run, keyed `blocks.<i>.attn` or `blocks.<i>.ffn`; everything else runs. */
export type BlockPlan = Readonly<Record<string, false>>;

/**
 * Decides inside the pass, row by row; a pure object without access to the model. The engine executes: it runs the half-blocks between two
 * decisions at once, on the calling thread, and each half-block that rows disagree on for those rows only.
 */
export interface SkipRule {
  readonly name: string;
  /** Half-blocks it may skip, as `blocks.<i>.attn` or `blocks.<i>.ffn`: each costs a cut of the pass. The others always run. */
  readonly decides: readonly string[];
  /** State for one row. */
  start(position: number): unknown;
  /**
   * Asked before half-block `half` of block `block` of that row, if it is among `decides`. An attention half is asked about in requests of
   * one row only: the rows of one request read each other's keys and values. What a skipped one did not write is computed before a later
   * request reads it (see {@link Sequence.fill}).
   */
  next(state: unknown, block: number, half: "attn" | "ffn", statistics: RowStatistics): "run" | "skip";
}

/** What the engine measures of one row as it passes through the blocks. */
export interface RowStatistics {
  /** Cosine between the residual stream before and after each feed-forward half that ran, by block; undefined where skipped. */
  readonly ffnCosine: readonly (number | undefined)[];
}

/**
 * Adds `map(state of rows)` at a tap. `map` names a module registered with the model; "identity" adds `values`. With `from`, each row's state at
 * the tap becomes `map(state of the row in from)` instead: what the row was before is forgotten. A request has one map per tap.
 */
export interface Injection {
  readonly tap: string;
  readonly rows: readonly number[];
  readonly map: string;
  /** For each of `rows` the row whose state it takes; a request with these has fewer than 64 rows, so that they share a pass. */
  readonly from?: readonly number[];
  /** [rows.length, C], for "identity". */
  readonly values?: Float32Array;
}

/** The k largest logits of a row with their ids, sorted from large to small, ties to the lowest id. */
export interface Candidates {
  readonly ids: Int32Array; // [k]
  readonly logits: Float32Array; // [k]
  /** log Σ exp(logits) over the whole vocabulary, no less than the largest: `exp(logits[i] - logSumExp)` is a probability. */
  readonly logSumExp: number;
}

export interface RowResult {
  /** Index of the row in the request. */
  readonly row: number;
  readonly candidates?: Candidates;
  /** Logits of the tokens of this row's list in `want.scores`, in its order. */
  readonly scores?: Float32Array;
  /** [V], with `want.fullLogits`. */
  readonly logits?: Float32Array;
  /** [C], with `want.hidden`. */
  readonly hidden?: Float32Array;
  /** Candidates at each exit asked for, by block index. */
  readonly exits?: ReadonlyMap<number, Candidates>;
  /** With a skip rule: the half-blocks it left out for this row. */
  readonly skipped?: readonly string[];
}

export interface ForwardResult {
  /** One entry per row that `want` names (of `logits` and `hidden` together), in row order. Values only: nothing native escapes. */
  readonly rows: readonly RowResult[];
  /** By tap name: values row-major, shape [T, ...]. */
  readonly taps: ReadonlyMap<string, { readonly values: Float32Array; readonly shape: readonly number[] }>;
  readonly cost: Cost;
}

/** What a request cost; a fused pass counts for each of its requests. */
export interface Cost {
  readonly passes: number;
  /** The engine's numbers of these passes, so that one which several requests shared can be told. Absent: nobody shared any. */
  readonly passIds?: readonly number[];
  readonly rows: number;
  /** Rows that the prefix cache had, beside those computed. */
  readonly reused?: number;
  readonly computeMs: number;
  readonly queueMs: number;
}

/** T(n)/T(1): time of one pass over n rows against one row, for the file, device, threads and mode in use. */
export interface CostCurve {
  /** Milliseconds of a pass over one row. */
  readonly singleRowMs: number;
  readonly points: readonly { readonly rows: number; readonly ratio: number }[];
  /** T(rows)/T(1) of the pass that so many rows are padded to; linear beyond the last measured point. */
  ratio(rows: number): number;
}
