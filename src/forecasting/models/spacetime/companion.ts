import { invertSeries, multiplySeries } from "./power-series.ts";

/**
 * A discrete state space with a companion matrix, x' = A x + B u, y = C x, in coordinates that count from the end of the state, in which
 * its first row is the observed one: x'_r = x_(r+1) + a_r x_0 + b_r u. Its characteristic polynomial is 1 - Σ a_r z^(r+1), so with
 * b = e_(d-1) it is the autoregression with the coefficients a.
 *
 * Letters: d size of the state, L length of a kernel.
 *
 * @see Zhang et al. 2023, Effectively Modeling Time Series with Simple Discrete State Spaces, https://arxiv.org/abs/2303.09489
 */
export interface Companion {
  /** [d] the matrix's free column */
  readonly a: Float64Array;
  /** [d] */
  readonly b: Float64Array;
  /** [d] */
  readonly c: Float64Array;
}

/** The state after an input, in place. */
export function step(state: Float64Array, { a, b }: Pick<Companion, "a" | "b">, input: number): void {
  const observed = state[0]!;
  const last = state.length - 1;
  for (let r = 0; r < last; r++) state[r] = state[r + 1]! + a[r]! * observed + b[r]! * input;
  state[last] = a[last]! * observed + b[last]! * input;
}

export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

/** K_n = C Aⁿ B, n < L, by the recurrence: O(d L). */
export function kernelByRecurrence({ a, b, c }: Companion, length: number): Float64Array {
  const state = b.slice();
  const nothing = { a, b: new Float64Array(b.length) };
  return Float64Array.from({ length }, () => {
    const value = dot(c, state);
    step(state, nothing, 0);
    return value;
  });
}

/**
 * The same kernel in O((d + L) log (d + L)). As power series, with q(u, v)_m = Σ_j u_j v_(j+m),
 *
 *     Σ_n K_n zⁿ = q(c, b) + z q(c, a) h(z),   h(z) = b(z) / (1 - z a(z)),
 *
 * where h is the response of the observed coordinate. There is no division by 1 - A^L, so poles on the unit circle do no harm.
 */
export function kernel({ a, b, c }: Companion, length: number): Float64Array {
  const denominator = new Float64Array(length);
  denominator[0] = 1;
  for (let r = 0; r < Math.min(a.length, length - 1); r++) denominator[r + 1] = -a[r]!;
  const response = multiplySeries(b.subarray(0, length), invertSeries(denominator, length), length);
  const tail = multiplySeries(correlate(c, a), response, length);
  const direct = correlate(c, b);
  return Float64Array.from({ length }, (_, n) => (direct[n] ?? 0) + (n === 0 ? 0 : tail[n - 1]!));
}

/** q_m = Σ_j u_j v_(j+m), m < d. */
function correlate(u: Float64Array, v: Float64Array): Float64Array {
  const size = u.length;
  return multiplySeries(u.slice().reverse(), v, 2 * size - 1).slice(size - 1);
}

/**
 * Outputs of a system that feeds itself: y_h = C (A + B K)^h x, h < horizon.
 *
 * @param state  [d], changed in place
 * @param k      [d] the row that predicts the next input
 */
export function closedLoop(state: Float64Array, system: Companion, k: Float64Array, horizon: number): Float64Array {
  return Float64Array.from({ length: horizon }, () => {
    const output = dot(system.c, state);
    step(state, system, dot(k, state));
    return output;
  });
}
