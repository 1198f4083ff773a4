import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { load } from "../../src/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

test("a curve is measured at the lengths next to the one that is asked for, kept, and taken from what is kept", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyChatModel(path, { blocks: 1, contextLength: 1100 });
  const options = { home: folder.path, threads: 1, context: 1100 };
  const kept = `${folder.path}/cost-curves`;
  const measured = () => readdirSync(kept).map((name) => Number(/-(\d+)\.json$/.exec(name)![1]));
  {
    await using model = await load(path, options);
    expect((await model.costCurve()).ratio(1)).toBe(1);
    expect(measured()).toEqual([128]);
    await model.costCurve({ entries: 300 });
    expect(measured().sort((a, b) => a - b)).toEqual([128, 512]); // half of the context holds no more of them
    for (const entries of [-1, 1.5, Number.NaN])
      await expect(model.costCurve({ entries })).rejects.toThrow(`entries: must be a whole number of tokens, got ${entries}`);
  }
  // t(rows) of 4, 10 ms after 128 tokens, 6, 22 ms after 512
  for (const name of readdirSync(kept)) {
    const curve = JSON.parse(readFileSync(`${kept}/${name}`, "utf8"));
    const [one, three] = curve.entries === 128 ? [4, 10] : [6, 22];
    const points = [
      { rows: 1, ratio: 1 },
      { rows: 3, ratio: three! / one! },
    ];
    writeFileSync(`${kept}/${name}`, JSON.stringify({ ...curve, singleRowMs: one, points }));
  }
  await using model = await load(path, options);
  for (const [entries, one, three] of [
    [0, 4, 10],
    [128, 4, 10],
    [320, 5, 16],
    [512, 6, 22],
    [5000, 6, 22],
  ] as const) {
    const curve = await model.costCurve({ entries });
    expect(curve.singleRowMs).toBeCloseTo(one, 9);
    expect(curve.ratio(2) * one).toBeCloseTo(three, 9);
  }
});
