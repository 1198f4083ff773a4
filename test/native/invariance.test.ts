import { afterAll, describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import type { ForwardRequest, ForwardResult } from "../../src/engine/index.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import type { TensorType } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const types: TensorType[] = ["q4_0", "q4_1", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_nl", "f16", "bf16", "f32"];
const vocabSize = 320;
const tokens = (count: number, seed: number): TokenId[] => {
  const next = random(seed);
  return Array.from({ length: count }, () => Math.floor(next() * vocabSize) as TokenId);
};
const want = { logits: "last", fullLogits: true } as const;
const logitsOf = (result: ForwardResult) => result.rows.at(-1)!.logits!;

/** Logits of the last token after a text that was evaluated in these parts. */
async function evaluate(engine: Engine, parts: readonly (readonly TokenId[])[], more: Partial<ForwardRequest> = {}): Promise<Float32Array> {
  using sequence = engine.sequence();
  let result: ForwardResult | undefined;
  for (const part of parts) result = await sequence.forward({ input: part, want, ...more });
  return logitsOf(result!);
}

describe.each(types)("with %s weights not one bit differs", (type) => {
  const setting = async (options: Parameters<typeof openEngine>[1] = {}) => {
    const folder = temporaryFolder();
    await writeTinyModel(`${folder.path}/tiny.gguf`, { type, blocks: 2 });
    const opened = await openEngine(`${folder.path}/tiny.gguf`, options);
    return {
      ...opened,
      async [Symbol.asyncDispose]() {
        await opened[Symbol.asyncDispose]();
        folder[Symbol.dispose]();
      },
    };
  };

  test("fused = alone, at ragged lengths that cross 512 cells, and tree = its paths", async () => {
    await using opened = await setting();
    const { engine } = opened;
    const lengths = [3, 40, 130, 505, 511, 560, 20, 21, 22]; // nine streams run in a pass of twelve
    const sequences = lengths.map(() => engine.sequence());
    for (const [index, sequence] of sequences.entries()) await sequence.forward({ input: tokens(lengths[index]!, index) });
    const alone: Float32Array[][] = [];
    for (const [index, sequence] of sequences.entries()) {
      const rows: Float32Array[] = [];
      for (const token of tokens(8, 100 + index)) rows.push(logitsOf(await sequence.forward({ input: [token], want })));
      sequence.rewind(lengths[index]!);
      alone.push(rows);
    }
    const before = engine.passCount;
    const fused: Float32Array[][] = sequences.map(() => []);
    await Promise.all(
      sequences.map(async (sequence, index) => {
        for (const token of tokens(8, 100 + index)) fused[index]!.push(logitsOf(await sequence.forward({ input: [token], want })));
      }),
    );
    expect(engine.passCount - before).toBe(8); // they did share their passes
    expect(fused).toEqual(alone);

    const sequence = sequences[3]!;
    const long = sequence.length;
    sequence.rewind(lengths[3]!);
    expect(long).toBe(513);
    const parents = [-1, 0, 0, 1, 1, 2, 5, -1, 7];
    const nodes = tokens(parents.length, 9);
    const tree = await sequence.forward({ input: nodes, parents, want: { logits: "all", fullLogits: true } });
    sequence.rewind(lengths[3]!);
    for (const [row, result] of tree.rows.entries()) {
      const path: TokenId[] = [];
      for (let at = row; at !== -1; at = parents[at]!) path.unshift(nodes[at]!);
      let last: ForwardResult | undefined;
      for (const token of path) last = await sequence.forward({ input: [token], want });
      sequence.rewind(lengths[3]!);
      expect(result.logits).toEqual(logitsOf(last!));
    }
    for (const one of sequences) one[Symbol.dispose]();
  });

  test("1 thread = 2 threads, prompt and steps", async () => {
    const text = tokens(150, 1);
    const results: Float32Array[] = [];
    for (const threads of [1, 2]) {
      await using opened = await setting({ threads });
      results.push(await evaluate(opened.engine, [text, ...text.slice(0, 4).map((token) => [token])]));
    }
    expect(results[0]).toEqual(results[1]);
  });

  test("strict: forked = rewound = chunked = fresh", async () => {
    await using opened = await setting({ strict: true });
    const { engine } = opened;
    const text = tokens(600, 2);
    const fresh = await evaluate(engine, [text]);
    expect(await evaluate(engine, [text.slice(0, 1), text.slice(1, 70), text.slice(70, 71), text.slice(71, 590), text.slice(590)])).toEqual(
      fresh,
    );
    using sequence = engine.sequence();
    await sequence.forward({ input: text.slice(0, 400) });
    await sequence.forward({ input: tokens(30, 3) });
    sequence.rewind(400);
    using fork = sequence.fork();
    await sequence.forward({ input: tokens(5, 4) });
    expect(logitsOf(await fork.forward({ input: text.slice(400), want }))).toEqual(fresh);
  });

  test("preempted = undisturbed", async () => {
    await using small = await setting({ contextLength: 256, cacheBytes: 2 * 256 * 2 * 2 * 2 * 64 * 2 });
    const { engine } = small;
    expect(engine.statistics().streams).toBe(2);
    const texts = [0, 1, 2, 3, 4].map((seed) => tokens(40, seed));
    const sequences = texts.map(() => engine.sequence());
    for (const [seed, sequence] of sequences.entries()) await sequence.forward({ input: texts[seed]! }); // each puts an idle one aside
    const answers = await Promise.all(
      sequences.map(async (sequence, seed) => {
        let logits = new Float32Array();
        for (const token of tokens(6, 50 + seed)) logits = logitsOf(await sequence.forward({ input: [token], want })) as typeof logits;
        return logits;
      }),
    );
    expect(engine.statistics().preemptions).toBeGreaterThan(0);
    for (const [seed, text] of texts.entries())
      expect(answers[seed]).toEqual(await evaluate(engine, [text, ...tokens(6, 50 + seed).map((token) => [token])]));
    for (const sequence of sequences) sequence[Symbol.dispose]();
    expect(engine.statistics()).toMatchObject({ streamsUsed: 0, savedBytes: 0, queued: 0 });
  });
});
