import { philox4x32 } from "../decoding/index.ts";

/** What random numbers are for: draws for different purposes never share a stream. */
export type Purpose = "documents" | "windows" | "split" | "weights" | "dropout" | "mistakes" | "held-out mistakes";
const purposes: Record<Purpose, number> = {
  documents: 1,
  windows: 2,
  split: 3,
  weights: 4,
  dropout: 5,
  mistakes: 6,
  "held-out mistakes": 7,
};

/** Four words that are a pure function of what they are for: a run that goes on later draws what it would have drawn. */
export const words = (seed: number, purpose: Purpose, stream: number, index: number) =>
  philox4x32([index % 2 ** 32, Math.floor(index / 2 ** 32), stream, purposes[purpose]], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);

/** Uniform in [0, 1). */
export function uniform(seed: number, purpose: Purpose, stream: number, index: number): number {
  const [high, low] = words(seed, purpose, stream, index) as unknown as [number, number];
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

/** Standard normal. @see Box & Muller 1958 */
export function normal(seed: number, purpose: Purpose, stream: number, index: number): number {
  const [a, b] = words(seed, purpose, stream, index) as unknown as [number, number];
  return Math.sqrt(-2 * Math.log((a + 1) / 2 ** 32)) * Math.cos((2 * Math.PI * b) / 2 ** 32);
}

/** 0 … count - 1 in an order that depends on the seed and the stream. @see Fisher & Yates; Durstenfeld 1964 */
export function permutation(count: number, seed: number, purpose: Purpose, stream: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = Math.floor(uniform(seed, purpose, stream, i) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
