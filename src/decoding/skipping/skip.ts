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

/** What is left out: feed-forward halves, or whole blocks. */
export type SkipPart = "ffn" | "block";

/** What a skip may know of the run. */
export interface SkipContext {
  /** Number of transformer blocks. */
  readonly blocks: number;
  readonly promptLength: number;
  /** Tokens that prompt and answer may have together. */
  readonly maxLength: number;
  /** Blocks in the order in which the model does best without them, or their feed-forward halves; measured once per model. */
  order(part: SkipPart): Promise<readonly number[]>;
}

export interface SkipPlan {
  /** What the rows of a request run, the first of which is at `position`; undefined for everything. */
  blocksAt(position: number): BlockPlan | SkipRule | undefined;
  readonly choices?: readonly ChoiceFact[];
}

/** `false` for these halves of these blocks. */
export function planWithout(blocks: readonly number[], part: SkipPart): BlockPlan {
  const halves = part === "ffn" ? ["ffn"] : ["attn", "ffn"];
  return Object.fromEntries(blocks.flatMap((block) => halves.map((half) => [`blocks.${block}.${half}`, false as const])));
}

export function defineSkip<Table extends ParameterTable>(definition: Definition<Skip, Table>): Method<Skip> {
  return defineMethod("skip", definition);
}
