import type { Program } from "../tensor/index.ts";
import type { Structure } from "./structure.ts";

/** A program that ran: which half-blocks its graph computes, and for how many rows of requests. */
export interface Ran {
  readonly computed: Program["computed"];
  readonly structure: Structure;
  readonly rows: number;
}

/**
 * Rows for which half-blocks ran, counted where programs run and from what their graphs compute, so that plans and rules can be held against it.
 * Padding rows don't count. In a pass with outputs the last feed-forward half may run for these only; where nobody asked for any, the last
 * block only writes its keys and values and does not count.
 */
export class HalfCount {
  attn = 0;
  ffn = 0;

  /** @param outputs  rows of the pass that go through the head */
  add({ computed, structure, rows }: Ran, outputs: number): void {
    for (const [half, [computedRows]] of computed)
      this[half.endsWith(".ffn") ? "ffn" : "attn"] += computedRows === structure.streams * structure.rows ? rows : outputs;
  }
}
