import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { type ForwardRequest, probeDivision } from "../../src/engine/index.ts";
import type { ModelSequence } from "../../src/engine/model-sequence.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import type { TensorType } from "../../src/weights/index.ts";
import { openGguf, Weights } from "../../src/weights/index.ts";
import { randomAdapter } from "../support/adapters.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const vocabSize = 320;
const tokens = (count: number, seed: number): TokenId[] => {
  const next = random(seed);
  return Array.from({ length: count }, () => Math.floor(next() * vocabSize) as TokenId);
};
const want = { logits: "last", fullLogits: true } as const;
const cellBytes = 2 * 2 * 2 * 128; // of the tiny model: blocks, keys and values, bytes, width

async function setting(options: Parameters<typeof openEngine>[1] = {}, model: Parameters<typeof writeTinyModel>[1] = {}) {
  const folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { type: "q8_0", blocks: 2, ...model });
  const opened = await openEngine(`${folder.path}/tiny.gguf`, { prefixCacheBytes: 2 ** 24, ...options });
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** Keys and values of a sequence, bit for bit. */
function contentOf(engine: Engine, { family, entries }: ModelSequence): Uint8Array {
  return engine.cache.save(entries.map(({ cell }) => family.slot! * engine.cache.shape.cells + cell));
}

/** A prompt in a sequence of its own: its logits, its cache, and what the prefix cache had of it. */
async function read(engine: Engine, input: readonly TokenId[], more: Partial<ForwardRequest> = {}, prefixKey = "") {
  using sequence = engine.sequence({ prefixKey });
  const { rows, cost } = await sequence.forward({ input, want, ...more });
  return { logits: rows.at(-1)!.logits!, content: contentOf(engine, sequence), reused: cost.reused! };
}

const types: TensorType[] = ["q4_0", "q4_1", "q8_0", "q4_k", "f16", "f32"];

test.each(types)("with %s weights a hit gives the bits of a miss, logits and cache, however the prompt is divided", async (type) => {
  await using one = await setting({ chunkRows: 512 }, { type });
  await using other = await setting({ chunkRows: 64, prefixCacheBytes: 0 }, { type });
  const text = tokens(460, 1);
  for (const length of [460, 130, 300, 385]) {
    const { reused, ...own } = await read(one.engine, text.slice(0, length));
    expect(reused).toBe(length === 460 ? 0 : length - ((length - 1) % 64) - 1);
    const miss = await read(other.engine, text.slice(0, length));
    expect(miss.reused).toBe(0);
    expect(own).toEqual({ logits: miss.logits, content: miss.content });
  }
  expect(one.engine.statistics()).toMatchObject({
    streamsUsed: 0,
    savedBytes: 0,
    prefixCache: { streams: 1, hits: 3, tokensSaved: 128 + 256 + 384 },
  });
  expect(one.engine.statistics().prefixCache.bytes).toBe(448 * cellBytes);
});

test("strict: any cell is handed on, of answers too", async () => {
  await using one = await setting({ strict: true });
  await using other = await setting({ strict: true, prefixCacheBytes: 0 });
  const text = tokens(100, 1);
  {
    using sequence = one.engine.sequence();
    await sequence.forward({ input: text.slice(0, 50) });
    for (const token of text.slice(50)) await sequence.forward({ input: [token] });
  }
  const longer = [...text.slice(0, 91), ...tokens(20, 2)];
  const { reused, ...own } = await read(one.engine, longer);
  expect(reused).toBe(91);
  const miss = await read(other.engine, longer);
  expect(own).toEqual({ logits: miss.logits, content: miss.content });
});

