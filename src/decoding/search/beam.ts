import { OptionError } from "../../errors.ts";
import { integer, number } from "../method.ts";
import { BeamSearch } from "./beam-search.ts";
import { defineSearch } from "./search.ts";

export const beam = defineSearch({
  name: "beam",
  summary: "keeps the most probable answers side by side and gives the best complete one",
  source: { title: "Sequence to Sequence Learning with Neural Networks; groups: Diverse Beam Search (1610.02424)", arxiv: "1409.3215" },
  parameters: {
    width: integer({ min: 1, max: 64, default: 4, doc: "answers kept side by side, each a row of the pass; 1 is the plain answer" }),
    length: number({
      min: -4,
      max: 4,
      default: 1,
      doc: "log-probabilities are divided by the number of tokens to this power; 0 favours short answers",
    }),
    groups: integer({ min: 1, max: 64, default: 1, doc: "groups that choose one after the other; divides width" }),
    diversity: number({ min: 0, max: 100, default: 0.5, doc: "log-probability paid for each earlier group that takes the same token" }),
    best: integer({ min: 1, max: 64, default: 1, doc: "answers given; those after the first are the result's alternatives" }),
  },
  example: { width: 3 },
  neutral: { width: 1 },
  needs: ["input", "want.logits", "want.top", "fork", "rewind"],
  refuses: { draft: "its branches fill the pass that a draft would fill, and a draft is lost wherever a branch forks" },
  create(settings) {
    const { width, groups, best } = settings;
    if (width % groups !== 0) throw new OptionError("search", `beam: groups must divide width (${width}), got ${groups}`);
    if (best > width) throw new OptionError("search", `beam: best must be at most width (${width}), got ${best}`);
    return (run) => BeamSearch.search(run, settings);
  },
});
