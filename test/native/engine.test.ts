import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { ForwardRequest, ForwardResult, Sequence } from "../../src/engine/index.ts";
import { cellStep, outputStep, rowStep, type Structure, streamStep } from "../../src/engine/structure.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { add } from "../../src/tensor/index.ts";
import type { TokenId } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const vocabSize = 320;
const hiddenSize = 256;
const tokens = (count: number, seed: number): TokenId[] => {
  const next = random(seed);
  return Array.from({ length: count }, () => Math.floor(next() * vocabSize) as TokenId);
};
const want = { logits: "last", fullLogits: true } as const;
const logitsOf = (result: ForwardResult) => result.rows.at(-1)!.logits!;

async function setting(options: Parameters<typeof openEngine>[1] = {}, model: Parameters<typeof writeTinyModel>[1] = {}) {
  const folder = temporaryFolder();
  await writeTinyModel(`${folder.path}/tiny.gguf`, { type: "q8_0", blocks: 2, ...model });
  const opened = await openEngine(`${folder.path}/tiny.gguf`, options);
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** A cache of so many streams of 256 cells for the tiny model. */
const streamsOf256 = (count: number) => ({ contextLength: 256, cacheBytes: count * 256 * 2 * 2 * 2 * 128 });

describe("programs", () => {
  test("10,000 random requests compile fewer than 400 programs, and the last 1,000 hit 99 % of the time", async () => {
    await using opened = await setting(
      { contextLength: 2048, cacheBytes: 16 * 2048 * 2 * 2 * 2 * 128, programBytes: 2 ** 32 },
      { contextLength: 2048, blocks: 1 },
    );
    const { engine } = opened;
    const capacity = engine.cache.shape.cells;
    const next = random(11);
    const below = (n: number) => Math.floor(next() * n);
    let missesBefore = 0;
    for (let request = 0; request < 10_000; request += 1) {
      if (request === 9_000) missesBefore = engine.programs.misses;
      const kind = next() < 0.6 ? "step" : next() < 0.5 ? "draft" : "prompt";
      const rows = rowStep(kind === "step" ? 1 : kind === "draft" ? 2 + below(7) : 1 + below(512));
      const streams = kind === "prompt" ? 1 : streamStep(1 + below(16));
      const wanted = kind === "step" ? streams : kind === "draft" ? streams * rows : below(2);
      const structure: Structure = {
        backend: rows >= 64 ? "fast" : "invariant",
        streams,
        rows,
        cells: cellStep(rows + below(2048 - rows) + 1, capacity),
        outputs: outputStep(wanted, streams, rows),
        head: kind === "draft" || next() < 0.7,
        input: "tokens",
        skipped: [],
        decides: [],
        taps: [],
        exits: [],
        adapters: [],
        injections: [],
      };
      engine.programs.pass(structure.outputs === 0 ? { ...structure, head: false } : structure);
    }
    expect(engine.programs.count).toBeLessThan(400);
    expect(engine.programs.misses - missesBefore).toBeLessThanOrEqual(10);
  });

  test("programs beyond the bound make room, and what made room compiles again to the same bits", async () => {
    await using opened = await setting({ programBytes: 1 });
    using sequence = opened.engine.sequence();
    const first = logitsOf(await sequence.forward({ input: tokens(10, 1), want }));
    await sequence.forward({ input: tokens(1, 2), want });
    expect(opened.engine.programs.count).toBe(1);
    using again = opened.engine.sequence();
    expect(logitsOf(await again.forward({ input: tokens(10, 1), want }))).toEqual(first);
  });
});

describe("the scheduler", () => {
  test("1,000 random beams in a cache for two finish, and give back every cell", async () => {
    await using opened = await setting(streamsOf256(2));
    const { engine } = opened;
    expect(engine.statistics().streams).toBe(2);
    const next = random(5);
    let finished = 0;
    const beam = async (root: Sequence, length: number, seed: number): Promise<void> => {
      using own = root.fork();
      for (const token of tokens(length, seed)) await own.forward({ input: [token], want: { top: 1 } });
      finished += 1;
    };
    await Promise.all(
      Array.from({ length: 25 }, async (_, group) => {
        using root = engine.sequence({ priority: group % 3 });
        await root.forward({ input: tokens(20 + Math.floor(next() * 150), group) });
        await Promise.all(Array.from({ length: 40 }, (_, index) => beam(root, 1 + Math.floor(next() * 6), group * 100 + index)));
      }),
    );
    expect(finished).toBe(1000);
    expect(engine.statistics()).toMatchObject({ streamsUsed: 0, queued: 0, savedBytes: 0 });
  });

  test("beams that outgrow their stream move to one of their own, without a changed bit", async () => {
    await using opened = await setting({ ...streamsOf256(4), strict: true });
    const { engine } = opened;
    const text = tokens(200, 1);
    using root = engine.sequence();
    await root.forward({ input: text });
    const forks = [0, 1, 2, 3].map(() => root.fork());
    const moved = await Promise.all(forks.map(async (fork, seed) => logitsOf(await fork.forward({ input: tokens(40, seed), want }))));
    for (const [seed, logits] of moved.entries()) {
      using fresh = engine.sequence();
      expect(logits).toEqual(logitsOf(await fresh.forward({ input: [...text, ...tokens(40, seed)], want })));
    }
    for (const fork of forks) fork[Symbol.dispose]();
  });

  test("what has asked for nothing for long is put aside, and goes on with the same bits; what is busy stays", async () => {
    await using opened = await setting(streamsOf256(4));
    const { engine } = opened;
    using fresh = engine.sequence();
    await fresh.forward({ input: tokens(60, 1) });
    const expected = logitsOf(await fresh.forward({ input: tokens(5, 2), want }));
    using idle = engine.sequence();
    await idle.forward({ input: tokens(60, 1) });
    using busy = engine.sequence();
    const running = busy.forward({ input: tokens(60, 3), want });
    expect(engine.setAside({ idleMs: 60_000 })).toBe(0);
    expect(engine.setAside({ idleMs: 0 })).toBe(2);
    expect(engine.statistics().savedBytes).toBeGreaterThan(0);
    const first = logitsOf(await running);
    expect(engine.statistics().streamsUsed).toBe(1);
    expect(logitsOf(await idle.forward({ input: tokens(5, 2), want }))).toEqual(expected);
    using again = engine.sequence();
    expect(logitsOf(await again.forward({ input: tokens(60, 3), want }))).toEqual(first);
  });

  test.each(["queued", "computed"])("a request cancelled while %s changes no neighbour, and the sequence goes on", async (when) => {
    await using opened = await setting();
    const { engine } = opened;
    const texts = [0, 1, 2, 3].map((seed) => tokens(30, seed));
    const sequences = texts.map(() => engine.sequence());
    const controller = new AbortController();
    const results = Promise.allSettled(
      sequences.map((sequence, index) =>
        sequence.forward({ input: texts[index]!, want, ...(index === 2 ? { signal: controller.signal } : {}) }),
      ),
    );
    const abort = () => controller.abort(new Error("enough"));
    if (when === "queued") abort();
    else setImmediate(abort); // after the engine's own turn, which began the pass, and before anything can tell that it ended
    const settled = await results;
    expect(settled[2]).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    expect(sequences[2]!.length).toBe(0);
    for (const index of [0, 1, 3]) {
      using alone = engine.sequence();
      const expected = logitsOf(await alone.forward({ input: texts[index]!, want }));
      expect(logitsOf((settled[index] as PromiseFulfilledResult<ForwardResult>).value)).toEqual(expected);
    }
    expect(logitsOf(await sequences[2]!.forward({ input: texts[0]!, want }))).toEqual(
      logitsOf((settled[0] as PromiseFulfilledResult<ForwardResult>).value),
    );
    for (const sequence of sequences) sequence[Symbol.dispose]();
  });

  test("random forks, rewinds, trees and cancels: every length and every logit is that of a fresh sequence", async () => {
    await using opened = await setting({ ...streamsOf256(3), strict: true });
    const { engine } = opened;
    const step = fc.record({
      kind: fc.constantFrom("forward", "fork", "rewind", "tree", "dispose"),
      pick: fc.nat(7),
      size: fc.integer({ min: 1, max: 20 }),
      seed: fc.nat(50),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        const live: { sequence: Sequence; text: TokenId[] }[] = [{ sequence: engine.sequence(), text: [] }];
        for (const { kind, pick, size, seed } of steps) {
          if (live.length === 0) break;
          const at = pick % live.length;
          const { sequence, text } = live[at]!;
          if (kind === "forward" && text.length + size < 200) {
            const more = tokens(size, seed);
            await sequence.forward({ input: more });
            text.push(...more);
          } else if (kind === "fork" && live.length < 6) live.push({ sequence: sequence.fork(), text: [...text] });
          else if (kind === "rewind") {
            const length = text.length === 0 ? 0 : seed % text.length;
            sequence.rewind(length);
            text.length = length;
          } else if (kind === "tree" && text.length < 200) {
            const nodes = tokens(5, seed);
            await sequence.forward({ input: nodes, parents: [-1, 0, 0, 2, -1] });
            sequence.keep([0, 2, 3]);
            text.push(nodes[0]!, nodes[2]!, nodes[3]!);
          } else if (kind === "dispose" && live.length > 1) {
            sequence[Symbol.dispose]();
            live.splice(at, 1);
          }
        }
        for (const { sequence, text } of live) {
          expect(sequence.length).toBe(text.length);
          const probe = tokens(1, 99);
          using fresh = engine.sequence();
          const expected = logitsOf(await fresh.forward({ input: [...text, ...probe], want }));
          expect(logitsOf(await sequence.forward({ input: probe, want }))).toEqual(expected);
          sequence[Symbol.dispose]();
        }
        expect(engine.statistics()).toMatchObject({ streamsUsed: 0, savedBytes: 0 });
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 500 : 25, seed: 3 },
    );
  });
});

describe("whatever happens to a request, nothing is lost", () => {
  test("a long prompt under way keeps its cells while its stream is compacted for a sibling", async () => {
    await using opened = await setting({ ...streamsOf256(2), strict: true, chunkRows: 64 });
    const { engine } = opened;
    using root = engine.sequence();
    await root.forward({ input: tokens(10, 1) });
    const hole = root.fork();
    await hole.forward({ input: tokens(40, 2) }); // cells 10 to 49
    using sibling = root.fork();
    await sibling.forward({ input: tokens(20, 3) }); // cells 50 to 69
    using long = root.fork();
    const text = tokens(182, 4); // in three passes; with the sibling's 30 the last one's cells are had by closing the hole only
    const running = long.forward({ input: text, want });
    while (engine.passCount < 5) await new Promise((resolve) => setImmediate(resolve)); // two of its passes are done
    hole[Symbol.dispose]();
    const [a, b] = await Promise.all([running, sibling.forward({ input: tokens(30, 5), want })]);
    using fresh = engine.sequence();
    expect(logitsOf(a)).toEqual(logitsOf(await fresh.forward({ input: [...tokens(10, 1), ...text], want })));
    fresh.rewind(0);
    expect(logitsOf(b)).toEqual(logitsOf(await fresh.forward({ input: [...tokens(10, 1), ...tokens(20, 3), ...tokens(30, 5)], want })));
    using after = long.fork();
    fresh.rewind(0);
    const next = tokens(1, 6);
    const expected = logitsOf(await fresh.forward({ input: [...tokens(10, 1), ...text, ...next], want }));
    expect(logitsOf(await after.forward({ input: next, want }))).toEqual(expected);
  });

  test("a pass that can't be compiled fails its requests, gives back their cells, and the next one works", async () => {
    await using opened = await setting();
    const { engine } = opened;
    engine.registerMap("broken", () => {
      throw new Error("no such map after all");
    });
    const sequence = engine.sequence();
    const inject = [{ tap: "blocks.0.resid_post", rows: [0], map: "broken" }];
    await expect(sequence.forward({ input: tokens(5, 1), inject })).rejects.toThrow("no such map after all");
    expect(sequence.length).toBe(0);
    using fresh = engine.sequence();
    const expected = logitsOf(await fresh.forward({ input: tokens(5, 1), want }));
    expect(logitsOf(await sequence.forward({ input: tokens(5, 1), want }))).toEqual(expected);
    sequence.rewind(0);
    expect((sequence as unknown as { family: { end: number } }).family.end).toBe(0);
    sequence[Symbol.dispose]();
  });

  test("requests cancelled at any moment, also while results are read, leave no cell behind", async () => {
    await using opened = await setting({ chunkRows: 256, ...streamsOf256(4) });
    const { engine } = opened;
    for (let turns = 0; turns < 40; turns += 1) {
      const sequence = engine.sequence();
      const controller = new AbortController();
      const running = sequence
        .forward({ input: tokens(200, turns), want: { logits: "all", top: 1 }, signal: controller.signal })
        .catch(() => undefined);
      for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve));
      controller.abort(new Error("enough"));
      await running;
      sequence.rewind(0);
      const { family } = sequence as unknown as { family: { end: number } };
      await expect.poll(() => family.end, { timeout: 10_000, interval: 2 }).toBe(0); // at the end of the pass it took part in
      sequence[Symbol.dispose]();
    }
    expect(engine.statistics()).toMatchObject({ streamsUsed: 0, savedBytes: 0, queued: 0 });
  });

  test("in default mode a fork's long continuation does not depend on what its siblings hold", async () => {
    await using opened = await setting({ ...streamsOf256(2) });
    const { engine } = opened;
    const run = async (siblingRows: number) => {
      using root = engine.sequence();
      await root.forward({ input: tokens(10, 1) });
      using sibling = root.fork();
      if (siblingRows > 0) await sibling.forward({ input: tokens(siblingRows, 2) });
      using own = root.fork();
      const { rows } = await own.forward({ input: tokens(200, 3), want: { logits: "all", fullLogits: true } });
      return rows.map(({ logits }) => logits!);
    };
    const alone = await run(0);
    for (const rows of [1, 33, 45]) expect(await run(rows)).toEqual(alone);
  });
});

