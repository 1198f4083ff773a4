import { defineSampler, statelessChoice } from "./sampler.ts";

/** The most probable token, the lowest id where several are. */
const choice = statelessChoice((distribution) => (distribution.reach(1) ? 0 : undefined));

export const greedy = defineSampler({
  name: "greedy",
  summary: "the most probable token; ties go to the lowest id",
  parameters: {},
  needs: ["want.top"],
  create: () => ({ kind: "choice", isGreedy: true, start: () => choice }),
});
