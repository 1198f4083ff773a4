import type { Sequence } from "../../engine/index.ts";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import type { Companion } from "../companions.ts";
import type { Judge, Judged } from "./judge.ts";

export interface RewardReading {
  /** The reward model, or the base of the adapter that is one. */
  readonly companion: Companion;
  readonly adapter: string | undefined;
  /** What a nat of reward counts. */
  readonly beta: number;
  readonly prompt: readonly TokenId[];
}

/**
 * Judges by an autoregressive reward model: exp(β r), r being the log-probability that it gives the answer's tokens, summed as `guide: "reward"`
 * adds them. These scores stand to each other as the strengths of Bradley and Terry, by which such models are trained: of two answers a is
 * preferred with probability score(a) / (score(a) + score(b)). They fall with every token, so answers under way compare where they are of like length.
 *
 * @see Xu et al. 2024, GenARM, https://arxiv.org/abs/2410.08193
 */
export async function startRewardJudge({ companion, adapter, beta, prompt }: RewardReading): Promise<Judge & Disposable> {
  const adapters = adapter === undefined ? {} : { adapters: [{ name: adapter, scale: 1 }] };
  const root = await companion.sequence();
  /** Of the prompt's last row: every first token's logit. */
  let start: Promise<{ readonly logits: Float32Array; readonly logSumExp: number } | undefined> | undefined;
  const readPrompt = async () => {
    const result = await companion.forward(root, { ...adapters, input: prompt, want: { logits: "last", top: 1, fullLogits: true } });
    const row = result?.rows.at(-1);
    return row === undefined ? undefined : { logits: row.logits!, logSumExp: row.candidates!.logSumExp };
  };

  async function rewardOf(fork: Sequence, { tokens }: Judged): Promise<number | undefined> {
    const first = await start;
    if (first === undefined) return undefined;
    if (tokens.length === 0) return 0;
    let sum = (first.logits[tokens[0]!] ?? Number.NEGATIVE_INFINITY) - first.logSumExp;
    const input = tokens.slice(0, -1);
    if (input.length === 0) return sum;
    const want = { logits: input.map((_, row) => row), top: 1, scores: input.map((_, row) => [tokens[row + 1]!]) };
    const result = await companion.forward(fork, { ...adapters, input, want });
    if (result === undefined) return undefined;
    for (const { scores, candidates } of result.rows) sum += scores![0]! - candidates!.logSumExp;
    return sum;
  }

  return {
    rows: 0,
    async judge(_sequence, answer) {
      start ??= readPrompt();
      if ((await start) === undefined) return undefined;
      const fork = root.fork();
      try {
        const reward = await rewardOf(fork, answer);
        if (Number.isNaN(reward)) throw new NativeError("the reward model returned logits that are not finite");
        return reward === undefined ? undefined : Math.exp(beta * reward);
      } finally {
        fork[Symbol.dispose]();
      }
    },
    [Symbol.dispose]: () => root[Symbol.dispose](),
  };
}
