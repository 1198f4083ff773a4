import { OptionError } from "../errors.ts";
import type { Transformer } from "../models/index.ts";
import { logProbabilities, targetIndices } from "../nn/index.ts";
import { affine, input, mul, type Program, reshape, sub, sumLast, type Tensor, unary } from "../tensor/index.ts";
import type { PairBatch } from "./data/pairs.ts";
import type { Forward } from "./forward.ts";
import type { Objective } from "./objective.ts";

// Legend: B sequences, each a pair; L rows of each; N = B·L.

/** Log-probabilities of a pass's answers, summed over their tokens: [B, 1] each. Inputs: `targets` [N], `chosen` and `rejected` [N, 1]. */
export function answerLogProbabilities({ hidden }: Forward, model: Transformer, sequences: number): { chosen: Tensor; rejected: Tensor } {
  const [rows] = hidden.shape as [number];
  const each = logProbabilities(model.head(hidden), input("targets", "i32", [rows])); // [N, 1]
  const sum = (side: string) => sumLast(reshape(mul(each, input(side, "f32", [rows, 1])), [sequences, rows / sequences])); // [B, 1]
  return { chosen: sum("chosen"), rejected: sum("rejected") };
}

/** Fills the inputs of {@link answerLogProbabilities}. */
export function fillAnswers(program: Program, { targets, side }: PairBatch, { config }: Transformer): void {
  program.input<"i32">("targets").set(targetIndices(targets, config.vocabSize));
  const [chosen, rejected] = [program.input("chosen"), program.input("rejected")];
  for (const [row, which] of side.entries()) {
    chosen[row] = which === 1 ? 1 : 0;
    rejected[row] = which === -1 ? 1 : 0;
  }
}

export interface PreferenceOptions {
  /** Nats of reward count this much, > 0. */
  readonly beta: number;
  /** Pairs per pass. */
  readonly sequences: number;
  /** By how much, in nats, a frozen reference prefers the chosen answer of a pair; default by nothing: there is no reference. */
  readonly referenceMargin?: (pair: number) => number;
}

/**
 * The loss of preferences, -log σ(β (r(x, chosen) - r(x, rejected))), as a mean over pairs. An answer's reward r is its log-probability, summed
 * over its tokens: so a reward model of GenARM's is trained. With a reference it is the log-probability's distance from the reference's: DPO.
 *
 * @see Xu et al. 2024, GenARM, https://arxiv.org/abs/2410.08193; Rafailov et al. 2023, https://arxiv.org/abs/2305.18290
 * @throws OptionError
 */
export function preference({ beta, sequences, referenceMargin }: PreferenceOptions): Objective<PairBatch> {
  if (!(beta > 0 && beta < Number.POSITIVE_INFINITY)) throw new OptionError("beta", `must be > 0, got ${beta}`);
  const measured = (pass: Forward, model: Transformer) => {
    const { chosen, rejected } = answerLogProbabilities(pass, model, sequences);
    const margin = sub(sub(chosen, rejected), input("reference", "f32", [sequences, 1]));
    const weights = input("weights", "f32", [sequences, 1]);
    const mean = (x: Tensor) => sumLast(reshape(mul(x, weights), [1, sequences])); // [1, 1]
    return { loss: mean(unary("softplus", affine(margin, -beta))), accuracy: mean(unary("step", margin)) };
  };
  return {
    name: `${referenceMargin === undefined ? "reward" : "dpo"}, beta ${beta}`,
    loss: (pass, model) => measured(pass, model).loss,
    measured,
    fill(program, batch, targets, model) {
      fillAnswers(program, batch, model);
      const [reference, weights] = [program.input("reference"), program.input("weights")];
      for (const [sequence, pair] of batch.pairs.entries()) {
        reference[sequence] = pair < 0 ? 0 : (referenceMargin?.(pair) ?? 0);
        weights[sequence] = pair < 0 ? 0 : 1 / targets;
      }
    },
  };
}
