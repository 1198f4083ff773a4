import { expect, test } from "vitest";
import { OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { isotropy } from "./isotropy.ts";
import { hash } from "./search/testing.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abcdefgh"]);
const modelOf = (hidden: (tokens: readonly TokenId[]) => number[]) =>
  toyModel(tokenizer, { logits: () => new Array(tokenizer.vocabSize).fill(0), hidden });
const tokens = Array.from({ length: 300 }, (_, index) => (hash([index], 1) * 8) as TokenId).map(Math.floor) as TokenId[];

test("is 1 minus the mean cosine over all pairs of each window, with and without the first token", async () => {
  const hidden = (path: readonly TokenId[]) => [0, 1, 2, 3].map((i) => hash(path, i) - 0.2);
  const report = await isotropy(modelOf(hidden), tokens);
  const mean = (skip: number) => {
    const cosines: number[] = [];
    for (let from = 0; from < tokens.length; from += 128) {
      const window = tokens.slice(from, from + 128);
      const states = window.map((_, index) => hidden(window.slice(0, index + 1))).slice(skip);
      for (const [i, a] of states.entries())
        for (const [j, b] of states.entries())
          if (i !== j) cosines.push(a.reduce((sum, x, c) => sum + x * b[c]!, 0) / (Math.hypot(...a) * Math.hypot(...b)));
    }
    return cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
  };
  expect(report).toMatchObject({ windows: 3, window: 128, tokens: 300 });
  expect(report.isotropy).toBeCloseTo(1 - mean(0), 6);
  expect(report.withoutFirst).toBeCloseTo(1 - mean(1), 6);
});

test("is 0 where all states point the same way, 1 where they are at right angles, whatever their length", async () => {
  const same = await isotropy(
    modelOf((path) => [path.length, 2 * path.length]),
    tokens,
  );
  expect(same.isotropy).toBeCloseTo(0, 6);
  const apart = await isotropy(
    modelOf((path) => Array.from({ length: 128 }, (_, i) => (i === path.length - 1 ? 7 * path.length : 0))),
    tokens,
  );
  expect(apart.isotropy).toBeCloseTo(1, 6);
  expect(
    (
      await isotropy(
        modelOf(() => [0, 0]),
        tokens,
      )
    ).isotropy,
  ).toBe(1);
});

test("needs a pair", async () => {
  await expect(
    isotropy(
      modelOf(() => [1]),
      tokens.slice(0, 1),
    ),
  ).rejects.toThrow(OptionError);
});
