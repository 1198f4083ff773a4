import { OptionError } from "../errors.ts";

export interface Schedule {
  /** After the warm-up; default "cosine". */
  readonly kind?: "constant" | "linear" | "cosine";
  /** Learning rate at the end of the warm-up, > 0. */
  readonly peak: number;
  /** Learning rate at the end, as a fraction of the peak, in [0, 1]; default 0. */
  readonly floor?: number;
  /** Steps in which the rate rises linearly from 0; default 0. */
  readonly warmupSteps?: number;
  /** Steps of the run, warm-up included. */
  readonly steps: number;
}

/**
 * The learning rate of a step, counted from 0. In the warm-up it is `peak · (step + 1) / warmupSteps`, so that no step is wasted at 0; after it
 * progress p goes from 0 to 1 and the rate is floor + (peak - floor) · (1 - p) or · (1 + cos πp) / 2.
 *
 * @throws OptionError
 * @see Loshchilov & Hutter 2016, SGDR, https://arxiv.org/abs/1608.03983
 */
export function learningRate(schedule: Schedule, step: number): number {
  const { kind = "cosine", peak, floor = 0, warmupSteps = 0, steps } = schedule;
  if (!(peak > 0 && Number.isFinite(peak))) throw new OptionError("peak", `must be a number > 0, got ${peak}`);
  if (!(floor >= 0 && floor <= 1)) throw new OptionError("floor", `must be in [0, 1], got ${floor}`);
  if (!Number.isInteger(steps) || steps < 1) throw new OptionError("steps", `must be a whole number >= 1, got ${steps}`);
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0 || warmupSteps > steps)
    throw new OptionError("warmupSteps", `must be a whole number in [0, ${steps}], got ${warmupSteps}`);
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  const least = floor * peak;
  switch (kind) {
    case "constant":
      return peak;
    case "linear":
      return least + (peak - least) * (1 - progress);
    case "cosine":
      return least + ((peak - least) * (1 + Math.cos(Math.PI * progress))) / 2;
    default:
      throw new OptionError("kind", `must be constant, linear or cosine, got ${kind satisfies never}`);
  }
}
