import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { Composition, pairs } from "../support/composition.ts";
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
  beforeAll(async () => {
    model = await load("smollm2", { context: 512 });
    composition = new Composition(model, "smollm2:q4_0");
  });
  afterAll(() => model?.[Symbol.asyncDispose]());

  test.each(tenth)("$name", async ({ pair }) => {
    expect(["works", "refused"]).toContain((await composition.check(pair)).kind);
  });
});
