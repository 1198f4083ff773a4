import { afterAll, expect, test } from "vitest";
import { mergeAdapter, readAdapter, writeGgufLora } from "../../src/adapters/index.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import { openGguf, readRows, toFloat } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { Llama } from "../support/llama.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const tokens = Array.from({ length: 20 }, (_, i) => ((i * 37 + 5) % 300) as TokenId);

async function logitsOf(path: string, lora?: string, scale = 1): Promise<Float32Array> {
  await using opened = await openEngine(path, { cacheType: "f32", repack: false });
  if (lora !== undefined) {
    using file = openGguf(path);
    await opened.engine.addAdapter("lora", readAdapter(lora, baseOf(file)));
  }
  using sequence = opened.engine.sequence(lora === undefined ? {} : { adapters: [{ name: "lora", scale }] });
  const { rows } = await sequence.forward({ input: tokens, want: { logits: "all", fullLogits: true } });
  return Float32Array.from(rows.flatMap(({ logits }) => [...logits!]));
}

const largestDifference = (a: Float32Array, b: Float32Array) => a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);

test.each(["llama", "gpt2"] as const)(
  "%s: the merged f32 file says what base and adapter say together, also to libllama",
  async (architecture) => {
    using folder = temporaryFolder();
    const [path, lora, merged] = ["base", "lora", "merged"].map((name) => `${folder.path}/${name}.gguf`) as [string, string, string];
    await writeTinyModel(path, { architecture, hiddenSize: 128, blocks: 2 });
    const adapter = randomAdapter(path, { form: "lora", rank: 5, targets: ["all"] }, 3);
    {
      using file = openGguf(path);
      await writeGgufLora(lora, baseOf(file), adapter);
      await mergeAdapter(merged, baseOf(file), adapter, { scale: 0.75 });
    }
    {
      using base = openGguf(path);
      using file = openGguf(merged);
      const parts = new Map(adapter.parts.map((part) => [`${part.target}.weight`, part]));
      expect(parts.size).toBe(architecture === "gpt2" ? 8 : 14);
      for (const [name, { shape }] of base.tensors) {
        const [before, after] = [readRows(base, name, undefined, toFloat), readRows(file, name, undefined, toFloat)];
        const part = parts.get(name);
        if (part === undefined) {
          expect(after).toEqual(before);
          continue;
        }
        const { rank, inputs, outputs, down, up, scale } = part;
        expect(shape).toEqual([outputs, inputs]);
        let [worst, moved] = [0, 0];
        for (const [i, value] of after.entries()) {
          const [row, column] = [Math.floor(i / inputs), i % inputs];
          let delta = 0;
          for (let k = 0; k < rank; k += 1) delta += up[row * rank + k]! * down[k * inputs + column]!;
          worst = Math.max(worst, Math.abs(value - (before[i]! + 0.75 * scale * delta)));
          moved = Math.max(moved, Math.abs(value - before[i]!));
        }
        expect(worst, name).toBeLessThan(1e-6);
        expect(moved, name).toBeGreaterThan(0.01);
      }
    }
    const ours = await logitsOf(merged);
    expect(largestDifference(ours, await logitsOf(path, lora, 0.75))).toBeLessThan(2e-3); // logits of about 10 in float32
    expect(largestDifference(ours, await logitsOf(path))).toBeGreaterThan(0.5);
    using llama = new Llama(merged, { contextLength: 64, microBatch: 64, threads: 1, repack: false });
    expect(largestDifference(ours, llama.decode(tokens, 0, true))).toBeLessThan(2e-2);
  },
);

test("a quantized base keeps its types unless told; series adapters can't be merged", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/base.gguf`;
  await writeTinyModel(path, { type: "q8_0", blocks: 1 });
  const adapter = randomAdapter(path, { form: "lora", rank: 4 }, 3);
  using file = openGguf(path);
  const base = baseOf(file);
  await mergeAdapter(`${folder.path}/same.gguf`, base, adapter);
  await mergeAdapter(`${folder.path}/f16.gguf`, base, adapter, { type: "f16" });
  for (const [name, type] of [
    ["same", "q8_0"],
    ["f16", "f16"],
  ] as const) {
    using merged = openGguf(`${folder.path}/${name}.gguf`);
    expect([...merged.tensors.keys()]).toEqual([...file.tensors.keys()]);
    expect(merged.tensor("blk.0.attn_q.weight").type).toBe(type);
    const [before, after] = [file, merged].map((one) => {
      const bytes = new Uint8Array(one.tensor("blk.0.attn_k.weight").sizeBytes);
      one.readInto("blk.0.attn_k.weight", bytes);
      return bytes;
    });
    if (name === "same") expect(after).toEqual(before); // not a target
  }
  const series = randomAdapter(path, { form: "series", rank: 4 }, 3);
  await expect(mergeAdapter(`${folder.path}/no.gguf`, base, series)).rejects.toThrow("series adapter has an activation");
  await expect(mergeAdapter(`${folder.path}/no.gguf`, base, adapter, { scale: Number.NaN })).rejects.toThrow(
    "scale: must be a finite number",
  );
});
