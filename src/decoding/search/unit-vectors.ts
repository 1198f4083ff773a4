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
    let largest = -1;
    for (let row = 0, at = 0; row < this.#count; row++) {
      let dot = 0;
      for (let i = 0; i < size; i++, at++) dot += this.#values[at]! * vector[i]!;
      largest = Math.max(largest, dot * scale);
    }
    return largest;
  }
}

function inverseNorm(vector: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i]! ** 2;
  return sum === 0 ? 0 : 1 / Math.sqrt(sum);
}