test("whatever keys and values depend on, changed alone, misses; the same again hits", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/tiny.gguf`;
  await writeTinyModel(path, { type: "q8_0", blocks: 2 });
  await using opened = await openEngine(path, { prefixCacheBytes: 2 ** 24 });
  const { engine } = opened;
  await engine.addAdapter("a", randomAdapter(path, { form: "lora", rank: 4 }, 11));
  await engine.addAdapter("b", randomAdapter(path, { form: "lora", rank: 4 }, 12));
  const text = tokens(140, 1);
  const shifted = text.map((_, row) => row + 1);
  const sees = [{ rows: [0, 140] as const, sees: [[0, 70]] as const }];
  const inject = [{ tap: "blocks.0.resid_post", rows: [3], map: "identity", values: new Float32Array(256).fill(0.1) }];
  const ways: [what: string, request: Partial<ForwardRequest>, prefixKey: string, isEntered: boolean][] = [
    ["nothing", {}, "", true],
    ["the key", {}, "another", true],
    ["the block plan", { blocks: { "blocks.0.ffn": false } }, "", true],
    ["another block plan", { blocks: { "blocks.1.ffn": false } }, "", true],
    ["positions", { positions: shifted }, "", true],
    ["what rows see", { visible: sees }, "", true],
    ["an adapter", { adapters: [{ name: "a", scale: 1 }] }, "", true],
    ["its scale", { adapters: [{ name: "a", scale: 0.5 }] }, "", true],
    ["another adapter", { adapters: [{ name: "b", scale: 1 }] }, "", true],
    ["a tree", { parents: text.map((_, row) => (row === 139 ? 137 : row - 1)) }, "", false],
    ["holes", { blocks: { "blocks.1.attn": false } }, "", false],
    ["an injection", { inject }, "", false],
    ["a tap", { want: { ...want, taps: ["blocks.0.resid_pre"] } }, "", false],
    ["a rule", { blocks: { name: "none", decides: ["blocks.1.ffn"], start: () => undefined, next: () => "run" } }, "", false],
  ];
  const first: Awaited<ReturnType<typeof read>>[] = [];
  for (const [what, request, key] of ways) {
    first.push(await read(engine, text, request, key));
    expect(first.at(-1)!.reused, what).toBe(0);
  }
  for (const [index, [what, request, key, isEntered]] of ways.entries()) {
    const again = await read(engine, text, request, key);
    expect(again.reused, what).toBe(isEntered ? 128 : 0);
    expect(again, what).toEqual({ ...first[index]!, reused: again.reused });
  }
  // the same name for another adapter is another adapter
  await engine.removeAdapter("b");
  await engine.addAdapter("b", randomAdapter(path, { form: "lora", rank: 4 }, 13));
  expect((await read(engine, text, { adapters: [{ name: "b", scale: 1 }] })).reused).toBe(0);
  // embeddings in front: neither they nor what follows is entered or served
  for (let round = 0; round < 2; round += 1) {
    using soft = engine.sequence();
    await soft.forward({ input: { values: new Float32Array(64 * 256).fill(0.01), hiddenSize: 256 } });
    expect((await soft.forward({ input: text, want })).cost.reused).toBe(0);
  }
});

test("of rows whose results are wanted none is taken from the cache", async () => {
  await using opened = await setting();
  const { engine } = opened;
  const text = tokens(200, 1);
  const first = await read(engine, text);
  for (const [rows, expected] of [
    ["all", 0],
    [[130, 199], 128],
    [[63], 0],
    [[64], 64],
  ] as const) {
    using sequence = engine.sequence();
    const result = await sequence.forward({ input: text, want: { logits: rows, fullLogits: true } });
    expect(result.cost.reused).toBe(expected);
    expect(contentOf(engine, sequence)).toEqual(first.content);
  }
});

test("prompts that begin alike and come at the same time compute the beginning once", async () => {
  await using opened = await setting({ chunkRows: 64 });
  const { engine } = opened;
  const shared = tokens(256, 1);
  const texts = Array.from({ length: 6 }, (_, seed) => [...shared, ...tokens(10 + seed, 2 + seed)]);
  const sequences = texts.map(() => engine.sequence());
  const results = await Promise.all(sequences.map((sequence, index) => sequence.forward({ input: texts[index]!, want })));
  expect(results.map(({ cost }) => cost.reused)).toEqual([0, 256, 256, 256, 256, 256]);
  for (const sequence of sequences) sequence[Symbol.dispose]();
  await using alone = await setting({ prefixCacheBytes: 0 });
  for (const [index, text] of texts.entries()) expect(results[index]!.rows[0]!.logits).toEqual((await read(alone.engine, text)).logits);
});

test("what is kept goes first when a request needs its stream, the least recently used before the others, and stays within its bytes", async () => {
  const streams = 3;
  await using opened = await setting({ contextLength: 256, cacheBytes: streams * 256 * cellBytes, prefixCacheBytes: 300 * cellBytes });
  const { engine } = opened;
  const texts = [1, 2, 3].map((seed) => tokens(140, seed));
  for (const text of texts.slice(0, 2)) await read(engine, text);
  expect(engine.statistics().prefixCache).toMatchObject({ streams: 2, bytes: 256 * cellBytes });
  expect((await read(engine, texts[0]!)).reused).toBe(128); // now the second is the older one
  await read(engine, texts[2]!); // three of 128 are more than 300
  expect(engine.statistics().prefixCache).toMatchObject({ streams: 2, bytes: 256 * cellBytes });
  expect((await read(engine, texts[1]!)).reused).toBe(0);
  const live = [4, 5, 6].map(() => engine.sequence());
  for (const [index, sequence] of live.entries()) await sequence.forward({ input: tokens(140, 10 + index) });
  expect(engine.statistics()).toMatchObject({ streamsUsed: 3, preemptions: 0, prefixCache: { streams: 0, bytes: 0 } });
  for (const sequence of live) sequence[Symbol.dispose]();
});

test("random prompts, forks, rewinds and cancels beside each other: every answer is that of its solo run", async () => {
  await using opened = await setting({ contextLength: 256, cacheBytes: 2 * 256 * cellBytes, chunkRows: 64 });
  await using alone = await setting({ contextLength: 256, prefixCacheBytes: 0 });
  const { engine } = opened;
  const request = fc.record({
    /** Texts of a kind begin alike. */
    kind: fc.nat(2),
    length: fc.integer({ min: 1, max: 200 }),
    steps: fc.nat(9),
    priority: fc.integer({ min: -1, max: 1 }),
    startAfter: fc.nat(12),
    cancelAfter: fc.option(fc.nat(60), { nil: undefined }),
    forks: fc.boolean(),
  });
  type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;
  const turns = async (count: number) => {
    for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  const textOf = ({ kind, length }: Request) => [...tokens(100, kind), ...tokens(100, 10 + kind * 200 + length)].slice(0, length);
  /** Greedy tokens; with a fork, those of the fork after those of the root. */
  const answer = async (of: Engine, one: Request, signal?: AbortSignal): Promise<number[]> => {
    const abort = signal === undefined ? {} : { signal };
    using root = of.sequence({ priority: one.priority });
    const go = async (sequence: ModelSequence, input: readonly TokenId[], count: number) => {
      const found: TokenId[] = [];
      let next = input;
      for (let step = 0; step <= count; step += 1) {
        const { rows } = await sequence.forward({ input: next, want: { top: 1 }, ...abort });
        next = [rows[0]!.candidates!.ids[0]! as TokenId];
        found.push(...next);
      }
      return found;
    };
    const found = await go(root, textOf(one), one.steps);
    if (!one.forks) return found;
    using fork = root.fork();
    const [left, right] = await Promise.all([go(root, [7 as TokenId], 2), go(fork, tokens(70, 3).slice(0, 50), 2)]);
    return [...found, ...left, ...right];
  };
  const plain: Request = { kind: 0, length: 150, steps: 2, priority: 0, startAfter: 0, cancelAfter: undefined, forks: false };
  const solo = new Map<string, readonly number[]>();
  /** Of sequences that wait while others run. */
  const idleTexts = [21, 22, 23].map((seed) => tokens(40, seed));
  const beginning = async (of: Engine, text: readonly TokenId[]) => {
    const sequence = of.sequence();
    await sequence.forward({ input: text });
    return sequence;
  };
  const ending = async (sequence: ModelSequence) => {
    using ended = sequence;
    return (await ended.forward({ input: tokens(1, 24), want: { logits: [0], fullLogits: true } })).rows[0]!.logits;
  };
  const idleAnswers: unknown[] = [];
  for (const text of idleTexts) idleAnswers.push(await ending(await beginning(alone.engine, text)));
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 3, maxLength: 10 }), fc.nat(idleTexts.length), async (requests, idleCount) => {
      const idle = await Promise.all(idleTexts.slice(0, idleCount).map((text) => beginning(engine, text)));
      const answers = await Promise.all(
        requests.map(async (one) => {
          await turns(one.startAfter);
          const controller = new AbortController();
          if (one.cancelAfter !== undefined) void turns(one.cancelAfter).then(() => controller.abort(new Error("enough")));
          return answer(engine, one, controller.signal).catch((error: unknown) => {
            if ((error as Error).message === "enough") return undefined;
            throw error;
          });
        }),
      );
      for (const [index, one] of requests.entries()) {
        if (answers[index] === undefined) continue;
        const { startAfter: _, cancelAfter: __, priority: ___, ...key } = one;
        const known = solo.get(JSON.stringify(key)) ?? (await answer(alone.engine, { ...one, priority: 0 }));
        solo.set(JSON.stringify(key), known);
        expect(answers[index]).toEqual(known);
      }
      expect(await Promise.all(idle.map(ending))).toEqual(idleAnswers.slice(0, idleCount));
      // what was cancelled in a pass gives back its stream when that ends
      await expect
        .poll(() => engine.statistics(), { timeout: 30_000, interval: 2 })
        .toMatchObject({ streamsUsed: 0, savedBytes: 0, queued: 0 });
    }),
    {
      numRuns: process.env.CHAINRULE_SOAK ? 1_000 : 20,
      // whatever the machine's speed: texts that begin alike on streams nobody holds are hits, and of three idle ones on two streams one is put aside
      examples: [
        [[plain, plain, plain], 0],
        [[plain, plain, plain], idleTexts.length],
      ],
    },
  );
  const { preemptions, prefixCache } = engine.statistics();
  expect(preemptions).toBeGreaterThan(0);
  expect(prefixCache.hits).toBeGreaterThan(0);
});

test("on this processor a prompt may be divided at any multiple of 64", async () => {
  using folder = temporaryFolder();
  for (const type of types) {
    await writeTinyModel(`${folder.path}/${type}.gguf`, { type, blocks: 1 });
    using device = Device.create("cpu", 2);
    using file = openGguf(`${folder.path}/${type}.gguf`);
    using weights = Weights.open(device, file);
    expect(await probeDivision(device, weights.storages)).toBe(true);
  }
});
