import { number } from "../method.ts";
import type { Distribution } from "./distribution.ts";
import { defineSampler, type Shape } from "./sampler.ts";

/**
 * p_i ∝ exp(logit_i / T). The mass of unknown tokens is then known within bounds only: for x_j = exp(logit_j) <= x_max,
 * Σx = M, n of them and q = 1/T, the sum Σ x_j^q lies between M·x_max^(q-1) (all mass on the largest values) and
 * n·(M/n)^q (all values equal), whichever is the smaller.
 */
function apply(distribution: Distribution, temperature: number): boolean {
  const power = 1 / temperature;
  const { restCount, restCap, restLow, restHigh } = distribution;
  for (let place = 0; place < distribution.size; place++) distribution.logits[place]! *= power;
  if (restCount > 0) {
    const concentrated = (logMass: number) => logMass + restCap * (power - 1);
    const even = (logMass: number) => Math.log(restCount) + power * (logMass - Math.log(restCount));
    distribution.restLow = Math.min(concentrated(restLow), even(restLow));
    distribution.restHigh = Math.max(concentrated(restHigh), even(restHigh));
    distribution.restCap = restCap * power;
  }
  return true;
}

/** Divides the logits by `value`, > 0. */
export function temperatureShape(value: number): Shape {
  return { kind: "shape", apply: (distribution) => value === 1 || apply(distribution, value) };
}

export const temperature = defineSampler({
  name: "temperature",
  summary: "divides the logits: below 1 sharper, above 1 flatter",
  source: { title: "A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski 1985)" },
  parameters: { value: number({ min: 0, isMinOpen: true, max: 100, default: 1, doc: "divisor of the logits" }) },
  example: { value: 0.8 },
  neutral: { value: 1 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ value }) => temperatureShape(value),
});
