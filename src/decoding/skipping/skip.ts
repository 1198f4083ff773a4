import type { BlockPlan, ChoiceFact, SkipRule } from "../../engine/index.ts";
import { type Definition, defineMethod, type Method, type ParameterTable } from "../method.ts";

/**
 * A value of the skip axis: which half-blocks run. Approximate: the answer changes, and the facts say what was left out. The prompt is
 * always read with every block.
 */
export interface Skip {
  readonly name: string;
  start(context: SkipContext): SkipPlan | Promise<SkipPlan>;
}

/** What a skip may know of the run. */
export interface SkipContext {
  /** Number of transformer blocks. */
  readonly blocks: number;
  readonly promptLength: number;
  /** Tokens that prompt and answer may have together. */
  readonly maxLength: number;
  /** How far the model's distribution is from its own without each feed-forward half, by block, in nats; measured once per model. */
  prices(): Promise<readonly number[]>;
}

export interface SkipPlan {
  /** What the rows of a request run, the first of which is at `position`; undefined for everything. */
  blocksAt(position: number): BlockPlan | SkipRule | undefined;
  readonly choices?: readonly ChoiceFact[];
}

export function defineSkip<Table extends ParameterTable>(definition: Definition<Skip, Table>): Method<Skip> {
  return defineMethod("skip", definition);
}
