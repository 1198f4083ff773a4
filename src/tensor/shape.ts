import { ShapeError } from "../errors.ts";

/** Axis lengths, outermost first, as PyTorch writes them; at most four axes. ggml writes them innermost first: {@link toNe}. */
export type Shape = readonly number[];

/** The one place where the order of axes is turned: [T, H, D] -> [D, H, T, 1]. */
export function toNe(shape: Shape): [number, number, number, number] {
  const [ne0 = 1, ne1 = 1, ne2 = 1, ne3 = 1] = [...shape].reverse();
  return [ne0, ne1, ne2, ne3];
}

export function elementCount(shape: Shape): number {
  return shape.reduce((product, length) => product * length, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

const maxElements = 2 ** 44; // bytes and offsets stay exact numbers here and far from 2^63 in native code

/** @throws ShapeError unless every axis is a whole number >= 1, there are at most four, and at most 2^44 elements */
export function checkShape(operation: string, shape: Shape): Shape {
  const fits = shape.length <= 4 && shape.every((length) => Number.isSafeInteger(length) && length >= 1);
  if (!fits || elementCount(shape) > maxElements) {
    throw new ShapeError(operation, {
      tensor: "the result",
      expected: "up to four axes of length >= 1, 2^44 elements at most",
      actual: shape,
    });
  }
  return shape;
}

/** Whether `small` stretches to `large`: aligned at the last axis, each axis equal or 1. */
export function broadcasts(small: Shape, large: Shape): boolean {
  if (small.length > large.length) return false;
  const shift = large.length - small.length;
  return small.every((length, axis) => length === 1 || length === large[axis + shift]);
}
