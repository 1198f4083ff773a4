import { type Method, parseMethod } from "./method.ts";
import type { Sampler } from "./sampling/sampler.ts";

/** Why two methods can't be named by one call; undefined where they can. Both of one axis: of an axis that takes a list. */
export function refusalOf(a: Method<unknown>, b: Method<unknown>): string | undefined {
  return oneWay(a, b) ?? oneWay(b, a);
}

function oneWay(a: Method<unknown>, b: Method<unknown>): string | undefined {
  if (a.axis === "sample" && b.axis === "sample") return samplersRefuse(a, b);
  if (a.draws === true && b.axis === "sample" && !drawsAtRandom(samplerOf(b))) return nothingDrawn;
  return b.isNeutral === true ? undefined : a.refuses?.[b.axis];
}

/** Why a search that draws several answers refuses a sampler that draws nothing. */
export const nothingDrawn = "every answer that it draws would be the same";

const drawsAtRandom = (sampler: Sampler): boolean => sampler.kind !== "choice" || sampler.isRandom;

function samplersRefuse(a: Method<unknown>, b: Method<unknown>): string | undefined {
  const [one, other] = [samplerOf(a), samplerOf(b)];
  if (one.kind !== "choice") return undefined;
  if (other.kind === "choice") return `${a.name} chooses the token, so nothing may follow it`;
  return one.isGreedy ? `${a.name} leaves nothing to do for the samplers before it` : undefined;
}

function samplerOf(method: Method<unknown>): Sampler {
  return method.create(parseMethod([method], { name: method.name, ...method.example }, method.axis).values) as Sampler;
}
