/** Vectors scaled to length 1, for cosines; a zero vector stays zero, with cosine 0 to all. */
export class UnitVectors {
  #values = new Float32Array(0);
  #count = 0;

  /** @param vector  [C], C the same for all */
  push(vector: Float32Array): void {
    const size = vector.length;
    const from = this.#count * size;
    if (from + size > this.#values.length) {
      const grown = new Float32Array(Math.max(2 * this.#values.length, 64 * size));
      grown.set(this.#values);
      this.#values = grown;
    }
    const scale = inverseNorm(vector);
    for (let i = 0; i < size; i++) this.#values[from + i] = vector[i]! * scale;
    this.#count++;
  }

  /**
   * For each of several vectors [C] the largest cosine between it and those held; -1 where none is held. What is held is read once for
   * four of them at a time: that, and its conversion to float64, is most of what a step of contrastive search costs beside its pass.
   */
  largestCosines(vectors: readonly Float32Array[]): number[] {
    const largest: number[] = [];
    for (let from = 0; from < vectors.length; from += 4) largest.push(...this.#ofFour(vectors.slice(from, from + 4)));
    return largest;
  }

  #ofFour(vectors: readonly Float32Array[]): number[] {
    const size = vectors[0]!.length;
    const units = vectors.map((vector) => {
      const scale = inverseNorm(vector);
      return Float64Array.from(vector, (value) => value * scale);
    });
    const [first, second = first!, third = first!, fourth = first!] = units as [Float64Array, ...Float64Array[]];
    const values = this.#values;
    const end = this.#count * size;
    const largest = [-1, -1, -1, -1];
    for (let from = 0; from < end; from += size) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let i = 0; i < size; i++) {
        const value = values[from + i]!;
        a += value * first[i]!;
        b += value * second[i]!;
        c += value * third[i]!;
        d += value * fourth[i]!;
      }
      if (a > largest[0]!) largest[0] = a;
      if (b > largest[1]!) largest[1] = b;
      if (c > largest[2]!) largest[2] = c;
      if (d > largest[3]!) largest[3] = d;
    }
    return largest.slice(0, vectors.length);
  }
}

function inverseNorm(vector: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i]! ** 2;
  return sum === 0 ? 0 : 1 / Math.sqrt(sum);
}
