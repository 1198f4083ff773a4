import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { iterate } from "../autoregressive-method.ts";
import { normalSampler } from "../normal-sampler.ts";
import { type Companion, closedLoop, kernel, kernelByRecurrence } from "./companion.ts";
import { invertSeries, multiplySeries } from "./power-series.ts";

function randomSystem(size: number, seed: number): Companion {
  const normal = normalSampler(seed);
  const draw = () => {
    const values = Float64Array.from({ length: size }, normal);
    const norm = values.reduce((sum, value) => sum + Math.abs(value), 0);
    return values.map((value) => value / norm);
  };
  return { a: draw(), b: draw(), c: draw() };
}

/** The full matrix in its usual coordinates: ones below the diagonal, the free column last. */
function kernelByMatrix({ a, b, c }: Companion, length: number): number[] {
  const [A, B, C] = [a, b, c].map((vector) => [...vector].reverse()) as [number[], number[], number[]];
  let state = B;
  return Array.from({ length }, () => {
    const value = state.reduce((sum, x, i) => sum + C[i]! * x, 0);
    state = state.map((_, i) => (i === 0 ? 0 : state[i - 1]!) + A[i]! * state.at(-1)!);
    return value;
  });
}

describe("the kernel", () => {
  test.each([
    [4, 16],
    [25, 9],
    [64, 336],
    [64, 720],
    [1, 5],
  ])("d = %i, L = %i: the fast one is C Aⁿ B within 1e-14", (size, length) => {
    for (let seed = 1; seed <= 5; seed++) {
      const system = randomSystem(size, seed);
      const expected = kernelByMatrix(system, length);
      for (const [n, value] of kernel(system, length).entries()) expect(Math.abs(value - expected[n]!)).toBeLessThan(1e-14);
      for (const [n, value] of kernelByRecurrence(system, length).entries()) expect(Math.abs(value - expected[n]!)).toBeLessThan(1e-14);
    }
  });

  test("with poles on a root of unity it is as exact: where dividing by I - A^L would fail", () => {
    const a = new Float64Array(12);
    a[11] = 1; // A^12 = I
    const system = { ...randomSystem(12, 3), a };
    const expected = kernelByMatrix(system, 24);
    for (const [n, value] of kernel(system, 24).entries()) expect(Math.abs(value - expected[n]!)).toBeLessThan(1e-14);
  });

  test("an impulse alone is differenced and smoothed as its coefficients say", () => {
    // a = 0, b = first of the usual coordinates: the kernel is c read from the newest lag on
    const b = Float64Array.of(0, 0, 0, 1);
    expect([...kernelByRecurrence({ a: new Float64Array(4), b, c: Float64Array.of(0, 0, -1, 1) }, 5)]).toEqual([1, -1, 0, 0, 0]);
  });
});

test("a = 0, B = e₁, C = K = φ: the closed loop is the iterated autoregression, bit for bit", () => {
  const normal = normalSampler(9);
  for (const order of [1, 4, 7]) {
    const phi = Float64Array.from({ length: order }, () => normal() / order);
    const recent = Float64Array.from({ length: order }, normal); // oldest first
    const row = phi.slice().reverse(); // the newest value stands last in these coordinates
    const b = new Float64Array(order);
    b[order - 1] = 1;
    const forecasts = closedLoop(recent.slice(), { a: new Float64Array(order), b, c: row }, row, 30);
    // the same sums in the same order: oldest lag first
    const path = [...recent];
    for (let h = 0; h < 30; h++) path.push(row.reduce((sum, weight, i) => sum + weight * path[h + i]!, 0));
    expect([...forecasts]).toEqual(path.slice(order));
    for (const [h, value] of iterate(0, phi, recent, 30).entries()) expect(Math.abs(value - forecasts[h]!)).toBeLessThan(1e-12);
  }
});

test("power series: products and inverses are those of the definition", () => {
  const series = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(series, series, fc.integer({ min: 1, max: 40 }), (x, y, count) => {
      const product = multiplySeries(Float64Array.from(x), Float64Array.from(y), count);
      for (let n = 0; n < count; n++) {
        const expected = x.reduce((sum, value, i) => sum + value * (y[n - i] ?? 0), 0);
        expect(Math.abs(product[n]! - expected)).toBeLessThan(1e-13);
      }
      const f = Float64Array.from([1, ...x.map((value) => value / x.length)]);
      const one = multiplySeries(f, invertSeries(f, count), count);
      for (let n = 0; n < count; n++) expect(Math.abs(one[n]! - (n === 0 ? 1 : 0))).toBeLessThan(1e-12);
    }),
  );
});
