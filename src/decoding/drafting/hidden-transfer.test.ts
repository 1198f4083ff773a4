import fc from "fast-check";
import { expect, test } from "vitest";
import type { Candidates } from "../../engine/index.ts";
import { productTree } from "./hidden-transfer.ts";

const place = (weights: readonly number[], offset: number): Candidates => {
  const order = weights.map((weight, i) => ({ weight, id: offset + i })).sort((a, b) => b.weight - a.weight);
  return {
    ids: Int32Array.from(order, ({ id }) => id),
    logits: Float32Array.from(order, ({ weight }) => weight),
    logSumExp: Math.log(weights.reduce((sum, weight) => sum + Math.exp(weight), 0)),
  };
};

test("the tree is the likeliest prefixes of the product, each after its parent", () => {
  const weights = fc.array(fc.double({ min: -4, max: 4, noNaN: true }), { minLength: 2, maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(weights, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 3 }),
      (lists, maxNodes, maxDepth) => {
        const places = lists.map((list, depth) => place(list, 100 * depth));
        // brute force: every prefix of every combination with its probability
        let all: { path: number[]; score: number }[] = [];
        let level = [{ path: [] as number[], score: 0 }];
        for (const { ids, logits, logSumExp } of places.slice(0, maxDepth)) {
          level = level.flatMap(({ path, score }) =>
            [...ids].map((id, i) => ({ path: [...path, id], score: score + logits[i]! - logSumExp })),
          );
          all = [...all, ...level];
        }
        all.sort((a, b) => b.score - a.score);
        const { tokens, parents } = productTree(places, { maxNodes, maxDepth });
        expect(tokens).toHaveLength(Math.min(maxNodes, all.length));
        const scoreOf = (node: number): number => {
          const path: number[] = [];
          for (let at = node; at >= 0; at = parents[at]!) path.unshift(tokens[at]!);
          return all.find((one) => one.path.join() === path.join())!.score;
        };
        for (const [node, parent] of parents.entries()) {
          expect(parent).toBeLessThan(node);
          expect(scoreOf(node)).toBeCloseTo(all[node]!.score, 6);
        }
      },
    ),
  );
});
