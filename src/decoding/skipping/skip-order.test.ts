import { describe, expect, test } from "vitest";
import type { BlockPlan, ForwardRequest, RowResult, Sequence } from "../../engine/index.ts";
import type { TokenId } from "../../token.ts";
import type { DecodingModel } from "../model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { measureSkipOrder } from "./skip-order.ts";

const tokens = Array.from({ length: 700 }, (_, index) => (index % 2) as TokenId);

/** A model of two tokens, equally probable as long as all its blocks run; what is left out moves one of the logits. */
function toyModel(blocks: number, shift: (leftOut: readonly number[], halves: number) => number) {
  const seen = { lengths: [] as number[], disposed: 0 };
  const model: DecodingModel = {
    ...{ hash: "toy", vocabSize: 2, contextLength: 1000, tokenizer: toyTokenizer(["a", "b"]), blocks },
    sequence() {
      let length = 0;
      const forward = async ({ input, want, blocks: plan = {}, signal }: ForwardRequest) => {
        signal?.throwIfAborted();
        const given = input as readonly TokenId[];
        length += given.length;
        const names = Object.keys(plan as BlockPlan);
        const x = shift([...new Set(names.map((name) => Number(name.split(".")[1])))], names.length);
        if (names.length > 0) seen.lengths.push(length);
        const [logits, logSumExp] = [new Float32Array([x, 0]), Math.log(Math.exp(x) + 1)];
        const row = (index: number): RowResult => ({
          ...{ row: index, candidates: { ids: new Int32Array([0, 1]), logits, logSumExp } },
          ...(want?.scores === undefined ? {} : { scores: Float32Array.from(want.scores[index]!, (token) => logits[token]!) }),
        });
        return { rows: want === undefined ? [] : given.map((_, index) => row(index)), taps: new Map(), cost: {} as never };
      };
      const rewind = (to: number) => {
        length = to;
      };
      const dispose = () => {
        seen.disposed += 1;
      };
      return { contextLength: 1000, forward, rewind, [Symbol.dispose]: dispose } as unknown as Sequence;
    },
  };
  return { model, seen };
}
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
/** Half KL((1/2, 1/2) ‖ (σ(x), σ(-x))), half what the text's tokens become less probable by: those behind the 64 read in full of each 256. */
function costAt(x: number): number {
  const targets = [...tokens.slice(65, 257), ...tokens.slice(256 + 65, 513), ...tokens.slice(512 + 65)];
  const lost = targets.map((token) => Math.log(1 + Math.exp(token === 0 ? -x : x)) - Math.log(2));
  return (Math.log(Math.cosh(x / 2)) + sum(lost) / targets.length) / 2;
}

describe("the order in which a model does without its parts", () => {
  const weights = [9, 0.7, 0.3, 0.9, 0.1, 1.1, 0.5, 0.8, 0.2, 1, 0.4, 9];
  const rising = [4, 8, 2, 10, 6, 1, 7, 3, 9, 5]; // but for the first and the last

  test.each(["ffn", "block"] as const)("%s: by what leaving out costs, and the costs are the formula's", async (part) => {
    const { model, seen } = toyModel(12, (leftOut, halves) => {
      expect(halves).toBe(leftOut.length * (part === "ffn" ? 1 : 2));
      return sum(leftOut.map((block) => weights[block]!));
    });
    const progress: number[][] = [];
    const { blocks, costs } = await measureSkipOrder(model, tokens, part, { onProgress: (...one) => progress.push(one) });
    expect(blocks).toEqual(rising);
    expect(costs).toHaveLength(6);
    for (const [step, cost] of costs.entries())
      expect(cost).toBeCloseTo(costAt(sum(rising.slice(0, step + 1).map((block) => weights[block]!))), 5);
    expect(progress).toEqual(Array.from({ length: 35 }, (_, index) => [index + 1, 35])); // ten, then five in each of five steps
    expect(new Set(seen.lengths)).toEqual(new Set([128, 192, 256, 187]));
    expect(seen.disposed).toBe(1);
  });

  test("two that can't both be left out are not, though each alone is cheap", async () => {
    const { model } = toyModel(
      12,
      (leftOut) => sum(leftOut.map((block) => weights[block]!)) + ([4, 8].every((one) => leftOut.includes(one)) ? 6 : 0),
    );
    const { blocks } = await measureSkipOrder(model, tokens, "ffn");
    expect(blocks).toEqual([4, 2, 10, 6, 1, 7, 3, 9, 5, 8]);
  });

  test("a model of two blocks keeps both; a text of one token and an abort are refused, and give the sequence back", async () => {
    expect(await measureSkipOrder(toyModel(2, () => 1).model, tokens, "ffn")).toEqual({ blocks: [], costs: [] });
    const { model, seen } = toyModel(6, sum);
    await expect(measureSkipOrder(model, tokens.slice(0, 1), "ffn")).rejects.toThrow("at least 2 tokens");
    const abort = new AbortController();
    const options = { signal: abort.signal, onProgress: () => abort.abort(new Error("enough")) };
    await expect(measureSkipOrder(model, tokens, "block", options)).rejects.toThrow("enough");
    expect(seen.disposed).toBe(1);
  });
});
