import fc from "fast-check";
import { expect, test } from "vitest";
import { type PathSymbol, PrefixTree } from "./prefix-tree.ts";

const path = fc.array(fc.oneof(fc.integer({ min: 0, max: 2 }), fc.constant("0@5")), { minLength: 1, maxLength: 12 });
const step = fc.record({ kind: fc.constantFrom("insert", "insert", "remove", "match"), holder: fc.nat(5), path });

const common = (a: readonly PathSymbol[], b: readonly PathSymbol[]) => {
  const differs = a.findIndex((symbol, index) => symbol !== b[index]);
  return differs === -1 ? a.length : differs;
};

test("the longest held prefix is the one that comparing with every path finds", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const tree = new PrefixTree<number>();
      const held = new Map<number, readonly PathSymbol[]>();
      for (const { kind, holder, path } of steps) {
        if (kind === "match") {
          const usable = [...held].filter(([other]) => other !== holder);
          const longest = Math.max(0, ...usable.map(([, other]) => common(path, other)));
          const found = tree.match(path, (other) => other !== holder);
          expect(found?.length ?? 0).toBe(longest);
          if (found !== undefined) expect(common(path, held.get(found.holder)!)).toBe(longest);
          expect(tree.isHeldByOthers(path, holder)).toBe(longest === path.length);
          continue;
        }
        const old = held.get(holder);
        if (old !== undefined) tree.remove(old, holder);
        held.delete(holder);
        if (kind === "insert") {
          tree.insert(path, holder);
          held.set(holder, path);
        }
      }
      for (const [holder, own] of held) tree.remove(own, holder);
      expect(tree.isEmpty).toBe(true);
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 20_000 : 300 },
  );
});
