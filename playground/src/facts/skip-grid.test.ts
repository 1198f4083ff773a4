import { expect, test } from "vitest";
import { recorded, runOf } from "../../test/recorded.ts";
import { skipGrid } from "./skip-grid.ts";

test("skipped halves in a row are one run, and halves are kept apart", () => {
  const blocks = [
    [0, 2, "ffn"],
    [2, 2, "ffn"],
    [1, 2, "ffn"],
    [4, 2, "ffn"],
    [0, 2, "attn"],
  ] as const;
  expect(skipGrid({ blocks, total: 40, run: 30 }, 4, 4)).toEqual({
    ...{ tokens: 5, blocks: 4, share: 0.25 },
    feedForward: [
      [0, 2, 3],
      [4, 2, 1],
    ],
    attention: [[0, 2, 1]],
  });
});

test("the recorded run: as many cells as half-blocks did not run", () => {
  const { facts } = runOf("layers");
  const { skips, tokens } = facts!;
  const grid = skipGrid(skips!, tokens.length, recorded.blocks);
  const cells = [...grid.attention, ...grid.feedForward].reduce((sum, [, , length]) => sum + length, 0);
  expect(cells).toBe(skips!.total - skips!.run);
  expect(cells).toBeGreaterThan(0);
  expect(grid.blocks).toBe(30);
});

test("nothing counted is nothing skipped", () => {
  expect(skipGrid({ blocks: [], total: 0, run: 0 }, 0, 0).share).toBe(0);
});
