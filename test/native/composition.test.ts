import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/index.ts";
import { Composition, entries, type Outcome, type Pair, pairs, writeRandomParts } from "../support/composition.ts";
import { compositionPage, plainPage } from "../support/composition-page.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// Every pair of methods of the registry, on a random checkpoint. CHAINRULE_DOCS=1 writes docs/composition.md, otherwise it must be up to date.

const folder = temporaryFolder();
const outcomes = new Map<Pair, Outcome>();
let model: Model;
let composition: Composition;
beforeAll(async () => {
  const [path, other] = [`${folder.path}/tiny.gguf`, `${folder.path}/other.gguf`];
  await writeTinyChatModel(path, { blocks: 4 });
  await writeTinyChatModel(other, { blocks: 2, seed: 3 });
  const parts = await writeRandomParts(path, folder.path);
  model = await load(path, { threads: 1, context: 256, cacheBytes: 2 ** 26, ...parts });
  composition = new Composition(model, other);
}, 120_000);
afterAll(async () => {
  await model?.[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

test("every method that must be given something has an example that the pairs are tried with", () => {
  for (const { method } of entries) {
    const missing = Object.entries(method.parameters).filter(
      ([key, { type, default: usual, isOptional }]) =>
        usual === undefined && isOptional !== true && type !== "model" && method.example?.[key] === undefined,
    );
    expect(
      missing.map(([key]) => key),
      `${method.name}: its registry entry needs an example`,
    ).toEqual([]);
  }
});

const named = pairs.map((pair) => ({ pair, name: pair.map(({ axis, method }) => `${axis} ${method.name}`).join(" × ") }));
describe("pairs", () => {
  test.each(named)("$name", async ({ pair }) => {
    outcomes.set(pair, await composition.check(pair));
  });
});

test("docs/composition.md says what was found", () => {
  expect(outcomes.size, "every pair must have been tried").toBe(pairs.length);
  const page = compositionPage(outcomes);
  if (process.env.CHAINRULE_DOCS !== undefined) writeFileSync("docs/composition.md", page);
  expect(plainPage(readFileSync("docs/composition.md", "utf8"))).toBe(plainPage(page));
});
