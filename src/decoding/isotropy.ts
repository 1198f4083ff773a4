import { NativeError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import type { DecodingModel } from "./model.ts";

export interface IsotropyOptions {
  readonly signal?: AbortSignal;
  /** Told after each window. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** How differently a model's states point; 1 where they are at right angles on the mean, 0 where all point the same way. */
export interface IsotropyReport {
  /** 1 - mean cosine of the states of two tokens of one window, over all pairs of all windows. */
  readonly isotropy: number;
  /** The same without each window's first token, whose state is unlike all others in many models. */
  readonly withoutFirst: number;
  readonly windows: number;
  /** Tokens of a window; the last one may have fewer. */
  readonly window: number;
  readonly tokens: number;
}

const windowTokens = 128;

/**
 * Measures how isotropic the states after the final norm are: what contrastive search needs to tell tokens apart by. Each window is read
 * on its own.
 *
 * @param tokens  a text's; at least 2
 * @throws OptionError for fewer; the signal's reason when aborted
 * @see Su & Xu 2022, "Contrastive Search Is What You Need For Neural Text Generation", arXiv 2210.14140
 */
export async function isotropy(model: DecodingModel, tokens: readonly TokenId[], options: IsotropyOptions = {}): Promise<IsotropyReport> {
  const { signal, onProgress } = options;
  if (tokens.length < 2) throw new OptionError("text", `must have at least 2 tokens for a pair, has ${tokens.length}`);
  const window = Math.min(windowTokens, model.contextLength);
  const abort = signal === undefined ? {} : { signal };
  const starts = Array.from({ length: Math.ceil(tokens.length / window) }, (_, index) => index * window);
  const all = new PairSum();
  const later = new PairSum();
  const sequence = await model.sequence({ maxLength: window, ...abort });
  try {
    for (const [index, from] of starts.entries()) {
      sequence.rewind(0);
      const { rows } = await sequence.forward({ input: tokens.slice(from, from + window), want: { hidden: "all" }, ...abort });
      const states = rows.map(({ hidden }) => hidden!);
      all.add(states);
      later.add(states.slice(1));
      onProgress?.(index + 1, starts.length);
    }
  } finally {
    sequence[Symbol.dispose]();
  }
  return { isotropy: 1 - all.meanCosine, withoutFirst: 1 - later.meanCosine, windows: starts.length, window, tokens: tokens.length };
}

/** Σ cos(a, b) over the ordered pairs of different states of each list: |Σ unit|² - Σ |unit|². */
class PairSum {
  #cosines = 0;
  #pairs = 0;

  add(states: readonly Float32Array[]): void {
    const sum = new Float64Array(states[0]?.length ?? 0);
    let squares = 0;
    for (const state of states) {
      const norm = Math.sqrt(state.reduce((total, value) => total + value * value, 0));
      if (!Number.isFinite(norm)) throw new NativeError("the model returned states that are not finite");
      if (norm === 0) continue; // a zero state is at right angles to all
      squares += 1;
      for (let channel = 0; channel < sum.length; channel++) sum[channel]! += state[channel]! / norm;
    }
    this.#cosines += sum.reduce((total, value) => total + value * value, 0) - squares;
    this.#pairs += states.length * (states.length - 1);
  }

  /** 0 without any pair. */
  get meanCosine(): number {
    return this.#pairs === 0 ? 0 : this.#cosines / this.#pairs;
  }
}
