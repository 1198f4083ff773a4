import { parseMethod } from "../src/decoding/index.ts";
import { blocksOf } from "../src/decoding/skipping/layers.ts";
import { planWithout } from "../src/decoding/skipping/skip.ts";
import type { BlockPlan, SkipRule } from "../src/engine/index.ts";
import { type GenerateResult, type Model, registry, type SkipPart } from "../src/index.ts";
import type { TokenId } from "../src/token.ts";
import { summarize } from "./statistics.ts";

const window = 256;
const promptRows = window / 2;
const scoredRows = window - promptRows - 1;

/** What each of a window's scored rows runs. */
export type BlocksOfRow = (row: number) => BlockPlan | SkipRule | undefined;

/** What skipping costs and gains on a text. */
export class SkipMeasures {
  readonly #model: Model;
  readonly #tokens: readonly TokenId[];
  readonly #pairs: number;
  readonly #numBlocks: number;

  constructor(model: Model, tokens: readonly TokenId[], pairs: number) {
    this.#model = model;
    this.#tokens = tokens;
    this.#pairs = pairs;
    this.#numBlocks = model.config.blocks.length;
  }

  /** Of each variant the perplexity over windows of which the first half is read in full, as a prompt is; and the mean number of half-blocks left out. */
  async perplexities(variants: readonly BlocksOfRow[]): Promise<{ perplexity: number; skipped: number }[]> {
    const sums = variants.map(() => ({ logProbability: 0, skipped: 0 }));
    let numRows = 0;
    for (let from = 0; from + window <= this.#tokens.length; from += window) {
      const part = this.#tokens.slice(from, from + window);
      using sequence = this.#model.sequence();
      await sequence.forward({ input: part.slice(0, promptRows) });
      for (const [index, blocksOfRow] of variants.entries()) {
        sequence.rewind(promptRows);
        for (const { blocks, start, end } of runsOf(blocksOfRow)) {
          const targets = part.slice(promptRows + start + 1, promptRows + end + 1);
          const want = { logits: "all", top: 1, scores: targets.map((token) => [token]) } as const;
          const input = part.slice(promptRows + start, promptRows + end);
          const { rows } = await sequence.forward({ input, want, ...(blocks === undefined ? {} : { blocks }) });
          for (const { candidates, scores, skipped = Object.keys(blocks ?? {}) } of rows) {
            sums[index]!.logProbability += scores![0]! - candidates!.logSumExp;
            sums[index]!.skipped += skipped.length;
          }
        }
      }
      numRows += scoredRows;
    }
    return sums.map(({ logProbability, skipped }) => ({ perplexity: Math.exp(-logProbability / numRows), skipped: skipped / numRows }));
  }

  /** What a skip such as "layers,to=0.9" runs. */
  async rowsOf(skip: string): Promise<BlocksOfRow> {
    const { method, values } = parseMethod(registry.skip, skip, "skip");
    const { blocksAt } = await method.create(values).start({
      ...{ blocks: this.#numBlocks, promptLength: promptRows, maxLength: promptRows + scoredRows },
      order: async (part: SkipPart) => (await this.#model.skipOrder(part)).blocks,
    });
    return (row) => blocksAt(promptRows + row);
  }

  /** As many blocks as `layers` leaves out, in another order. */
  falling(to: number, order: readonly number[]): BlocksOfRow {
    const plans = new Map<number, BlockPlan>();
    return (row) => {
      const left = this.#numBlocks - blocksOf({ blocks: this.#numBlocks, from: 1, to, first: 1 }, row, scoredRows);
      if (!plans.has(left)) plans.set(left, planWithout(order.slice(0, left), "block"));
      return plans.get(left)!;
    };
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

/** Rows one after the other that run the same. */
function* runsOf(blocksOfRow: BlocksOfRow) {
  for (let start = 0; start < scoredRows; ) {
    const blocks = blocksOfRow(start);
    let end = start + 1;
    while (end < scoredRows && blocksOfRow(end) === blocks) end += 1;
    yield { blocks, start, end };
    start = end;
  }
}

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
