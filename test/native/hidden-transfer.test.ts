import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { DraftContext, DraftLimits } from "../../src/decoding/drafting/draft.ts";
import { hiddenTransfer } from "../../src/decoding/drafting/hidden-transfer.ts";
import { Verifier } from "../../src/decoding/drafting/verifier.ts";
import type { StepSampler } from "../../src/decoding/sampling/step.ts";
import type { Candidates } from "../../src/engine/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { load } from "../../src/index.ts";
import { registerTransferMaps } from "../../src/load/transfer-maps.ts";
import { familyOf } from "../../src/models/index.ts";
import { Program } from "../../src/tensor/index.ts";
import type { TokenId } from "../../src/token.ts";
import { transfer } from "../../src/training/hidden-transfer.ts";
import {
  forward,
  readTexts,
  readTransferMaps,
  setRows,
  trainTransferMaps,
  transferMapsPath,
  writeTexts,
  writeTransferMaps,
} from "../../src/training/index.ts";
import { openGguf, Parameters, TrainingWeights } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
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

test("in the engine's passes, trees among them, the maps guess what they guess where they are trained", async () => {
  using folder = temporaryFolder();
  const path = copyOfTiny(folder.path);
  const maps = { layers: [1, 2], matrices: [someMap(192, 1, 0.2), someMap(192, 2, 0.2)] };
  const text = await (async () => {
    await using model = await load(path, { threads: 1, home: folder.path });
    writeTransferMaps(transferMapsPath(path), model.hash, 192, maps);
    return model.tokenize("In the beginning God created the heaven and the earth. And the earth was without form, and void", {
      bos: false,
    });
  })();
  const length = text.length;

  // as they are trained: of each row what the model would say two and three tokens later
  const expected: Float32Array[] = [];
  {
    using device = Device.create("cpu", 1);
    using file = openGguf(path);
    using weights = TrainingWeights.open(device, file);
    const model = familyOf("llama").build(file.metadata, weights);
    await weights.load();
    using matrices = Parameters.create(
      device,
      maps.layers.map((_, i) => ({ name: `map.${i}`, shape: [192, 192] })),
    );
    for (const [i, values] of maps.matrices.entries()) matrices.values(`map.${i}`).set(values);
    const objective = transfer(maps.layers, matrices, length, 8);
    const ends = objective.ends(forward(model, { sequences: 1, length }), model);
    using program = Program.compile(device, Object.fromEntries(ends.map((end, i) => [`${i}`, model.head(end)])));
    const documents = new Int32Array(length);
    setRows(program, model.config, { sequences: 1, length }, { ids: text, documents });
    objective.fillEnds(program, { documents });
    await program.run();
    for (const i of maps.layers.keys()) expected.push(program.read(`${i}`));
  }

  // as they draft: each pass has a tree of a wrong token with one after it, beside the text's next two
  await using opened = await openEngine(path, { cacheType: "f32", repack: false });
  const { engine } = opened;
  using file = openGguf(path);
  const { chain, matrices } = await registerTransferMaps(engine, { device: opened.device, file, name: "tiny" });
  try {
    const state = await hiddenTransfer.create({ nodes: 4 }).start([], { transferMaps: async () => chain } as unknown as DraftContext);
    using sequence = engine.sequence();
    const start = 4;
    await sequence.forward({ input: text.slice(0, start) });
    const seen: { row: number; places: readonly Candidates[] }[] = [];
    let at = start - 1; // the last token that was taken
    const propose = ({ probed }: DraftLimits) => {
      if (probed !== undefined) seen.push({ row: at - 1, places: probed });
      const wrong = ((text[at + 1]! + 1) % 4096) as TokenId;
      return { tokens: [wrong, text[at + 1]!, wrong, text[at + 2]!], parents: [-1, -1, 0, 1] };
    };
    const want = { logits: "last", top: 1, fullLogits: false } as const;
    const sampler = { want: () => want, allows: () => true, prepare: async () => true, advance() {}, rewind() {}, hasGuides: false };
    const verifier = new Verifier({
      ...{ sequence, sampler: sampler as unknown as StepSampler, isEnd: () => false, maxTokens: 200, top: 1 },
      draft: { name: "hidden-transfer", state: { probes: state.probes!, propose, advance() {}, rewind() {}, fork: () => state } },
      forward: (request) => sequence.forward(request),
    });
    while (at + 3 < length) {
      at += 1;
      await verifier.after(text[at]!);
    }
    // two drafted tokens of three are accepted: what is asked for stands after the tree's last one
    expect(seen.map(({ row }) => row)).toEqual(Array.from(seen, (_, i) => start + 2 + 3 * i));
    expect(seen.length).toBeGreaterThan(3);
    for (const { row, places } of seen) {
      expect(places).toHaveLength(2);
      for (const [i, { ids, logits }] of places.entries()) {
        const theirs = expected[i]!.subarray(row * 4096, (row + 1) * 4096);
        expect(ids[0], `step ${i + 1} after row ${row}`).toBe(theirs.indexOf(Math.max(...theirs)));
        for (const [rank, id] of ids.entries()) expect(Math.abs(logits[rank]! - theirs[id]!)).toBeLessThan(1e-3);
      }
    }
  } finally {
    matrices[Symbol.dispose]();
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
