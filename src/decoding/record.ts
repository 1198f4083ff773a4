import type {
  AttributionFacts,
  BranchFact,
  ChoiceFact,
  Cost,
  DraftFacts,
  EffortFact,
  Facts,
  ForwardRequest,
  ForwardResult,
  Sequence,
  TokenFact,
} from "../engine/index.ts";

/** How long the parts of a run took. Rates leave out what they do not measure: see each. */
export interface Timings {
  /** Evaluating the prompt, waiting in the queue included. */
  readonly promptMs: number;
  /** From the first token to the last, without the time in which the caller held the stream. */
  readonly completionMs: number;
  /** Prompt tokens that were evaluated (cached ones are not) by `promptMs`; 0 when there were none. */
  readonly promptTokensPerSecond: number;
  /** Tokens after the first, which the prompt's pass gave, by `completionMs`; 0 when there were none. */
  readonly completionTokensPerSecond: number;
}

/** Collects what a run reports, as it happens. */
export class RunRecord {
  readonly tokens: TokenFact[] = [];
  /** Of the prompt those that the prefix cache had. */
  cachedTokens = 0;
  readonly #startMs: number;
  #passes = 0;
  readonly #passIds = new Set<number>();
  #rows = 0;
  #queueMs = 0;
  #firstTokenMs = 0;
  #drafts: DraftFacts | undefined;
  #attribution: AttributionFacts | undefined;
  readonly #choices: ChoiceFact[] = [];
  #effort: EffortFact | undefined;
  #guides: NonNullable<Facts["guides"]> = [];
  readonly #branches: BranchFact[] = [];
  readonly #models = new Map<string, NonNullable<Facts["models"]>[number]>();
  #skips: { blocks: [row: number, block: number, half: "attn" | "ffn"][]; total: number; run: number } | undefined;
  /** The run's own time up to `#resumedMs`; the clock stands while `#resumedMs` is undefined. */
  #ownMs = 0;
  #resumedMs: number | undefined;
  /** State when the prompt was done. */
  #prompt = { ms: 0, rows: 0, passes: 0 };
  #lastTokenMs = 0;

  /** @param startMs  when the call began */
  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  /**
   * Evaluates a request and counts it.
   * @param skipping  with a skip: index in the answer of the request's first row, and the model's number of blocks
   */
  async forward(sequence: Sequence, request: ForwardRequest, skipping?: { from: number; blocks: number }): Promise<ForwardResult> {
    const result = await sequence.forward(request);
    if (skipping !== undefined && skipping.from >= 0) this.#countSkips(request, result, skipping);
    this.#countPasses(result.cost);
    this.#rows += result.cost.rows;
    this.#queueMs += result.cost.queueMs;
    this.cachedTokens += result.cost.reused ?? 0;
    return result;
  }

  /** A pass that several branches share is one pass. */
  #countPasses({ passes, passIds }: Cost): void {
    if (passIds === undefined) this.#passes += passes;
    for (const id of passIds ?? []) {
      if (this.#passIds.has(id)) continue;
      this.#passIds.add(id);
      this.#passes += 1;
    }
  }

  /** {@link forward} of another model: counted beside the run's own passes. */
  async forwardBeside(name: string, sequence: Sequence, request: ForwardRequest): Promise<ForwardResult> {
    const result = await sequence.forward(request);
    const { passes, rows, computeMs } = this.#models.get(name) ?? { passes: 0, rows: 0, computeMs: 0 };
    const { cost } = result;
    this.#models.set(name, { name, passes: passes + cost.passes, rows: rows + cost.rows, computeMs: computeMs + cost.computeMs });
    return result;
  }

