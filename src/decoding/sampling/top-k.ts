import { integer } from "../method.ts";
import { defineSampler } from "./sampler.ts";

export const topK = defineSampler({
  name: "top-k",
  summary: "keeps the k most probable tokens",
  source: { title: "Hierarchical Neural Story Generation", arxiv: "1805.04833" },
  parameters: { k: integer({ min: 1, max: 1_000_000, default: 40, doc: "how many tokens stay; ties at the limit: the lowest ids" }) },
  example: { k: 20 },
  needs: ["want.top", "want.fullLogits"],
  create: ({ k }) => ({
    kind: "shape",
    numCandidates: k,
    apply(distribution) {
      if (distribution.restCount === 0 && distribution.size <= k) return true;
      if (!distribution.reach(k)) return false;
      distribution.truncate(k);
      return true;
    },
  }),
});
