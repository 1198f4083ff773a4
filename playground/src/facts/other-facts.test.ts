import { expect, test } from "vitest";
import { otherFacts } from "./other-facts.ts";

test("what no part of the report shows is listed, whatever it is called", () => {
  const facts = {
    ...{ passes: 3, tokens: [{ id: 1 }], guides: [{ name: "bias" }] },
    times: { queueMs: 1.23456789, firstTokenMs: 5 },
    drafts: {
      method: "ngram",
      drafted: 4,
      accepted: 2,
      byPosition: [2],
      byWidth: [{ drafted: 4, passes: 1, accepted: 2 }],
      expectedGain: 1.5,
    },
    ...{ models: [{ name: "small", passes: 7 }], prefixCache: { tokensSaved: 64 }, newcomer: "yes", nothing: undefined },
  };
  expect(otherFacts(facts)).toEqual([
    ["times.queueMs", "1.23457"],
    ["drafts.byWidth.0.drafted", "4"],
    ["drafts.byWidth.0.passes", "1"],
    ["drafts.byWidth.0.accepted", "2"],
    ["drafts.expectedGain", "1.5"],
    ["models.0.name", "small"],
    ["models.0.passes", "7"],
    ["prefixCache.tokensSaved", "64"],
    ["newcomer", "yes"],
  ]);
  expect(otherFacts({ list: Array.from({ length: 120 }, (_, index) => index) }).at(-1)).toEqual(["…", "20 more"]);
});
