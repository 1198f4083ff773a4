import { describe, expect, test } from "vitest";
import type { RowResult, Sequence, Want } from "../../engine/index.ts";
import { DisposedError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";

/**
 * What every {@link Sequence} must keep. Run by each implementation:
 *
 *     sequenceConformance("the toy", { create: () => new ToySequence(toy) });
 *
 * @param options.create     an empty sequence with room for at least 64 entries, over the same distribution each time
 * @param options.tolerance  largest difference of two logits that count as equal; 0 (the default) asks for the same bits
 */
export function sequenceConformance(
  name: string,
  options: { readonly create: () => Sequence | Promise<Sequence>; readonly tolerance?: number },
): void {
  const { create, tolerance = 0 } = options;
  const want = { logits: "last", fullLogits: true } as const satisfies Want;

  /** Logits after `tokens`, from a sequence of its own. */
  async function fresh(tokens: readonly TokenId[]): Promise<Float32Array> {
    using sequence = await create();
    return full(await sequence.forward({ input: tokens, want }));
  }
  function full(result: { readonly rows: readonly RowResult[] }): Float32Array {
    return result.rows.at(-1)!.logits!;
  }
  function expectEqual(actual: Float32Array, expected: Float32Array): void {
    expect(actual.length).toBe(expected.length);
    let largest = 0;
    for (const [index, value] of expected.entries()) largest = Math.max(largest, Math.abs(value - actual[index]!));
    expect(largest).toBeLessThanOrEqual(tolerance);
  }
  /** Some tokens of the vocabulary, the same for the same seed. */
  function some(count: number, seed: number, vocabSize: number): TokenId[] {
    return Array.from({ length: count }, (_, index) => (((index + 1) * 7919 + seed * 104729) % vocabSize) as TokenId);
  }

  describe(`${name} is a sequence`, () => {
    test("token by token gives the logits of one request", async () => {
      using sequence = await create();
      const tokens = some(6, 1, sequence.vocabSize);
      const whole = await fresh(tokens);
      for (const token of tokens.slice(0, -1)) await sequence.forward({ input: [token] });
      expect(sequence.length).toBe(5);
      expectEqual(full(await sequence.forward({ input: tokens.slice(-1), want })), whole);
      expect(sequence.length).toBe(6);
    });

    test("all rows at once are each prefix's last row, in row order", async () => {
      using sequence = await create();
      const tokens = some(5, 2, sequence.vocabSize);
      const { rows } = await sequence.forward({ input: tokens, want: { logits: "all", fullLogits: true } });
      expect(rows.map(({ row }) => row)).toEqual([0, 1, 2, 3, 4]);
      for (const { row, logits } of rows) expectEqual(logits!, await fresh(tokens.slice(0, row + 1)));
    });

    test("rewound, it continues as if the tail had never been", async () => {
      using sequence = await create();
      const tokens = some(8, 3, sequence.vocabSize);
      await sequence.forward({ input: tokens });
      sequence.rewind(4);
      expect(sequence.length).toBe(4);
      const other = some(2, 4, sequence.vocabSize);
      expectEqual(full(await sequence.forward({ input: other, want })), await fresh([...tokens.slice(0, 4), ...other]));
      sequence.rewind(0);
      expectEqual(full(await sequence.forward({ input: other, want })), await fresh(other));
    });

    test("a fork and its origin go their own ways, and either outlives the other", async () => {
      using sequence = await create();
      const [prefix, left, right] = [some(4, 5, sequence.vocabSize), some(3, 6, sequence.vocabSize), some(3, 7, sequence.vocabSize)];
      await sequence.forward({ input: prefix });
      using fork = sequence.fork();
      expect(fork.length).toBe(4);
      const [a, b] = await Promise.all([sequence.forward({ input: left, want }), fork.forward({ input: right, want })]);
      expectEqual(full(a), await fresh([...prefix, ...left]));
      expectEqual(full(b), await fresh([...prefix, ...right]));
      sequence.rewind(2);
      using second = fork.fork();
      fork[Symbol.dispose]();
      expectEqual(full(await second.forward({ input: left, want })), await fresh([...prefix, ...right, ...left]));
      expect(sequence.length).toBe(2);
    });

    test("every row of a tree has the logits of its path", async () => {
      using sequence = await create();
      const prefix = some(3, 8, sequence.vocabSize);
      await sequence.forward({ input: prefix });
      const input = some(7, 9, sequence.vocabSize);
      const parents = [-1, 0, 0, -1, 3, 1, 4];
      const { rows } = await sequence.forward({ input, parents, want: { logits: "all", fullLogits: true } });
      expect(sequence.length).toBe(10);
      for (const { row, logits } of rows) expectEqual(logits!, await fresh([...prefix, ...pathOf(parents, row).map((r) => input[r]!)]));
    });

    test("keep leaves one path of a tree", async () => {
      using sequence = await create();
      const prefix = some(3, 10, sequence.vocabSize);
      const input = some(7, 11, sequence.vocabSize);
      const parents = [-1, 0, 0, -1, 3, 1, 4];
      const next = some(1, 12, sequence.vocabSize);
      for (const rows of [[0, 1, 5], [3, 4, 6], [0, 2], []]) {
        sequence.rewind(0);
        await sequence.forward({ input: prefix });
        await sequence.forward({ input, parents });
        sequence.keep(rows);
        expect(sequence.length).toBe(3 + rows.length);
        const path = rows.map((row) => input[row]!);
        expectEqual(full(await sequence.forward({ input: next, want })), await fresh([...prefix, ...path, ...next]));
      }
    });

    test("keep refuses rows that are no path, and changes nothing then", async () => {
      using sequence = await create();
      expect(() => sequence.keep([0])).toThrow(RangeError);
      await sequence.forward({ input: some(3, 13, sequence.vocabSize), parents: [-1, -1, 1] });
      for (const rows of [[0, 1], [2], [3], [-1], [0.5]]) expect(() => sequence.keep(rows)).toThrow(RangeError);
      expect(sequence.length).toBe(3);
      sequence.keep([1, 2]);
      expect(sequence.length).toBe(2);
    });

    test("after an error it has its old length and still works", async () => {
      using sequence = await create();
      const tokens = some(4, 14, sequence.vocabSize);
      await sequence.forward({ input: tokens });
      const one = tokens.slice(0, 1);
      const bad = [
        { input: [] },
        { input: [sequence.vocabSize as TokenId] },
        { input: [-1 as TokenId] },
        { input: [0.5 as TokenId] },
        { input: Array.from({ length: sequence.contextLength }, () => tokens[0]!) },
        { input: one, parents: [0] },
        { input: one, parents: [-2] },
        { input: one, parents: [-1, 0] },
        { input: one, positions: [0, 1] },
        { input: one, want: { logits: [1] } },
        { input: one, want: { logits: "last", top: 0 } },
        { input: one, want: { logits: "last", scores: [] } },
        { input: one, want: { logits: "last", scores: [[sequence.vocabSize as TokenId]] } },
        { input: one, signal: AbortSignal.abort(new Error("stop")) },
      ] as const;
      for (const request of bad) {
        await expect(sequence.forward(request), JSON.stringify(request).slice(0, 120)).rejects.toThrow();
        expect(sequence.length).toBe(4);
      }
      expect(() => sequence.rewind(5)).toThrow(RangeError);
      expect(() => sequence.rewind(-1)).toThrow(RangeError);
      expect(() => sequence.rewind(1.5)).toThrow(RangeError);
      expectEqual(full(await sequence.forward({ input: one, want })), await fresh([...tokens, ...one]));
    });

    test("candidates are the largest logits, sorted, ties to the lowest id, with the row's log-sum-exp", async () => {
      using sequence = await create();
      const tokens = some(4, 15, sequence.vocabSize);
      for (const top of [1, 3, sequence.vocabSize]) {
        sequence.rewind(0);
        const row = (await sequence.forward({ input: tokens, want: { logits: "last", top, fullLogits: true } })).rows[0]!;
        const logits = row.logits!;
        expect(row.row).toBe(3);
        expect(logits.length).toBe(sequence.vocabSize);
        const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
        expect([...row.candidates!.ids]).toEqual(order.slice(0, top));
        expect([...row.candidates!.logits]).toEqual(order.slice(0, top).map((id) => logits[id]));
        const max = logits[order[0]!]!;
        const logSumExp = max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
        expect(Math.abs(row.candidates!.logSumExp - logSumExp)).toBeLessThan(1e-4); // float32 sums over the vocabulary
      }
    });

    test("scores are the logits of the tokens listed, row by row", async () => {
      using sequence = await create();
      const tokens = some(3, 16, sequence.vocabSize);
      const lists = [some(2, 17, sequence.vocabSize), [], [tokens[0]!, tokens[0]!]];
      const { rows } = await sequence.forward({ input: tokens, want: { logits: "all", scores: lists, fullLogits: true } });
      for (const [index, { scores, logits }] of rows.entries()) expect([...scores!]).toEqual(lists[index]!.map((id) => logits![id]));
    });

    test("default positions are the ones that may be given", async () => {
      using sequence = await create();
      const tokens = some(5, 18, sequence.vocabSize);
      await sequence.forward({ input: tokens.slice(0, 2), positions: [0, 1] });
      const result = await sequence.forward({ input: tokens.slice(2), parents: [-1, 0, 1], positions: [2, 3, 4], want });
      expectEqual(full(result), await fresh(tokens));
    });

    test("disposed, it refuses", async () => {
      const sequence = await create();
      sequence[Symbol.dispose]();
      sequence[Symbol.dispose]();
      await expect(sequence.forward({ input: [0 as TokenId] })).rejects.toThrow(DisposedError);
      expect(() => sequence.fork()).toThrow(DisposedError);
      expect(() => sequence.rewind(0)).toThrow(DisposedError);
    });
  });
}

function pathOf(parents: readonly number[], row: number): number[] {
  const path: number[] = [];
  for (let at = row; at !== -1; at = parents[at]!) path.unshift(at);
  return path;
}
