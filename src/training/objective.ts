import type { Transformer } from "../models/index.ts";
import { crossEntropy, targetIndices } from "../nn/index.ts";
import { input, type Program, type Tensor } from "../tensor/index.ts";
import type { Batch, PassRows } from "./data/batches.ts";
import type { Forward } from "./forward.ts";

/** What a run minimizes, as a graph over the states of a pass and as the data that this graph reads. */
export interface Objective<B extends PassRows = Batch> {
  /** Tells one objective from another when a run is resumed. */
  readonly name: string;
  /**
   * The part that a pass has in the step's mean loss, [1, 1]. Its inputs are named here and filled by {@link fill}.
   */
  loss(pass: Forward, model: Transformer): Tensor;
  /** The loss together with the share of targets that are right, [1, 1], where the objective has one. Both come from one graph. */
  measured?(pass: Forward, model: Transformer): { readonly loss: Tensor; readonly accuracy: Tensor };
  /** @param targets  targets of all passes of the step, by which the loss is divided */
  fill(program: Program, batch: B, targets: number, model: Transformer): void;
}

/** Cross-entropy of the next token: maximum likelihood. */
export const nextToken: Objective = {
  name: "next token",
  loss({ hidden }, model) {
    const [rows] = hidden.shape;
    return crossEntropy(model.head(hidden), input("targets", "i32", [rows!]), input("weights", "f32", [rows!]));
  },
  fill(program, batch, targets, model) {
    program.input<"i32">("targets").set(targetIndices(batch.targets, model.config.vocabSize));
    const weights = program.input("weights");
    for (const [row, isTarget] of batch.isTarget.entries()) weights[row] = isTarget / targets;
  },
};
