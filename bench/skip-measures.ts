import { warmBlocks } from "../src/decoding/skipping/ffn.ts";
import type { BlockPlan, SkipRule } from "../src/engine/index.ts";
import type { GenerateResult, Model } from "../src/index.ts";
import type { TokenId } from "../src/token.ts";
import { summarize } from "./statistics.ts";

const window = 256;
export const scoredRows = window / 2 - 1;

/** What skipping costs and gains on a text. */
export class SkipMeasures {
  readonly #model: Model;
  readonly #tokens: readonly TokenId[];
  readonly #pairs: number;

  constructor(model: Model, tokens: readonly TokenId[], pairs: number) {
    this.#model = model;
    this.#tokens = tokens;
    this.#pairs = pairs;
  }

  /** Perplexity over windows of which the first half is read in full, as a prompt is; and the mean number of half-blocks left out. */
  async perplexity(
    blocksOfRow: (row: number) => BlockPlan | SkipRule | undefined,
    isRule: boolean,
  ): Promise<{ perplexity: number; skipped: number }> {
    const tokens = this.#tokens;
    let [sum, count, skipped] = [0, 0, 0];
    for (let from = 0; from + window <= tokens.length; from += window) {
      const part = tokens.slice(from, from + window);
      const half = window / 2;
      using sequence = this.#model.sequence();
      await sequence.forward({ input: part.slice(0, half) });
      const rows = part.slice(half, -1);
      const score = async (input: readonly TokenId[], targets: readonly TokenId[], blocks: BlockPlan | SkipRule | undefined) => {
        const want = { logits: "all", top: 1, scores: targets.map((token) => [token]) } as const;
        const result = await sequence.forward({ input, want, ...(blocks === undefined ? {} : { blocks }) });
        for (const { candidates, scores, skipped: left = isRule ? [] : Object.keys(blocks ?? {}) } of result.rows) {
          sum += scores![0]! - candidates!.logSumExp;
          skipped += left.length;
          count += 1;
        }
      };
      // one request where every row may run the same blocks or a rule decides; else token by token
      if (isRule || blocksOfRow(0) === blocksOfRow(rows.length - 1)) await score(rows, part.slice(half + 1), blocksOfRow(0));
      else for (const [row, token] of rows.entries()) await score([token], [part[half + 1 + row]!], blocksOfRow(row));
    }
    return { perplexity: Math.exp(-sum / count), skipped: skipped / count };
  }

  /** Decode speed of a skip against none, alternating; and an answer with it. */
  async speed(skip: string): Promise<ReturnType<typeof summarize> & { readonly result: GenerateResult }> {
    const prompt = this.#tokens.slice(0, 64);
    const generate = (given: string | undefined) =>
      this.#model.generate(prompt, { maxTokens: 65, ignoreEndTokens: true, ...(given === undefined ? {} : { skip: given }) });
    const rate = async (given: string | undefined) => (await generate(given)).timings.completionTokensPerSecond;
    const result = await generate(skip);
    const ratios: number[] = [];
    for (let pair = 0; pair < this.#pairs; pair += 1) {
      const order = pair % 2 === 0 ? [skip, undefined] : [undefined, skip];
      const rates = new Map<string | undefined, number>();
      for (const one of order) rates.set(one, await rate(one));
      ratios.push(rates.get(skip)! / rates.get(undefined)!);
    }
    return { ...summarize(ratios), result };
  }
}

/** What `skip: "ffn"` decides for one token, of `budget` halves. */
export function ffnRule(prices: readonly number[], budget: number, threshold: number): SkipRule {
  const warm = warmBlocks(prices, budget);
  return {
    ...{ name: "ffn", decides: warm.map((block) => `blocks.${block}.ffn`), start: () => ({ left: budget, on: false }) },
    next(state, block, _half, { ffnCosine }) {
      const own = state as { left: number; on: boolean };
      const before = warm[warm.indexOf(block) - 1];
      own.on ||= before !== undefined && (ffnCosine[before] ?? -1) >= threshold;
      if (!own.on || own.left === 0) return "run";
      own.left -= 1;
      return "skip";
    },
  };
}

export const planOf = (blocks: readonly number[], halves: readonly string[]): BlockPlan =>
  Object.fromEntries(blocks.flatMap((block) => halves.map((half) => [`blocks.${block}.${half}`, false] as const)));

/** Draws different blocks, always the same ones for a run. */
export class BlockDraw {
  readonly #numBlocks: number;
  #state = 7;

  constructor(numBlocks: number) {
    this.#numBlocks = numBlocks;
  }

  draw(count: number): number[] {
    const left = Array.from({ length: this.#numBlocks }, (_, block) => block);
    return Array.from({ length: count }, () => {
      this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
      return left.splice(this.#state % left.length, 1)[0]!;
    });
  }
}
