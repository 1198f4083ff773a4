import fc from "fast-check";
import { input, narrow, permute } from "../operations.ts";
import { elementCount, type Shape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Draws one value from an arbitrary, as `fc.gen()` hands it to a property. */
export type Draw = fc.GeneratorValue;

/** Inputs of a random case: tensors of wanted shapes and the numbers behind them. */
export class RandomCase {
  /** Numbers by input name; exact in the input's type but for f16, which is rounded on both sides. */
  readonly inputs: Record<string, Float32Array> = {};
  readonly #draw: Draw;
  #random: () => number;

  constructor(draw: Draw) {
    this.#draw = draw;
    this.#random = uniform(draw(fc.integer));
  }

  integer(min: number, max: number): number {
    return this.#draw(fc.integer, { min, max });
  }

  pick<T>(...values: readonly T[]): T {
    return values[this.integer(0, values.length - 1)]!;
  }

  /** Axis lengths, `minRank` to `maxRank` of them; short ones, and ones that are common in models, at the end a longer one. */
  shape(minRank = 1, maxRank = 4, longest = 40): number[] {
    const rank = this.integer(minRank, maxRank);
    return Array.from({ length: rank }, (_, axis) => (axis === rank - 1 ? this.integer(1, longest) : this.integer(1, 4)));
  }

  /** A shape that stretches to `shape`: leading axes left out, others of length 1. */
  stretchable(shape: Shape): number[] {
    return shape.slice(this.integer(0, shape.length - 1)).map((length) => this.pick(length, length, 1));
  }

  /** Numbers, uniform in [low, high). */
  numbers(count: number, low = -2, high = 2): Float32Array {
    return Float32Array.from({ length: count }, () => low + (high - low) * this.#random());
  }

  integers(count: number, below: number): Float32Array {
    return Float32Array.from({ length: count }, () => Math.floor(this.#random() * below));
  }

  /** `count` different integers below `below`. */
  distinct(count: number, below: number): Float32Array {
    const all = Array.from({ length: below }, (_, i) => ({ i, key: this.#random() }));
    return Float32Array.from(all.sort((a, b) => a.key - b.key).slice(0, count), ({ i }) => i);
  }

  /** An input with these numbers. */
  given(dtype: "f32" | "f16" | "i32" | "i64", shape: Shape, data: Float32Array): Tensor {
    const name = `x${Object.keys(this.inputs).length}`;
    this.inputs[name] = data;
    return input(name, dtype, shape);
  }

  /** A tensor of random numbers, lying in memory row after row, or permuted, or as a part of a larger one. */
  tensor(shape: Shape, { dtype = "f32", low = -2, high = 2 }: { dtype?: "f32" | "f16"; low?: number; high?: number } = {}): Tensor {
    const make = (s: Shape) => this.given(dtype, s, this.numbers(elementCount(s), low, high));
    switch (this.pick("plain", "permuted", "narrowed", "both")) {
      case "plain":
        return make(shape);
      case "permuted":
        return this.#permuted(shape, make);
      case "narrowed":
        return this.#narrowed(shape, make);
      case "both":
        return this.#permuted(shape, (s) => this.#narrowed(s, make));
    }
  }

  #permuted(shape: Shape, make: (shape: Shape) => Tensor): Tensor {
    const axes = shape.map((_, axis) => axis).sort(() => this.#random() - 0.5);
    const source: number[] = [];
    axes.forEach((axis, i) => {
      source[axis] = shape[i]!;
    });
    return permute(make(source), axes);
  }

  #narrowed(shape: Shape, make: (shape: Shape) => Tensor): Tensor {
    const axis = this.integer(0, shape.length - 1);
    const start = this.integer(0, 2);
    const after = this.integer(0, 2);
    return narrow(make(shape.map((length, a) => (a === axis ? start + length + after : length))), axis, start, shape[axis]!);
  }
}

/** Numbers uniform in [0, 1) that follow from a seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
