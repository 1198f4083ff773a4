import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { load } from "../../src/index.ts";
import {
  readTexts,
  readTransferMaps,
  trainTransferMaps,
  transferMapsPath,
  writeTexts,
  writeTransferMaps,
} from "../../src/training/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const asset = fileURLToPath(new URL("../../assets/tiny.gguf", import.meta.url));
const prompts = ["In the beginning", "Once upon a time there was a child who"];

/** The package's model in a folder of its own, where maps may be put beside it. */
function copyOfTiny(folder: string): string {
  const path = join(folder, "tiny.gguf");
  copyFileSync(asset, path);
  return path;
}

/** Values near the identity, or far from it. */
function someMap(size: number, seed: number, noise: number): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0) + noise * (next() - 0.5));
}

test.each([0, 0.05, 3])("answers are the plain ones, token for token, whatever the maps (noise %s)", async (noise) => {
  using folder = temporaryFolder();
  const path = copyOfTiny(folder.path);
  const hash = (() => {
    using file = openGguf(path);
    return file.fingerprint();
  })();
  writeTransferMaps(transferMapsPath(path), hash, 192, { layers: [1, 2], matrices: [someMap(192, 1, noise), someMap(192, 2, noise)] });
  await using model = await load(path, { threads: 1, home: folder.path });
  for (const prompt of prompts)
    for (const [maxTokens, sampling] of [
      [noise === 0.05 && prompt === prompts[0] ? 240 : 20, {}], // until the context is full
      [20, { temperature: 1, seed: 5 }],
    ] as const) {
      const plain = await model.generate(prompt, { maxTokens, ignoreEndTokens: true, ...sampling });
      const drafted = await model.generate(prompt, { maxTokens, ignoreEndTokens: true, ...sampling, draft: "hidden-transfer" });
      expect(drafted.tokens).toEqual(plain.tokens);
      const { drafts } = drafted.facts;
      expect(drafts!.method).toBe("hidden-transfer");
      expect(drafts!.drafted).toBeGreaterThan(0);
      expect(drafted.facts.passes).toBeLessThanOrEqual(plain.facts.passes);
    }
});

test("training raises what the maps guess, goes on where it was stopped, and what was saved is what is read", async () => {
  using folder = temporaryFolder();
  const path = copyOfTiny(folder.path);
  const written = join(folder.path, "texts.jsonl");
  let hash: string;
  {
    await using model = await load(path, { threads: 1, home: folder.path });
    hash = model.hash;
    await writeTexts(model, written, { count: 16, maxTokens: 40, seed: 2, top: 8, chat: false });
    await expect(model.generate("In", { draft: "hidden-transfer" })).rejects.toThrow(/"chainrule distill --model .*" trains them/);
  }
  using base = openGguf(path);
  const options = { layers: [0, 2], steps: 10, length: 48, accumulate: 1, learningRate: 3e-3, candidates: 8, threads: 1, seed: 4 };
  const run = (name: string) => join(folder.path, name);
  for (const name of ["whole", "parts"]) mkdirSync(run(name));
  const whole = await trainTransferMaps(base, readTexts(written), run("whole"), options);
  const controller = new AbortController();
  const stopped = trainTransferMaps(base, readTexts(written), run("parts"), options, {
    signal: controller.signal,
    onProgress: ({ step }) => step === 5 && controller.abort(new Error("stopped")),
  });
  await expect(stopped).rejects.toThrow("stopped");
  const parts = await trainTransferMaps(base, readTexts(written), run("parts"), options);
  expect(parts.maps.matrices).toEqual(whole.maps.matrices);
  expect(whole.after[0]!).toBeGreaterThan(whole.before[0]!);

  const target = transferMapsPath(path);
  writeTransferMaps(target, hash, 192, whole.maps);
  expect(existsSync(target)).toBe(true);
  const config = { hiddenSize: 192, blocks: Array.from({ length: 4 }) } as never;
  expect(readTransferMaps(target, hash, config)).toEqual(whole.maps);
  expect(() => readTransferMaps(target, "another", config)).toThrow(/maps of another model/);
  writeFileSync(target, readFileSync(target).subarray(0, 1000));
  expect(() => readTransferMaps(target, hash, config)).toThrow();
});
