import { expect, test } from "vitest";
import { measureExits } from "../../src/engine/index.ts";
import type { TokenId } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

test("exits agree with the whole model as often as when every beginning of the text is read anew without the other blocks", async () => {
  using folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { vocabSize: 24, blocks: 4, hiddenSize: 64 });
  await using opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 128, strict: true });
  const { engine } = opened;
  const tokens = Array.from({ length: 90 }, (_, index) => ((index * index * 7 + index) % 24) as TokenId);
  const favourite = async (end: number, blocks: number) => {
    using sequence = engine.sequence();
    const halves = [0, 1, 2, 3].filter((block) => block >= blocks).flatMap((block) => [`blocks.${block}.attn`, `blocks.${block}.ffn`]);
    const plan = Object.fromEntries(halves.map((half) => [half, false as const]));
    const { rows } = await sequence.forward({ input: tokens.slice(0, end), blocks: plan, want: { top: 1 } });
    return rows[0]!.candidates!.ids[0];
  };
  const same = [0, 0];
  for (let end = 1; end <= tokens.length; end++) {
    const whole = await favourite(end, 4);
    for (const [index, blocks] of [1, 3].entries()) same[index]! += Number((await favourite(end, blocks)) === whole);
  }
  expect(same[1]).toBeGreaterThan(0); // with none alike any answer would do
  const exits = await measureExits(engine, tokens, [1, 3]);
  expect(exits.map(({ blocks, agreement }) => [blocks, agreement * tokens.length])).toEqual([
    [1, expect.closeTo(same[0]!, 9)],
    [3, expect.closeTo(same[1]!, 9)],
  ]);
  for (const { price } of exits) expect(price).toBeGreaterThan(0);
  await expect(measureExits(engine, tokens.slice(0, 1), [1])).rejects.toThrow(/two tokens or more/);
});
