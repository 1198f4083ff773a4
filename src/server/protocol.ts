import type { Tool } from "../chat/index.ts";
import type {
  DescribedMethod,
  EmbedOptions,
  GenerateEvent,
  GenerateOptions,
  GenerateResult,
  MethodSpec,
  Prompt,
  TokenLogprob,
} from "../decoding/index.ts";
import type { TokenFact } from "../engine/index.ts";
import type { ErrorCode } from "../errors.ts";
import type { Echo } from "./echo.ts";

/**
 * What parent and child say to each other: lists of messages, one list per turn of either event loop. The parent owns the sockets, the
 * child everything native.
 */

/** Options of a run that can cross a process boundary. */
export type WireOptions = Omit<GenerateOptions, "signal"> & { readonly layout?: MethodSpec };

export type Task =
  /** `count` answers to one prompt; answer i is drawn with seed + i. */
  | {
      readonly kind: "generate";
      readonly prompt: Prompt;
      /** Laid out with a prompt of messages. */
      readonly tools?: readonly Tool[];
      readonly options: WireOptions;
      readonly count: number;
    }
  | { readonly kind: "embed"; readonly texts: readonly string[]; readonly options: Omit<EmbedOptions, "signal"> }
  | { readonly kind: "tokenize"; readonly text: string; readonly special: boolean; readonly bos?: boolean }
  | { readonly kind: "detokenize"; readonly lists: readonly (readonly number[])[]; readonly special: boolean }
  | { readonly kind: "costCurve" };

export type ToChild =
  | {
      readonly kind: "start";
      readonly id: number;
      readonly task: Task;
      /** Events the parent will take now. */
      readonly credits: number;
      /** The client's request, for the log. */
      readonly request?: string;
    }
  | { readonly kind: "cancel"; readonly id: number }
  | { readonly kind: "credit"; readonly id: number; readonly count: number }
  | { readonly kind: "ping"; readonly number: number };

/** One event of a run. A run's `text`s in a row are its answer. */
export type WireEvent =
  | {
      readonly kind: "token";
      readonly choice: number;
      readonly text: string;
      readonly fact: TokenFact;
      /** With `logprobs`. */
      readonly logprob?: WireLogprob;
    }
  /** How a search goes on, beside the answer's tokens. */
  | { readonly kind: "search"; readonly choice: number; readonly step: SearchStep }
  | { readonly kind: "finish"; readonly choice: number; readonly text: string; readonly result: WireResult };

/** With the bytes of each token, of which half a character's text tells nothing. */
export interface WireLogprob extends TokenLogprob {
  readonly bytes: readonly number[];
  readonly top: readonly (TokenLogprob["top"][number] & { readonly bytes: readonly number[] })[];
}

export type SearchStep = Extract<GenerateEvent, { kind: "growth" | "branch" | "effort" }>;

/** A run's result as it crosses the wire: all of it but what its events have said already. Arrays of numbers are plain lists. */
export interface WireResult extends Omit<GenerateResult, "text" | "logprobs"> {
  /** With `promptLogprobs`: text of the prompt's first token, which has none, and the text that each of the prompt's tokens adds. */
  readonly echo?: Echo;
}

/** What is wrong with a task, as the client is told. */
export interface WireError {
  readonly status: 400 | 413 | 429 | 500 | 503;
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  /** For the log alone: the stack of a failure that is the server's own. */
  readonly stack?: string;
}

export interface ModelInfo {
  readonly name: string;
  readonly hash: string;
  readonly contextLength: number;
  readonly vocabSize: number;
  readonly blocks: number;
  /** Milliseconds that loading it took. */
  readonly loadMs: number;
  readonly methods: Readonly<Record<string, readonly DescribedMethod[]>>;
}

/** What the engine holds right now. */
export interface EngineStatus {
  readonly running: number;
  /** Runs that wait for a reader that doesn't read. */
  readonly unread: number;
  readonly queued: number;
  readonly streams: number;
  readonly streamsUsed: number;
  readonly preemptions: number;
  /** Bytes of host memory that hold caches put aside. */
  readonly asideBytes: number;
  readonly passes: number;
  readonly residentBytes: number;
}

export type ToParent =
  /** The answer to a ping before there is a model. */
  | { readonly kind: "loading" }
  /** The last message: the model can't be loaded. With the code of an error that Chainrule throws on purpose. */
  | { readonly kind: "unloadable"; readonly message: string; readonly code?: ErrorCode }
  | { readonly kind: "ready"; readonly info: ModelInfo }
  | { readonly kind: "event"; readonly id: number; readonly event: WireEvent }
  | { readonly kind: "done"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: WireError }
  | { readonly kind: "pong"; readonly number: number; readonly status: EngineStatus };

/** Command line of the child, as one JSON argument. */
export interface ChildSettings {
  readonly model: string;
  readonly load: {
    readonly home?: string;
    readonly threads?: number | "auto";
    readonly device?: "cpu" | "cuda" | "vulkan" | "metal";
    readonly context?: number;
    readonly cacheBytes?: number;
    readonly prefixCacheBytes?: number;
    readonly strict?: boolean;
    readonly offline?: boolean;
    /** Models that requests may name in their methods; they can name no others. */
    readonly beside?: Readonly<Record<string, string>>;
    readonly adapters?: Readonly<Record<string, string>>;
  };
  /** Prompt tokens of all runs that have not ended; more are refused with 429. */
  readonly maxTokens: number;
  /** Bytes of host memory for caches that had to make room. Above it no run begins, and the youngest ones are ended. */
  readonly maxAsideBytes: number;
  /** Milliseconds that a run may wait for its reader before its cache makes room for others. */
  readonly unreadMs: number;
}
