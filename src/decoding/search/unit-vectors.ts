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

  /** The largest cosine between a vector [C] and those held; -1 where none is held. */
  largestCosine(vector: Float32Array): number {
    const size = vector.length;
    const scale = inverseNorm(vector);
    const values = this.#values; // read once: this loop is most of what a step of contrastive search costs beside its pass
    const end = this.#count * size;
    let largest = -1;
    for (let from = 0; from < end; from += size) {
      // four sums side by side, so that no addition waits for the one before it
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let i = 0;
      for (; i + 3 < size; i += 4) {
        a += values[from + i]! * vector[i]!;
        b += values[from + i + 1]! * vector[i + 1]!;
        c += values[from + i + 2]! * vector[i + 2]!;
        d += values[from + i + 3]! * vector[i + 3]!;
      }
      for (; i < size; i++) a += values[from + i]! * vector[i]!;
      largest = Math.max(largest, (a + b + c + d) * scale);
    }
    return largest;
  }
}

function inverseNorm(vector: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i]! ** 2;
  return sum === 0 ? 0 : 1 / Math.sqrt(sum);
}
