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
    order: async (part) => (part === "ffn" ? [10, 4, 7, 2, 9, 1, 3, 5, 6, 8] : [6, 3, 9, 1, 10, 2, 4, 5, 7, 8]),
  },
  ...over,
});
const start = async (spec: string, over: Partial<SkipContext> = {}) => {
  const { method, values } = parseMethod(registry.skip, spec, "skip");
  return method.create(values).start(context(over));
};

describe("ffn", () => {
  /** The card's loop over the layers, but for the cosine, which is that of the half before whether or not that one is cold. */
  function reference(cosines: readonly number[], marked: readonly number[], threshold: number): number[] {
    const skipped: number[] = [];
    let isSkipping = threshold === 0;
    for (const [block, cosine] of cosines.entries()) {
      if (isSkipping && marked.includes(block)) skipped.push(block);
      else if (marked.includes(block + 1) && cosine >= threshold) isSkipping = true;
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

  test("skips what the card's loop skips: of the halves that the model does best without", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 12, maxLength: 12 }),
        fc.integer({ min: 1, max: 6 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        async (cosines, most, threshold) => {
          const rule = (await start(`ffn,budget=${most / 12},threshold=${threshold}`)).blocksAt(10) as SkipRule;
          expect(decided(rule, cosines, 10)).toEqual(reference(cosines, [10, 4, 7, 2, 9, 1].slice(0, most), threshold));
        },
      ),
    );
  });

  test("without a threshold a plan, after the warm-up, in which a rule decides; budget 0 leaves out nothing", async () => {
    const plan = { "blocks.4.ffn": false, "blocks.7.ffn": false, "blocks.10.ffn": false };
    expect((await start("ffn,budget=0.25,threshold=0")).blocksAt(10)).toEqual(plan);
    const { blocksAt, choices } = await start("ffn,budget=0.25,threshold=0,warmup=3");
    expect(choices!.map(({ chosen }) => chosen)).toEqual(["may skip in blocks 4, 7, 10"]);
    const never = Array.from({ length: 12 }, () => -1);
    const rule = blocksAt(12) as SkipRule; // a draft's rows may go on beyond the warm-up
    expect([10, 11, 12].flatMap((position) => decided(rule, never, position))).toEqual([]);
    expect(decided(rule, never, 13)).toEqual([4, 7, 10]);
    expect(blocksAt(13)).toEqual(plan);
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
        fc.shuffledSubarray(
          Array.from({ length: 40 }, (_, block) => block),
          { minLength: 40 },
        ),
        async (blocks, shares, length, shuffled) => {
          const [to, from] = [Math.min(...shares), Math.max(...shares)];
          const plan = await start(`layers,from=${from},to=${to},first=1`, {
            ...{ blocks, maxLength: 10 + length },
            order: async () => shuffled.filter((block) => block > 0 && block < blocks - 1),
          });
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

  test("what is left out goes by the order, but for the lowest blocks; whole blocks, and the facts name them", async () => {
    const { blocksAt, choices } = await start("layers,to=0.75,first=2");
    expect(blocksAt(109)).toEqual(
      Object.fromEntries([6, 3, 9].flatMap((block) => ["attn", "ffn"].map((half) => [`blocks.${block}.${half}`, false]))),
    );
    expect(choices!.map(({ chosen }) => chosen)).toEqual(["leaves out blocks 6, 3, 9, in this order"]);
    expect((await start("layers,from=0.5,to=0.5,first=4")).choices![0]!.chosen).toBe("leaves out blocks 6, 9, 10, 4, 5, 7, in this order");
  });

  test("where the blocks that always run are more than the share, the facts say so", async () => {
    for (const [spec, chosen] of [
      ["layers,to=0.5,first=2", undefined],
      ["layers,to=0.5,first=5", undefined],
      ["layers,to=0.5,first=6", "no fewer than 7 of 12 blocks"],
      ["layers,to=0.5,first=40", "no fewer than 12 of 12 blocks"],
    ] as const) {
      const { choices = [], blocksAt } = await start(spec);
      expect(choices.map((choice) => choice.chosen).filter((text) => text.startsWith("no fewer"))).toEqual(
        chosen === undefined ? [] : [chosen],
      );
      const skipped = Object.keys(blocksAt(109) ?? {}).length / 2; // the last position that the answer may have
      expect(12 - skipped).toBe(chosen === undefined ? 6 : Number(/\d+/.exec(chosen)![0]));
    }
  });

  test("a share of 1 at both ends is the whole model; an end above the beginning is refused", async () => {
    expect((await start("layers,from=1,to=1")).blocksAt(50)).toBeUndefined();
    await expect(start("layers,from=0.5,to=0.75")).rejects.toThrow("must not exceed from");
  });
});
