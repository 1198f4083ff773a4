import type { Distribution } from "./distribution.ts";
import { type DrawPoint, uniforms } from "./random.ts";
import { type ChoiceRule, statelessChoice } from "./sampler.ts";

/** Draws tokens without replacement: each with its probability among those that were not drawn before it. */
function draw(distribution: Distribution, point: DrawPoint, count: number): readonly number[] | undefined {
  const places: number[] = [];
  const logits: number[] = [];
  try {
    while (places.length < count) {
      const place = drawOne(distribution, { ...point, draw: places.length });
      if (place === "unknown") return undefined;
      if (place === "none") break;
      logits.push(distribution.logits[place]!);
      places.push(place);
      distribution.logits[place] = Number.NEGATIVE_INFINITY;
    }
  } finally {
    for (const [index, place] of places.entries()) distribution.logits[place] = logits[index]!;
  }
  return places;
}

/**
 * Draws a token with its probability: first whether it lies in the head or in the tail of the distribution, then which one of
 * it. Two numbers, so that the mass of tokens that are not known matters for the first question only: as long as the head
 * wins even against the upper bound of that mass, the full row would give the same token.
 */
function drawOne(distribution: Distribution, point: DrawPoint): number | "unknown" | "none" {
  const { logits, head, size, restCap, restHigh } = distribution;
  let max = restCap;
  for (let place = 0; place < size; place++) max = Math.max(max, logits[place]!);
  if (max === Number.NEGATIVE_INFINITY) return "none";
  const headMass = mass(logits, 0, head, max);
  const [group, within] = uniforms(point);
  if (distribution.restCount > 0) {
    if (group * (headMass + Math.exp(restHigh - max)) >= headMass) return "unknown";
    return pick(logits, 0, head, max, within * headMass);
  }
  const tailMass = mass(logits, head, size, max);
  return group * (headMass + tailMass) < headMass
    ? pick(logits, 0, head, max, within * headMass)
    : pick(logits, head, size, max, within * tailMass);
}

function mass(logits: Float64Array, from: number, to: number, max: number): number {
  let sum = 0;
  for (let place = from; place < to; place++) sum += Math.exp(logits[place]! - max);
  return sum;
}

/** The first place at which the running mass exceeds `target`; by rounding at the end, the last one with any mass. */
function pick(logits: Float64Array, from: number, to: number, max: number, target: number): number {
  let sum = 0;
  let last = from;
  for (let place = from; place < to; place++) {
    const weight = Math.exp(logits[place]! - max);
    if (weight === 0) continue;
    sum += weight;
    last = place;
    if (sum > target) break;
  }
  return last;
}

const choice = statelessChoice(draw);

/** What chooses when a list of samplers names no choice. */
export const randomDraw: ChoiceRule = { kind: "choice", isGreedy: false, isRandom: true, start: () => choice };
