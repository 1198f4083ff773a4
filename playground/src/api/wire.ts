import type { BranchFact, EffortFact, Facts, TokenFact } from "../../../src/engine/facts.ts";
import type { ChatRequest, CompletionRequest } from "../../../src/server/schemas.ts";

// What the server says and hears, as docs/serve.md has it.

export type { BranchFact, DraftFacts, EffortFact, Facts, TokenFact } from "../../../src/engine/facts.ts";

/** A method of `GET /v1/chainrule/methods`. */
export interface MethodDescription {
  readonly name: string;
  readonly summary: string;
  readonly parameters: Readonly<Record<string, ParameterDescription>>;
  readonly source?: { readonly title: string; readonly arxiv?: string };
  readonly isNeutral: boolean;
  /** Methods that can't stand beside it, as "axis name", each with the reason. */
  readonly cannotCompose: Readonly<Record<string, string>>;
}

export interface ParameterDescription {
  readonly type: "number" | "integer" | "boolean" | "text" | "token values" | "examples" | "choice" | "function" | "model" | "adapter";
  readonly doc: string;
  /** Absent: it must be given, unless it is optional. */
  readonly default?: unknown;
  readonly isOptional?: true;
  /** Of a choice; of a model or an adapter, what can be named. */
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** The range in words. */
  readonly range: string;
}

/** Every method, by axis. */
export type Registry = Readonly<Record<string, readonly MethodDescription[]>>;

/** `GET /v1/chainrule/status`. */
export interface ServerStatus {
  readonly ready: boolean;
  readonly requests: { readonly running: number; readonly waiting: number; readonly accepted: number; readonly refused: number };
  readonly tokens: { readonly prompt: number; readonly completion: number };
  readonly restarts: number;
  /** Where the curves of a training run are; absent or null where the server shows none. */
  readonly training?: string | null;
  readonly engine: {
    readonly running: number;
    readonly queued: number;
    readonly streams: number;
    readonly streamsUsed: number;
    readonly preemptions: number;
    readonly passes: number;
    readonly residentBytes: number;
  } | null;
  readonly model: { readonly name: string; readonly contextLength: number; readonly blocks: number } | null;
}

/** `GET /v1/chainrule/cost-curve`: T(rows) / T(1). */
export interface CostCurve {
  readonly singleRowMs: number;
  readonly points: readonly { readonly rows: number; readonly ratio: number }[];
}

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** The object `chainrule` of a request: a method or a list of methods by axis. */
export type Extension = Readonly<Record<string, unknown>>;
export type CompletionBody = Omit<CompletionRequest, "chainrule"> & { readonly chainrule?: Extension };
export type ChatBody = Omit<ChatRequest, "chainrule" | "messages"> & {
  readonly messages: readonly Message[];
  readonly chainrule?: Extension;
};

/** One event of a streamed chat or completion, as far as this page reads it. */
export interface Chunk {
  readonly choices: readonly {
    readonly index: number;
    readonly text?: string;
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason: string | null;
  }[];
  readonly chainrule?: {
    readonly token?: TokenFact;
    readonly branch?: BranchFact;
    readonly growth?: Growth;
    readonly effort?: EffortFact;
    readonly facts?: Facts;
    readonly timings?: Timings;
    readonly finishReason?: string;
    readonly alternatives?: readonly Alternative[];
  };
}

/** A further answer of a search that was asked for several. */
export interface Alternative {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly score: number;
  readonly finishReason: string;
}

/** A branch that goes on has grown. */
export interface Growth {
  readonly id: number;
  readonly parent?: number | undefined;
  /** Index in the answer at which it left its parent. */
  readonly from: number;
  /** Index in the answer of the first of `tokens`. */
  readonly at: number;
  readonly tokens: readonly number[];
  readonly score?: number;
}

export interface Timings {
  readonly promptMs: number;
  readonly completionMs: number;
  readonly promptTokensPerSecond: number;
  readonly completionTokensPerSecond: number;
}
