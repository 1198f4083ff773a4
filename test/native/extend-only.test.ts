import { expect, test } from "vitest";
import { tokenIds } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { writeTinyModel } from "../support/tiny-model.ts";

// What a restored chat and every chunk of a long prompt but the last ask for: nothing but that the cache holds the rows.
test.each(["f16", "f32"] as const)("a request that wants nothing fills the cache (%s) as one that wants logits does", async (cacheType) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyModel(path);
  await using opened = await openEngine(path, { strict: true, contextLength: 256, cacheType });
  const tokens = tokenIds([5, 17, 3, 250, 99, 42, 7], 320);
  const last = tokenIds([8], 320);
  using silent = opened.engine.sequence();
  await silent.forward({ input: tokens });
  using plain = opened.engine.sequence();
  await plain.forward({ input: tokens, want: { logits: "all" } });
  const want = { logits: "last", fullLogits: true } as const;
  const [a, b] = [await silent.forward({ input: last, want }), await plain.forward({ input: last, want })];
  expect(a.rows[0]!.logits).toHaveLength(320);
  expect(a.rows[0]!.logits).toEqual(b.rows[0]!.logits);
});
