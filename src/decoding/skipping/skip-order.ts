import type { BlockPlan, RowResult, Sequence } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { DecodingModel } from "../model.ts";
import { planWithout, type SkipPart } from "./skip.ts";

/** The order in which a model does without its parts: what is left out at some number is left out at every larger one, too. */
export interface SkipOrder {
  /** Blocks, the first to be left out first; never the model's first and last. */
  readonly blocks: readonly number[];
  /** By step, as far as was measured (half of the model): what a text's token costs more without it and all before it, in nats. */
  readonly costs: readonly number[];
}

const windowTokens = 256;
const promptTokens = 64; // of a window, read in full
const chunk = 64; // rows at a time: as many rows of logits are held
const top = 64;

const breadth = 5; // parts that are tried as the next one

/**
 * Measures in which order a model does without its parts: each next one is that without which, beside those left out before it, a text costs
 * least, half by its own tokens, half by the whole model's distribution. All parts are tried as the first one, then each time five: those
 * beside the last one, and those that promise most. What comes after half of the blocks is not measured beside the others.
 *
 * @param tokens  2 tokens or more; a model of 30 blocks reads them a hundred times
 * @param options.onProgress  told after each reading
 */
export async function measureSkipOrder(
  model: DecodingModel,
  tokens: readonly TokenId[],
  part: SkipPart,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<SkipOrder> {
  if (tokens.length < 2) throw new OptionError("text", `must have at least 2 tokens to measure on, has ${tokens.length}`);
  const numBlocks = model.blocks ?? 0;
  const inner = Array.from({ length: Math.max(numBlocks - 2, 0) }, (_, index) => index + 1);
  const numSteps = Math.min(numBlocks >> 1, inner.length);
  const numTried = Array.from({ length: numSteps }, (_, step) => (step === 0 ? inner.length : Math.min(breadth, inner.length - step)));
  const total = numTried.reduce((sum, count) => sum + count, 0);
  const [order, costs]: [number[], number[]] = [[], []];
  if (total === 0) return { blocks: inner, costs };

  using sequence = await model.sequence({
    maxLength: Math.min(windowTokens, model.contextLength),
    ...(signal === undefined ? {} : { signal }),
  });
  const text = new ScoredText(sequence, tokens, signal);
  await text.readWhole();
  const estimates = new Map(inner.map((block) => [block, 0])); // of those left: what each would add
  let alone: ReadonlyMap<number, number> | undefined;
  let done = 0;
  for (const count of numTried) {
    const before = costs.at(-1) ?? 0;
    const promising = [...neighbours(order).filter((block) => estimates.has(block)), ...byCost(estimates)];
    const tried = new Map<number, number>();
    for (const block of [...new Set(promising)].slice(0, count)) {
      tried.set(block, (await text.costWithout(planWithout([...order, block], part))) - before);
      onProgress?.(++done, total);
    }
    alone ??= tried;
    // beside others everything costs more than alone, also what was not tried now: an estimate is without what all tried ones cost more
    const rises = [...tried].map(([block, cost]) => cost - alone!.get(block)!).sort((a, b) => a - b);
    for (const [block, cost] of tried) estimates.set(block, cost - rises[rises.length >> 1]!);
    const chosen = byCost(tried)[0]!;
    order.push(chosen);
    costs.push(before + tried.get(chosen)!);
    estimates.delete(chosen);
  }
  return { blocks: [...order, ...byCost(estimates)], costs };
}

/** Blocks beside the stretch of left-out blocks that the last one belongs to: what is missing there already costs less. */
function neighbours(order: readonly number[]): number[] {
  if (order.length === 0) return [];
  let [low, high] = [order.at(-1)! - 1, order.at(-1)! + 1];
  while (order.includes(low)) low -= 1;
  while (order.includes(high)) high += 1;
  return [low, high];
}

/** Its keys, from the smallest value on. */
function byCost(costs: ReadonlyMap<number, number>): number[] {
  return [...costs].sort(([a, costA], [b, costB]) => costA - costB || a - b).map(([block]) => block);
}

/** What the whole model says where a token of the text follows: the likeliest tokens and, last, that one. */
interface Scored {
  readonly ids: readonly TokenId[];
  readonly logProbabilities: readonly number[];
}

/** A text, of which the first tokens of each window are read in full, as a prompt is; those behind them are scored. */
class ScoredText {
  readonly #sequence: Sequence;
  readonly #tokens: readonly TokenId[];
  readonly #abort: { readonly signal?: AbortSignal };
  readonly #whole = new Map<number, Scored>();

  constructor(sequence: Sequence, tokens: readonly TokenId[], signal: AbortSignal | undefined) {
    this.#sequence = sequence;
    this.#tokens = tokens;
    this.#abort = signal === undefined ? {} : { signal };
  }

  /** Before costs are asked for. */
  async readWhole(): Promise<void> {
    for await (const [at, { candidates, scores }] of this.#read({}, (index) => [this.#tokens[index + 1]!])) {
      const { ids, logits, logSumExp } = candidates!;
      this.#whole.set(at, {
        ids: [...Array.from(ids, (id) => id as TokenId), this.#tokens[at + 1]!],
        logProbabilities: [...logits, scores![0]!].map((logit) => logit - logSumExp),
      });
    }
  }

  /** What a token costs more on the mean where its row, and those before it in its window, do without some blocks or halves. */
  async costWithout(blocks: BlockPlan): Promise<number> {
    let sum = 0;
    for await (const [at, { candidates, scores }] of this.#read(blocks, (index) => this.#whole.get(index)!.ids)) {
      const without = Array.from(scores!, (logit) => logit - candidates!.logSumExp);
      sum += distillationLoss(this.#whole.get(at)!.logProbabilities, without);
    }
    return sum / this.#whole.size;
  }

  /** The rows that are scored, each with its index in the text and the logits of these tokens. */
  async *#read(blocks: BlockPlan, scoresAt: (index: number) => readonly TokenId[]): AsyncGenerator<[at: number, row: RowResult]> {
    const window = Math.min(windowTokens, this.#sequence.contextLength);
    const last = this.#tokens.length - 1; // of which nobody knows what comes next
    for (let start = 0; start < last; start += window) {
      const end = Math.min(start + window, last);
      const answer = start + Math.min(promptTokens, (end - start) >> 1);
      this.#sequence.rewind(0);
      if (answer > start) await this.#sequence.forward({ input: this.#tokens.slice(start, answer), ...this.#abort });
      for (let from = answer; from < end; from += chunk) {
        const input = this.#tokens.slice(from, Math.min(from + chunk, end));
        const want = { logits: "all", top, scores: input.map((_, index) => scoresAt(from + index)) } as const;
        const { rows } = await this.#sequence.forward({ input, want, blocks, ...this.#abort });
        for (const row of rows) yield [from + row.row, row];
      }
    }
  }
}

const rounding = 1e-6; // what float32 leaves of a sum of probabilities

/**
 * What knowledge distillation minimizes (arXiv 1503.02531), with equal weights: half what the text's token, the last one of both, has become
 * less probable by, half KL(p ‖ q) of the others and, taken together, all that aren't listed. In nats.
 */
function distillationLoss(p: readonly number[], q: readonly number[]): number {
  let [divergence, restP, restQ] = [0, 1, 1];
  for (let index = 0; index < p.length - 1; index += 1) {
    divergence += Math.exp(p[index]!) * (p[index]! - q[index]!);
    restP -= Math.exp(p[index]!);
    restQ -= Math.exp(q[index]!);
  }
  if (restP > rounding) divergence += restP * Math.log(restP / Math.max(restQ, rounding));
  return (p.at(-1)! - q.at(-1)! + divergence) / 2;
}
