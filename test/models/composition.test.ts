import { symlinkSync } from "node:fs";
import { homedir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { defaultHome, resolveModel } from "../../src/models/index.ts";
import { Composition, pairs, writeRandomParts } from "../support/composition.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

// A seeded tenth of the pairs on a real file, in the soak: another seed, another tenth.
const isSoak = process.env.CHAINRULE_SOAK !== undefined;
const next = random(Number(process.env.CHAINRULE_SEED ?? 1));
const tenth = pairs
  .filter(() => next() < 0.1)
  .map((pair) => ({ pair, name: pair.map(({ axis, method }) => `${axis} ${method.name}`).join(" × ") }));

describe.runIf(isSoak)("pairs on SmolLM2", () => {
  let model: Model;
  let composition: Composition;
  const folder = temporaryFolder();
  beforeAll(async () => {
    const home = defaultHome(process.env, process.platform, homedir());
    const { path } = await resolveModel("smollm2", { home });
    const other = await resolveModel("smollm2:q4_0", { home });
    const linked = `${folder.path}/smollm2.gguf`; // maps lie beside the file: random ones serve the laws as well, and must not lie beside the user's
    symlinkSync(path, linked);
    const parts = await writeRandomParts(linked, folder.path);
    model = await load(linked, { context: 512, ...parts });
    composition = new Composition(model, other.path);
  }, 600_000);
  afterAll(async () => {
    await model?.[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  test.each(tenth)(
    "$name",
    async ({ pair }) => {
      expect(["works", "refused"]).toContain((await composition.check(pair)).kind);
    },
    600_000,
  );
});