  #countSkips(
    { blocks = {} }: ForwardRequest,
    { rows }: ForwardResult,
    { from, blocks: numBlocks }: { from: number; blocks: number },
  ): void {
    this.#skips ??= { blocks: [], total: 0, run: 0 };
    const planned = Object.keys(blocks).filter((half) => half.startsWith("blocks."));
    for (const { row, skipped = planned } of rows) {
      for (const half of skipped) {
        const [, block, kind] = half.split(".");
        this.#skips.blocks.push([from + row, Number(block), kind as "attn" | "ffn"]);
      }
      this.#skips.total += 2 * numBlocks;
      this.#skips.run += 2 * numBlocks - skipped.length;
    }
  }

  /** The run works from now on … */
  resume(): void {
    this.#resumedMs = performance.now();
  }

  /** … until now: the caller has the stream. */
  pause(): void {
    this.#ownMs = this.#now();
    this.#resumedMs = undefined;
  }

  promptDone(): void {
    this.#prompt = { ms: this.#now(), rows: this.#rows, passes: this.#passes };
  }

  tokenDone(fact: TokenFact): void {
    if (this.tokens.length === 0) this.#firstTokenMs = performance.now() - this.#startMs;
    this.tokens.push(fact);
    this.#lastTokenMs = this.#now();
  }

  effortDone(fact: EffortFact): void {
    this.#effort = fact;
  }

  branchDone(fact: BranchFact): void {
    this.#branches.push(fact);
  }

  reportDrafts(drafts: DraftFacts, choices: readonly ChoiceFact[]): void {
    this.#drafts = drafts;
    this.#choices.push(...choices);
  }

  reportChoices(choices: readonly ChoiceFact[]): void {
    this.#choices.push(...choices);
  }

  /** What was spent so far. */
  spent(): { readonly passes: number; readonly ms: number } {
    return { passes: this.#passes, ms: this.#now() };
  }

  reportAttribution(attribution: AttributionFacts): void {
    this.#attribution = attribution;
  }

  reportGuides(guides: NonNullable<Facts["guides"]>): void {
    this.#guides = guides;
  }

  timings(): Timings {
    const completionMs = Math.max(this.#lastTokenMs - this.#prompt.ms, 0);
    return {
      promptMs: this.#prompt.ms,
      completionMs,
      promptTokensPerSecond: perSecond(this.#prompt.rows, this.#prompt.ms),
      completionTokensPerSecond: perSecond(Math.max(this.tokens.length - 1, 0), completionMs),
    };
  }

  facts(choices: readonly ChoiceFact[]): Facts {
    const numSteps = this.#passes - this.#prompt.passes;
    const { promptMs, completionMs } = this.timings();
    return {
      passes: this.#passes,
      rows: this.#rows,
      tokensPerPass: this.tokens.length / (1 + numSteps), // the prompt's passes count as the one that gave the first token
      tokens: this.tokens,
      ...(this.cachedTokens === 0 ? {} : { prefixCache: { tokens: this.cachedTokens } }),
      ...(this.#drafts === undefined ? {} : { drafts: this.#drafts }),
      ...(this.#skips === undefined ? {} : { skips: this.#skips }),
      ...(this.#branches.length === 0 ? {} : { branches: this.#branches }),
      ...(this.#effort === undefined ? {} : { effort: this.#effort }),
      ...(this.#guides.length === 0 ? {} : { guides: this.#guides }),
      ...(this.#models.size === 0 ? {} : { models: [...this.#models.values()] }),
      ...(this.#attribution === undefined ? {} : { attribution: this.#attribution }),
      times: {
        queueMs: this.#queueMs,
        promptMs,
        firstTokenMs: this.#firstTokenMs,
        perPassMs: numSteps === 0 ? 0 : completionMs / numSteps,
      },
      choices: [...choices, ...this.#choices],
    };
  }

  /** The run's own time. */
  #now(): number {
    return this.#ownMs + (this.#resumedMs === undefined ? 0 : performance.now() - this.#resumedMs);
  }
}

function perSecond(count: number, ms: number): number {
  return count === 0 || ms === 0 ? 0 : (count * 1000) / ms;
}
