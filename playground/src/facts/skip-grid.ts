import type { Facts } from "../api/wire.ts";

export interface SkipGrid {
  readonly tokens: number;
  readonly blocks: number;
  /** Skipped halves as runs along the tokens: [first token, block, length]. */
  readonly attention: readonly SkipRun[];
  readonly feedForward: readonly SkipRun[];
  /** Share of half-blocks that did not run, 0 to 1. */
  readonly share: number;
}
export type SkipRun = readonly [token: number, block: number, length: number];

/** Skipped half-blocks as a grid of tokens × blocks. @param numBlocks  of the model; the facts name only blocks that were skipped */
export function skipGrid(skips: NonNullable<Facts["skips"]>, numTokens: number, numBlocks: number): SkipGrid {
  const tokens = skips.blocks.reduce((most, [row]) => Math.max(most, row + 1), numTokens);
  const blocks = skips.blocks.reduce((most, [, block]) => Math.max(most, block + 1), numBlocks);
  const runs = (half: "attn" | "ffn") => joined(skips.blocks.filter((entry) => entry[2] === half));
  return {
    ...{ tokens, blocks },
    attention: runs("attn"),
    feedForward: runs("ffn"),
    share: skips.total === 0 ? 0 : 1 - skips.run / skips.total,
  };
}

function joined(cells: readonly (readonly [row: number, block: number, half: string])[]): SkipRun[] {
  const runs: [number, number, number][] = [];
  for (const [row, block] of cells.toSorted((a, b) => a[1] - b[1] || a[0] - b[0])) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === block && last[0] + last[2] === row) last[2] += 1;
    else if (last === undefined || last[1] !== block || row >= last[0] + last[2]) runs.push([row, block, 1]); // a row reported twice is one cell
  }
  return runs;
}
