/**
 * Independent uniform numbers in (0, 1) from a seed: a 32-bit Weyl sequence with a multiplicative mix (splitmix32's scheme). For
 * simulation and shuffling, not for cryptography.
 */
export function uniformSampler(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = state ^ (state >>> 16);
    bits = Math.imul(bits, 0x21f0aaad);
    bits ^= bits >>> 15;
    bits = Math.imul(bits, 0x735a2d97);
    bits ^= bits >>> 15;
    return ((bits >>> 0) + 0.5) / 2 ** 32;
  };
}

/**
 * Independent standard normal numbers from a seed, by Marsaglia's polar method.
 *
 * @see Marsaglia & Bray 1964, A convenient method for generating normal variables, https://doi.org/10.1137/1006063
 */
export function normalSampler(seed: number): () => number {
  const uniform = uniformSampler(seed);
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const kept = spare;
      spare = undefined;
      return kept;
    }
    for (;;) {
      const u = 2 * uniform() - 1;
      const v = 2 * uniform() - 1;
      const square = u * u + v * v;
      if (square >= 1 || square === 0) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      spare = v * factor;
      return u * factor;
    }
  };
}
