import { standard } from "../method.ts";
import { defineSampler, statelessChoice } from "./sampler.ts";

/** The most probable tokens, the lowest id where several are equally so. */
const choice = statelessChoice((distribution, _point, count) => distribution.best(count));

export const greedy = defineSampler({
  name: "greedy",
  summary: "the most probable token; ties go to the lowest id",
  source: standard,
  parameters: {},
  isNeutral: true,
  needs: ["want.top"],
  create: () => ({ kind: "choice", isGreedy: true, isRandom: false, start: () => choice }),
});
