import { afterAll, describe, expect, test } from "vitest";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { Llama } from "../support/llama.ts";
import { type TinyArchitecture, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const cases: [TinyArchitecture, "f32" | "q8_0" | "q4_0"][] = [
  ["llama", "f32"],
  ["llama", "q4_0"],
  ["qwen2", "q8_0"],
  ["qwen3", "q8_0"],
  ["gemma3", "q8_0"],
  ["gpt2", "q8_0"],
];

describe.each(cases)("%s on %s", (architecture, type) => {
  test("logits of 100 tokens and of 8 steps after them have libllama's bits", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/tiny.gguf`;
    await writeTinyModel(path, { architecture, type, seed: 7 });
    await using opened = await openEngine(path);
    using llama = new Llama(path, { contextLength: 256, microBatch: 64, threads: 1 }); // the grid on which prompts are divided
    const tokens = Array.from({ length: 100 }, (_, i) => (i * 37 + 5) % 320) as TokenId[];
    using sequence = opened.engine.sequence();
    const { rows } = await sequence.forward({ input: tokens, want: { logits: "all", fullLogits: true } });
    const expected = llama.decode(tokens, 0, true);
    let largest = 0;
    const compare = (logits: Float32Array, reference: Float32Array): void => {
      for (const [id, logit] of logits.entries()) largest = Math.max(largest, Math.abs(logit - reference[id]!));
    };
    for (const { row, logits } of rows) compare(logits!, expected.subarray(row * 320, (row + 1) * 320));
    for (let step = 0; step < 8; step += 1) {
      const token = ((step * 11 + 3) % 320) as TokenId;
      const { rows } = await sequence.forward({ input: [token], want: { fullLogits: true } });
      compare(rows[0]!.logits!, llama.decode([token], 100 + step));
    }
    // float32 products take one row per plane on the invariant backend, where libllama takes another kernel: rounding only, on AVX-512 up to 2.1e-3
    expect(largest).toBeLessThanOrEqual(type === "f32" ? 1e-2 : 0);
  });
});
