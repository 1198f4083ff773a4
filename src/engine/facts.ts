/**
 * What a run reports. The CLI, the server and the playground show these same facts; streaming sends them as events of the
 * same shape. A part that is absent took no part in the run. Fields are added, never renamed. Times are milliseconds.
 */
export interface Facts {
  /** Passes the run took part in, rows it computed, and tokens per pass. */
  readonly passes: number;
  readonly rows: number;
  readonly tokensPerPass: number;
  readonly programs?: { readonly hits: number; readonly misses: number; readonly bytes: number };
  readonly tokens: readonly TokenFact[];
  /** Tokens whose keys and values an earlier prompt had computed. */
  readonly prefixCache?: { readonly tokens: number };
  /** Adapters that changed the model, as asked for. */
  readonly adapters?: readonly { readonly name: string; readonly scale: number }[];
  readonly drafts?: DraftFacts;
  readonly skips?: {
    readonly blocks: readonly (readonly [row: number, block: number, half: "attn" | "ffn"])[];
    readonly total: number;
    readonly run: number;
  };
  readonly branches?: readonly BranchFact[];
  /** Of a search that spends many passes on an answer. */
  readonly effort?: EffortFact;
  readonly guides?: readonly { readonly name: string; readonly weight: number; readonly meanShift: number }[];
  /** Other models that took part: their own passes and rows, which `passes` and `rows` above don't count, and the time of the passes. */
  readonly models?: readonly { readonly name: string; readonly passes: number; readonly rows: number; readonly computeMs: number }[];
  readonly times: { readonly queueMs: number; readonly promptMs: number; readonly firstTokenMs: number; readonly perPassMs: number };
  readonly attribution?: AttributionFacts;
  /** Choices the engine made by measurement or rule, with the reason. */
  readonly choices: readonly ChoiceFact[];
}

export interface TokenFact {
  readonly id: number;
  /** Natural logarithm of the model's probability (before guides, temperature and truncation). */
  readonly logprob?: number;
  readonly top?: readonly { readonly id: number; readonly logprob: number }[];
  readonly source: "model" | "draft" | "forced";
  readonly drafted?: { readonly by: string; readonly accepted: boolean };
}

export interface DraftFacts {
  readonly method: string;
  readonly drafted: number;
  readonly accepted: number;
  /** Accepted drafts by their position in the draft. */
  readonly byPosition: readonly number[];
  /** The passes after the prompt's by how many drafted tokens each verified: their number, and how many of these were accepted. */
  readonly byWidth: readonly { readonly drafted: number; readonly passes: number; readonly accepted: number }[];
  /** Σ (1 + accepted) / Σ T(rows)/T(1) over these passes, by the cost curve: the speed against plain decoding, without the time that guessing took. Of drafts that go by the curve. */
  readonly expectedGain?: number;
  readonly offBecause?: string;
}

export interface BranchFact {
  readonly id: number;
  readonly parent: number | undefined;
  /** Index of the generated token at which the branch left its parent. */
  readonly from: number;
  readonly tokens: readonly number[];
  readonly score: number;
  readonly end: "won" | "pruned" | "rewound" | "stopped";
  readonly why?: string;
}

/** How far a search that spends many passes came. Streamed, too, as it goes: the first one, before any token, says what is expected. */
export interface EffortFact {
  readonly method: string;
  /** What is counted: "iterations", "answers". */
  readonly unit: string;
  readonly done: number;
  /** As far as is known: what the rest of the answer takes is estimated. */
  readonly planned: number;
  /** Since the prompt was read. */
  readonly passes: number;
  readonly ms: number;
  /** What `planned` was expected to take before it began, and by what; `ms` where the model's speed is known. */
  readonly expected?: { readonly passes: number; readonly ms?: number; readonly basis: string };
  /** The budget: where it stops, whatever is still planned. Absent where nothing bounds it. */
  readonly limits?: { readonly passes?: number; readonly seconds?: number };
  /** The budget that ended it before everything planned was done. */
  readonly endedBy?: "passes" | "seconds";
  /** What the paper's setting would take, at this run's passes and time for each unit. */
  readonly paper?: { readonly setting: string; readonly passes: number; readonly ms: number };
}

/** What the tokens of an answer owe to those of the prompt. */
export interface AttributionFacts {
  readonly method: string;
  /** The prompt's tokens as text. */
  readonly prompt: readonly string[];
  /** One entry per token of the answer that was explained, in their order. */
  readonly tokens: readonly TokenAttribution[];
  readonly effort: EffortFact;
}

export interface TokenAttribution {
  /** In the answer. */
  readonly index: number;
  readonly id: number;
  readonly text: string;
  /** The model's, before guides and samplers. */
  readonly probability: number;
  /** Nats that the prompt adds to its log-probability, against prompts with every token replaced. */
  readonly information: number;
  /** Per token of the prompt, in logits: what replacing it takes from the probability, against the mean of all. 0 where none may be replaced. */
  readonly scores: readonly number[];
  /** Per token of the prompt; sums to 1. */
  readonly importance: readonly number[];
  /** Indices of the prompt's most important tokens. */
  readonly rationale: readonly number[];
  /** Whether the token stays among the model's first `k` when every token of the prompt outside the rationale is replaced. */
  readonly isSufficient: boolean;
  /** How faithful the importance is to the model, beside a random one; where it was asked for. */
  readonly faithfulness?: {
    readonly softSufficiency: number;
    readonly softComprehensiveness: number;
    readonly random: { readonly softSufficiency: number; readonly softComprehensiveness: number };
  };
}

export interface ChoiceFact {
  readonly what: string;
  readonly chosen: string;
  readonly because: string;
}