describe("what a request may ask for", () => {
  test("exits of more rows than the head takes at once", async () => {
    await using opened = await setting();
    using sequence = opened.engine.sequence();
    const { rows } = await sequence.forward({ input: tokens(150, 5), exits: [1], want: { logits: "all", top: 4 } });
    expect(rows.length).toBe(150);
    for (const { candidates, exits } of rows) expect(exits!.get(1)).toEqual(candidates);
  });

  test("embeddings of tokens are those tokens", async () => {
    await using opened = await setting({ strict: true });
    using a = opened.engine.sequence();
    using b = opened.engine.sequence();
    const text = tokens(9, 1);
    const tapped = await a.forward({ input: text, want: { ...want, taps: ["blocks.0.resid_pre"] } });
    const { values, shape } = tapped.taps.get("blocks.0.resid_pre")!;
    expect(shape).toEqual([9, hiddenSize]);
    expect(logitsOf(await b.forward({ input: { values, hiddenSize }, want }))).toEqual(logitsOf(tapped));
  });

  test("the residual stream adds up: resid_pre + attn_out = resid_mid, + mlp_out = resid_post = the next resid_pre", async () => {
    await using opened = await setting();
    using sequence = opened.engine.sequence();
    const names = ["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"];
    const { taps } = await sequence.forward({
      input: tokens(7, 2),
      want: { taps: [...names.map((name) => `blocks.0.${name}`), "blocks.1.resid_pre"] },
    });
    const [pre, attention, mid, mlp, post] = names.map((name) => taps.get(`blocks.0.${name}`)!.values);
    for (const [i, value] of mid!.entries()) {
      expect(value).toBe(Math.fround(pre![i]! + attention![i]!));
      expect(post![i]).toBe(Math.fround(value + mlp![i]!));
    }
    expect(taps.get("blocks.1.resid_pre")!.values).toEqual(post);
  });

  test("attention weights are probabilities over what a row sees", async () => {
    await using opened = await setting();
    using sequence = opened.engine.sequence();
    await sequence.forward({ input: tokens(4, 1) });
    const { taps } = await sequence.forward({ input: tokens(3, 2), want: { taps: ["blocks.1.attn.pattern"] } });
    const { values, shape } = taps.get("blocks.1.attn.pattern")!;
    expect(shape).toEqual([4, 3, 7]);
    for (let head = 0; head < 4; head += 1) {
      for (let row = 0; row < 3; row += 1) {
        const weights = values.subarray((head * 3 + row) * 7, (head * 3 + row + 1) * 7);
        expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 5);
        for (let column = 4 + row + 1; column < 7; column += 1) expect(weights[column]).toBe(0);
      }
    }
  });

  test("an injection of zeros changes nothing; one at a row changes that row and those after it", async () => {
    await using opened = await setting();
    const { engine } = opened;
    const text = tokens(6, 3);
    const run = async (values: Float32Array | undefined) => {
      using sequence = engine.sequence();
      const inject = values === undefined ? [] : [{ tap: "blocks.0.resid_post", rows: [3], map: "identity", values }];
      return (await sequence.forward({ input: text, inject, want: { logits: "all", fullLogits: true } })).rows.map(({ logits }) => logits!);
    };
    const plain = await run(undefined);
    expect(await run(new Float32Array(hiddenSize))).toEqual(plain);
    const steered = await run(new Float32Array(hiddenSize).fill(0.5));
    expect(steered.slice(0, 3)).toEqual(plain.slice(0, 3));
    for (const row of [3, 4, 5]) expect(steered[row]).not.toEqual(plain[row]);
  });

  test("rows that take another row's state change no other row, wherever chunks of prompts would end", async () => {
    await using opened = await setting();
    const { engine } = opened;
    engine.registerMap("twice", (state) => add(state, state));
    for (const length of [3, 61]) {
      const text = tokens(length, 3);
      const rows = tokens(6, 4); // a token, a tree of two after it, and under the token two rows that are only looked through
      const parents = [-1, 0, 0, 0, 3, 4];
      const run = async (count: number, inject: NonNullable<ForwardRequest["inject"]>) => {
        using sequence = engine.sequence();
        await sequence.forward({ input: text });
        const request = {
          input: rows.slice(0, count),
          parents: parents.slice(0, count),
          inject,
          want: { logits: "all", fullLogits: true },
        } as const;
        return (await sequence.forward(request)).rows.map(({ logits }) => logits!);
      };
      const plain = await run(3, []);
      const moved = await run(6, [{ tap: "blocks.0.resid_post", rows: [3, 4], from: [0, 1], map: "twice" }]);
      expect(moved.slice(0, 3)).toEqual(plain);
      expect(moved[3]).not.toEqual((await run(6, []))[3]);
    }
  });

  test("a row that takes another row's state goes on as if it had been there", async () => {
    await using opened = await setting({}, { type: "f32" });
    const { engine } = opened;
    engine.registerMap("twice", (state) => add(state, state));
    const [tap, after] = ["blocks.0.resid_post", "blocks.1.resid_post"];
    const input = tokens(4, 5);
    const run = async (inject: NonNullable<ForwardRequest["inject"]>) => {
      using sequence = engine.sequence();
      return (await sequence.forward({ input, inject, want: { taps: [tap, after] } })).taps;
    };
    const row = (values: Float32Array, at: number) => values.subarray(at * hiddenSize, (at + 1) * hiddenSize);
    const before = (await run([])).get(tap)!.values;
    // the independent way: what the state lacks, as numbers, is added to it
    const values = row(before, 1).map((value, i) => 2 * value - row(before, 3)[i]!);
    const added = await run([{ tap, rows: [3], map: "identity", values }]);
    const moved = await run([{ tap, rows: [3], from: [1], map: "twice" }]);
    for (const [i, value] of row(before, 1).entries()) expect(row(moved.get(tap)!.values, 3)[i]).toBeCloseTo(2 * value, 5);
    for (const at of [0, 1, 2]) expect(row(moved.get(after)!.values, at)).toEqual(row(added.get(after)!.values, at));
    for (const [i, value] of row(added.get(after)!.values, 3).entries()) expect(row(moved.get(after)!.values, 3)[i]).toBeCloseTo(value, 3);
  });

  test("a skipped half is a half that adds nothing, and skipped attention is filled before a deeper read", async () => {
    await using opened = await setting({ strict: true });
    const { engine } = opened;
    const text = tokens(6, 4);
    using whole = engine.sequence();
    const expected = logitsOf(await whole.forward({ input: text, want }));
    using skipping = engine.sequence();
    const { taps } = await skipping.forward({
      input: text.slice(0, 5),
      blocks: { "blocks.1.ffn": false, "blocks.1.attn": false },
      want: { taps: ["blocks.1.resid_pre", "blocks.1.resid_post"] },
    });
    expect(taps.get("blocks.1.resid_post")!.values).toEqual(taps.get("blocks.1.resid_pre")!.values);
    expect(logitsOf(await skipping.forward({ input: text.slice(5), want }))).toEqual(expected);
  });

  test("an exit at the last block is the model's own answer", async () => {
    await using opened = await setting();
    using sequence = opened.engine.sequence();
    const { rows } = await sequence.forward({ input: tokens(5, 5), exits: [0, 1], want: { logits: "last", top: 8 } });
    const { candidates, exits } = rows[0]!;
    expect(exits!.get(1)).toEqual(candidates);
    expect(exits!.get(0)).not.toEqual(candidates);
  });

  test("rows that see only what they are shown equal a text without the rest, at the same positions", async () => {
    await using opened = await setting({ strict: true });
    const { engine } = opened;
    const [shared, left, right, last] = [tokens(5, 1), tokens(4, 2), tokens(4, 3), tokens(1, 4)] as const;
    using both = engine.sequence();
    await both.forward({ input: shared });
    await both.forward({ input: left });
    const positions = [5, 6, 7, 8];
    const visible = [
      {
        rows: [0, 4] as const,
        sees: [
          [0, 5],
          [9, 13],
        ] as const,
      },
    ]; // the right part does not see the left one
    await both.forward({ input: right, positions, visible });
    const seen = logitsOf(
      await both.forward({
        input: last,
        positions: [9],
        visible: [
          {
            rows: [0, 1],
            sees: [
              [0, 5],
              [9, 13],
            ],
          },
        ],
        want,
      }),
    );
    using plain = engine.sequence();
    await plain.forward({ input: [...shared, ...right] });
    expect(seen).toEqual(logitsOf(await plain.forward({ input: last, want })));
  });

  test("what is wrong with a request is said by name, and the engine goes on", async () => {
    await using opened = await setting({ contextLength: 64 });
    using sequence = opened.engine.sequence();
    const one = tokens(1, 1);
    const bad: [string, object][] = [
      ["a forward request has no such field", { input: one, temperture: 1 }],
      ["a request can't want this", { input: one, want: { logit: "last" } }],
      ['no tap "blocks.9.resid_pre"', { input: one, want: { taps: ["blocks.9.resid_pre"] } }],
      ["no half-block", { input: one, blocks: { "blocks.0.mlp": false } }],
      ["exits: no block 2", { input: one, exits: [2] }],
      [
        "needs a row in [0, 0] for each of 1 rows",
        { input: one, inject: [{ tap: "blocks.0.resid_post", rows: [0], from: [1], map: "x" }] },
      ],
      ["from needs a registered map", { input: one, inject: [{ tap: "blocks.0.resid_post", rows: [0], from: [0], map: "identity" }] }],
      ['no map "draft" is registered', { input: one, inject: [{ tap: "blocks.0.resid_post", rows: [0], map: "draft" }] }],
      ["embeddings have 3 features", { input: { values: new Float32Array(3), hiddenSize: 3 } }],
      ["embeddings must be finite", { input: { values: new Float32Array(hiddenSize).fill(Number.NaN), hiddenSize } }],
      ['no adapter "a" is loaded', { input: one, adapters: [{ name: "a", scale: 1 }] }],
      ["0 + 65 entries are more than the context of 64", { input: tokens(65, 1) }],
    ];
    for (const [message, request] of bad) await expect(sequence.forward(request as never), message).rejects.toThrow(message);
    expect(logitsOf(await sequence.forward({ input: one, want })).length).toBe(vocabSize);
  });
});
