import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SkipRule } from "../../engine/index.ts";
import { parseMethod } from "../method.ts";
import { registry } from "../registry.ts";
import { blocksOf } from "./layers.ts";
import type { SkipContext } from "./skip.ts";

const context = (over: Partial<SkipContext> = {}): SkipContext => ({
  ...{
    blocks: 12,
    promptLength: 10,
    maxLength: 110,
    prices: async () => [9, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 5],
  },
  ...over,
});
const start = async (spec: string, over: Partial<SkipContext> = {}) => {
  const { method, values } = parseMethod(registry.skip, spec, "skip");
  return method.create(values).start(context(over));
};

describe("ffn", () => {
  /** The card's loop over the layers, written as it stands there. */
  function reference(cosines: readonly number[], warm: readonly number[], threshold: number, budget: number): number[] {
    const skipped: number[] = [];
    let isSkipping = false;
    let counter = budget;
    for (const [block, cosine] of cosines.entries()) {
      if (!warm.includes(block)) continue; // cold: runs, and is not asked
      if (isSkipping && counter > 0) {
        skipped.push(block);
        counter -= 1;
      } else if (cosine >= threshold) isSkipping = true;
    }
    return skipped;
  }

  /** What a rule skips of a row whose halves have these cosines. */
  function decided(rule: SkipRule, cosines: readonly number[], position: number): number[] {
    const seen: (number | undefined)[] = [];
    const state = rule.start(position);
    const skipped: number[] = [];
    for (const [block, cosine] of cosines.entries()) {
      const isAsked = rule.decides.includes(`blocks.${block}.ffn`);
      if (isAsked && rule.next(state, block, "ffn", { ffnCosine: seen }) === "skip") skipped.push(block);
      else seen[block] = cosine;
    }
    return skipped;
  }

  test("skips what the card's loop skips", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 12, maxLength: 12 }),
        fc.integer({ min: 1, max: 6 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (cosines, most, threshold) => {
          const plan = await start(`ffn,budget=${most / 12},threshold=${threshold}`);
          const rule = plan.blocksAt(10) as SkipRule;
          const warm = rule.decides.map((half) => Number(half.split(".")[1]));
          expect(decided(rule, cosines, 10)).toEqual(reference(cosines, warm, threshold, most));
        },
      ),
    );
  });

  test("the first, the last and the dearest blocks are cold; budget 0 cuts nothing; the warm-up runs in full", async () => {
    const rule = (await start("ffn,budget=0.25,threshold=0,warmup=3")).blocksAt(10) as SkipRule;
    expect(rule.decides).toEqual([7, 8, 9, 10].map((block) => `blocks.${block}.ffn`));
    const all = Array.from({ length: 12 }, () => 1);
    expect([10, 11, 12].flatMap((position) => decided(rule, all, position))).toEqual([]);
    expect(decided(rule, all, 13)).toEqual([8, 9, 10]);
    expect((await start("ffn,budget=0")).blocksAt(10)).toBeUndefined();
  });
});

describe("layers", () => {
  test("the number of blocks falls along the answer and never rises, and the plans are nested", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 40 }),
        fc.tuple(fc.double({ min: 0.01, max: 1, noNaN: true }), fc.double({ min: 0.01, max: 1, noNaN: true })),
        fc.integer({ min: 1, max: 300 }),
        async (blocks, shares, length) => {
          const [to, from] = [Math.min(...shares), Math.max(...shares)];
          const plan = await start(`layers,from=${from},to=${to},first=1`, { blocks, maxLength: 10 + length });
          let before = new Set<string>();
          for (let index = 0; index < length; index += 1) {
            const skipped = new Set(Object.keys(plan.blocksAt(10 + index) ?? {}));
            expect(blocks - skipped.size / 2).toBe(blocksOf({ blocks, from, to, first: 1 }, index, length));
            expect([...before].every((half) => skipped.has(half))).toBe(true);
            expect([...skipped].some((half) => half.startsWith("blocks.0.") || half.startsWith(`blocks.${blocks - 1}.`))).toBe(false);
            before = skipped;
          }
        },
      ),
    );
  });

  test("where the blocks that always run are more than the share, the facts say so", async () => {
    for (const [spec, chosen] of [
      ["layers,to=0.5,first=2", undefined],
      ["layers,to=0.5,first=5", undefined],
      ["layers,to=0.5,first=6", "no fewer than 7 of 12 blocks"],
      ["layers,to=0.5,first=40", "no fewer than 12 of 12 blocks"],
    ] as const) {
      const { choices = [], blocksAt } = await start(spec);
      expect(choices.map((choice) => choice.chosen)).toEqual(chosen === undefined ? [] : [chosen]);
      const skipped = Object.keys(blocksAt(109) ?? {}).length / 2; // the last position that the answer may have
      expect(12 - skipped).toBe(chosen === undefined ? 6 : Number(/\d+/.exec(chosen)![0]));
    }
  });

  test("a share of 1 at both ends is the whole model; an end above the beginning is refused", async () => {
    expect((await start("layers,from=1,to=1")).blocksAt(50)).toBeUndefined();
    await expect(start("layers,from=0.5,to=0.75")).rejects.toThrow("must not exceed from");
  });
});
