import type { StackUse } from "../adapters/index.ts";
import type { BackendName } from "../ggml/index.ts";

/**
 * What of a pass is structure, and so part of a program's signature; all else is data. Sizes are rounded up to a few steps, so
 * that a handful of programs serves every request.
 */
export interface Structure {
  readonly backend: BackendName;
  /** Adjacent streams: 1, 2, 4, 6, 8, 12 … */
  readonly streams: number;
  /** Rows per stream. */
  readonly rows: number;
  /** Cells of each stream that rows may see. */
  readonly cells: number;
  /** Rows whose state goes through the final norm; 0 for a pass that only fills the cache. */
  readonly outputs: number;
  /** What is made of these rows: candidates (and logits), or only their states. */
  readonly head: boolean;
  readonly input: "tokens" | "embeddings";
  /** Half-blocks that do not run, in order. */
  readonly skipped: readonly string[];
  /** Half-blocks before which a rule is asked, in the order of the pass: it is cut there. */
  readonly decides: readonly string[];
  readonly taps: readonly string[];
  readonly exits: readonly number[];
  /** Stacks of adapters of which some row has one; none: adapters are off. Which row has which, and how strongly, is data. */
  readonly adapters: readonly StackUse[];
  /** `moves`: rows take other rows' states. */
  readonly injections: readonly { readonly tap: string; readonly map: string; readonly moves: boolean }[];
}

/** A prompt's passes begin and end at multiples of so many entries: the tile of the prompt kernels, see `probeDivision`. */
export const gridRows = 64;

/** Rows whose logits a pass computes at once; more go through the head in slices. */
export const headSlice = 64;

export const isPattern = (tap: string): boolean => tap.endsWith(".attn.pattern");

const smallRows = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 63];

/** Rows of a pass, rounded up to a step at which it runs: multiples of 64 from 64 on, and padding never lifts a pass to 64. */
export function rowStep(rows: number): number {
  return smallRows.find((step) => step >= rows) ?? Math.ceil(rows / 64) * 64;
}

/** Between the powers of two as well: free streams cost what used ones do, and 16 rows a third more than 12. Three cost nearly what four do. */
const streamSteps = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/** Streams of a pass, rounded up to a step; at most 64. */
export function streamStep(streams: number): number {
  return streamSteps.find((step) => step >= streams)!;
}

/** Streams of the widest pass over a cache: the largest step that it holds. */
export function widestPass(available: number): number {
  return streamSteps.findLast((step) => step <= available)!;
}

/** Cells a pass looks at, rounded up to 256 · 2^k and at most the stream's capacity. */
export function cellStep(cells: number, capacity: number): number {
  return Math.min(256 * 2 ** Math.ceil(Math.log2(Math.max(cells, 256) / 256)), capacity);
}

/** Output rows: none, one per stream, or a step. */
export function outputStep(outputs: number, streams: number, rows: number): number {
  if (outputs === 0) return 0;
  if (outputs <= streams) return streams;
  return Math.min(rowStep(outputs), streams * rows);
}

export function structureKey(s: Structure): string {
  const injections = s.injections.map(({ tap, map, moves }) => `${tap}${moves ? "<" : ""}=${map}`);
  return [
    s.backend,
    s.streams,
    s.rows,
    s.cells,
    s.outputs,
    s.head ? "head" : "state",
    s.input,
    s.skipped,
    s.decides,
    s.taps,
    s.exits,
    injections,
    s.adapters.map(({ key, slots }) => `${key}x${slots}`),
  ].join("|");
}
