/**
 * Random numbers of a run: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a counter-based
 * generator. What a token draws is a pure function of (seed, stream, index of the token in the answer), so forks, rewinds and
 * whatever else runs beside it change no draw.
 */

const rounds = 10;
const multipliers = [0xd2511f53, 0xcd9e8d57] as const;
const weyl = [0x9e3779b9, 0xbb67ae85] as const;

/** Encrypts a counter of four 32-bit words under a key of two; words are unsigned. */
export function philox4x32(counter: readonly [number, number, number, number], key: readonly [number, number]): Uint32Array {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < rounds; round++) {
    const high0 = multiplyHigh(multipliers[0], c0);
    const low0 = Math.imul(multipliers[0], c0);
    const high1 = multiplyHigh(multipliers[1], c2);
    const low1 = Math.imul(multipliers[1], c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + weyl[0]) | 0;
    k1 = (k1 + weyl[1]) | 0;
  }
  return Uint32Array.of(c0, c1, c2, c3);
}

/** The upper 32 bits of the product of two 32-bit words. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(((middle % 0x10000) + aLow * bHigh) / 0x10000);
}

/** Where in a run a token is drawn. */
export interface DrawPoint {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Number of the branch, for searches that draw several answers; 0 for one path. */
  readonly stream: number;
  /** Index of the token in the answer. */
  readonly index: number;
  /** Number of the draw, for searches that take several tokens of one row; 0 for the first. */
  readonly draw?: number;
}

/** Two independent uniform numbers in [0, 1), 53 bits each. */
export function uniforms({ seed, stream, index, draw = 0 }: DrawPoint): readonly [number, number] {
  const words = philox4x32([index, stream, draw, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
  return [unit(words[0]!, words[1]!), unit(words[2]!, words[3]!)];
}

function unit(high: number, low: number): number {
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

/** Uniform numbers in [0, 1) one after the other, for what draws many: the k-th is a function of seed, stream and k. */
export class RandomNumbers {
  readonly #seed: number;
  readonly #stream: number;
  #count = 0;
  #spare: number | undefined;

  constructor(seed: number, stream = 0) {
    this.#seed = seed;
    this.#stream = stream;
  }

  next(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const [first, second] = uniforms({ seed: this.#seed, stream: this.#stream, index: this.#count });
    this.#count += 1;
    this.#spare = second;
    return first;
  }
}
