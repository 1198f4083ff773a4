import type { Embeddings, Sequence, TokenAttribution } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import { layoutOfRows } from "../prompting/layout.ts";
import type { RandomNumbers } from "../sampling/random.ts";
import type { ExplainContext } from "./explainer.ts";

/** Masks per figure: what is drawn differs from mask to mask. */
const numMasks = 4;

type Figures = { readonly softSufficiency: number; readonly softComprehensiveness: number };

/**
 * Soft normalized sufficiency and comprehensiveness: each feature of a prompt token's embedding is kept with a probability of its importance
 * (sufficiency) or of one minus it (comprehensiveness), else zero. With S = 1 - Σ (√p - √q)² / √2 over the next-token distributions and S0 that of a prompt with every embedding zero: Soft-NS = max(0, S - S0) / (1 - S0) and Soft-NC = (1 - S) / (1 - S0), which may exceed 1.
 * Where an empty prompt predicts the same (S0 = 1), both are 0.
 *
 * @see Zhao & Aletras 2023, https://arxiv.org/abs/2305.10496; Zhao & Shan 2024, https://arxiv.org/abs/2402.00794
 */
export class SoftFaithfulness {
  readonly #context: ExplainContext;
  readonly #random: RandomNumbers;

  constructor(context: ExplainContext, random: RandomNumbers) {
    this.#context = context;
    this.#random = random;
  }

  async measure(
    index: number,
    importance: readonly number[],
    isReplaceable: readonly boolean[],
  ): Promise<TokenAttribution["faithfulness"]> {
    const { open, layout, answer } = this.#context;
    const whole = await inputEmbeddings(open, [...layout.tokens, ...answer].slice(0, layout.tokens.length + index), this.#abort());
    const plain = await this.#distribution(whole);
    const zero = similarity(
      plain,
      await this.#distribution(
        this.#masked(
          whole,
          isReplaceable.map((own) => (own ? 0 : 1)),
        ),
      ),
    );
    const figures = async (keep: readonly number[]): Promise<Figures> => {
      let [sufficiency, comprehensiveness] = [0, 0];
      for (let mask = 0; mask < numMasks; mask += 1) {
        const kept = isReplaceable.map((own, place) => (own ? keep[place]! : 1));
        const left = isReplaceable.map((own, place) => (own ? 1 - keep[place]! : 1));
        sufficiency += similarity(plain, await this.#distribution(this.#masked(whole, kept))) / numMasks;
        comprehensiveness += similarity(plain, await this.#distribution(this.#masked(whole, left))) / numMasks;
      }
      return normalized(sufficiency, comprehensiveness, zero);
    };
    const weights = isReplaceable.map((own) => (own ? -Math.log(1 - this.#random.next()) : 0));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const own = await figures(importance);
    return { ...own, random: await figures(weights.map((weight) => weight / total)) };
  }

  #masked({ values, hiddenSize }: Embeddings, keep: readonly number[]): Embeddings {
    return {
      hiddenSize,
      values: values.map((value, place) => {
        const chance = keep[Math.floor(place / hiddenSize)] ?? 1; // the answer's embeddings stay as they are
        return chance === 1 || (chance > 0 && this.#random.next() < chance) ? value : 0;
      }),
    };
  }

  /** [V] probabilities of the token that follows. */
  async #distribution(input: Embeddings): Promise<Float64Array> {
    const { layout } = this.#context;
    const rows = input.values.length / input.hiddenSize;
    const { positions, ...visible } = layoutOfRows(layout, 0, layout.tokens.length);
    const after = positions?.at(-1) ?? 0;
    const more = Array.from({ length: rows - layout.tokens.length }, (_, index) => after + 1 + index);
    const placed = positions === undefined ? {} : { positions: [...positions, ...more] };
    return within(this.#context.open, rows, async (sequence) => {
      const result = await sequence.forward({ input, ...placed, ...visible, want: { top: 1, fullLogits: true }, ...this.#abort() });
      const { logits, candidates } = result.rows[0]!;
      return Float64Array.from(logits!, (value) => Math.exp(value - candidates!.logSumExp));
    });
  }

  #abort(): { signal?: AbortSignal } {
    const { signal } = this.#context;
    return signal === undefined ? {} : { signal };
  }
}

/** What the first block reads of tokens, without what it adds for their positions. */
export async function inputEmbeddings(
  open: ExplainContext["open"],
  tokens: readonly TokenId[],
  abort: { readonly signal?: AbortSignal },
): Promise<Embeddings> {
  const tap = "blocks.0.resid_pre";
  const read = (input: readonly TokenId[] | Embeddings) =>
    within(open, tokens.length, async (sequence) => {
      const { taps } = await sequence.forward({ input, want: { taps: [tap] }, ...abort });
      return taps.get(tap)!.values;
    });
  const states = await read(tokens);
  const hiddenSize = states.length / tokens.length;
  const positions = await read({ values: new Float32Array(states.length), hiddenSize });
  return { values: states.map((value, place) => value - positions[place]!), hiddenSize };
}

async function within<T>(open: ExplainContext["open"], maxLength: number, work: (sequence: Sequence) => Promise<T>): Promise<T> {
  const sequence = await open(maxLength);
  try {
    return await work(sequence);
  } finally {
    sequence[Symbol.dispose]();
  }
}

/** 1 - Σ (√p - √q)² / √2, the paper's; below 0 for distributions that share next to nothing. */
export function similarity(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let sum = 0;
  for (let id = 0; id < p.length; id += 1) sum += (Math.sqrt(p[id]!) - Math.sqrt(q[id]!)) ** 2;
  return 1 - sum / Math.SQRT2;
}

/** Soft-NS and Soft-NC from the similarities S (kept), S (left out) and S0 (nothing kept). */
export function normalized(sufficiency: number, comprehensiveness: number, zero: number): Figures {
  const room = 1 - zero;
  if (room < 1e-6) return { softSufficiency: 0, softComprehensiveness: 0 };
  return { softSufficiency: Math.max(0, sufficiency - zero) / room, softComprehensiveness: (1 - comprehensiveness) / room };
}
