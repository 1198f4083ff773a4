import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type DecodingModel,
  type GenerateOptions,
  generateText,
  measureSkipOrder,
  type SkipOrder,
  type SkipPart,
} from "../../src/decoding/index.ts";
import { blocksOf } from "../../src/decoding/skipping/layers.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import type { BlockPlan } from "../../src/engine/index.ts";
import type { TokenId } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, writeTinyModel } from "../support/tiny-model.ts";

const tokenizer = toyTokenizer(Array.from({ length: 94 }, (_, id) => String.fromCharCode(33 + id)));
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abcabcabdabc");
const blocks = 6;

describe.each(["f32", "q8_0"] as const)("skipping on the engine, %s", (type) => {
  let folder: ReturnType<typeof temporaryFolder>;
  let opened: Awaited<ReturnType<typeof openEngine>>;
  let model: DecodingModel;
  beforeAll(async () => {
    folder = temporaryFolder();
    await writeTinyModel(`${folder.path}/tiny.gguf`, { type, vocabSize, blocks, hiddenSize: 128 });
    opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 128 });
    const { engine } = opened;
    const plain = { hash: "tiny", vocabSize, contextLength: engine.contextLength, tokenizer, blocks, sequence: () => engine.sequence() };
    const orders = new Map<SkipPart, SkipOrder>(); // measured here, else it would share the first runs' passes
    for (const part of ["ffn", "block"] as const) orders.set(part, await measureSkipOrder(plain, prompt, part));
    model = { ...plain, skipOrder: async (part) => orders.get(part)! };
  });
  afterAll(async () => {
    await opened[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const run = (options: GenerateOptions) => generateText(model, prompt, { maxTokens: 20, ignoreEndTokens: true, logprobs: 1, ...options });

  /** The rows for which the engine ran halves while a run was under way, beside what the run says. */
  const counted = async (options: GenerateOptions) => {
    const { attn, ffn } = opened.engine.ranHalves;
    const { facts } = await run(options);
    const skipped = (kind: "attn" | "ffn") => facts.skips?.blocks.filter(([, , half]) => half === kind).length ?? 0;
    return {
      ran: { attn: opened.engine.ranHalves.attn - attn, ffn: opened.engine.ranHalves.ffn - ffn },
      skips: facts.skips,
      skipped: { attn: skipped("attn"), ffn: skipped("ffn") },
    };
  };
  const steps = 19; // the prompt's pass gives the first of 20 tokens
  const whole = { attn: (prompt.length + steps) * blocks, ffn: (prompt.length + steps) * blocks - (prompt.length - 1) }; // the last half of a prompt runs for its last row

  test("the engine runs as many halves as blocks times rows less those that the facts name", async () => {
    expect((await counted({})).ran).toEqual(whole);
    for (const [skip, numSkipped] of [
      ["ffn,budget=0.5,threshold=0", 3 * steps],
      ["ffn,budget=0.5,threshold=0,warmup=4", 3 * (steps - 4)],
      ["ffn,budget=0.5,threshold=0.2", undefined],
    ] as const) {
      const { ran, skips, skipped } = await counted({ skip });
      expect(skipped).toEqual({ attn: 0, ffn: numSkipped ?? skipped.ffn });
      expect(ran).toEqual({ attn: whole.attn, ffn: whole.ffn - skipped.ffn });
      expect(skips!.run).toBe(2 * blocks * steps - skipped.ffn);
    }
  });

  test("the engine runs as many blocks as the schedule of layers has, step by step", async () => {
    for (const [from, to] of [
      [0.8, 0.4],
      [1, 0.5],
      [0.5, 0.5],
    ] as const) {
      const { ran, skips } = await counted({ skip: `layers,from=${from},to=${to},first=1` });
      const at = Array.from({ length: steps }, (_, index) => blocksOf({ blocks, from, to, first: 1 }, index, 20));
      const sum = at.reduce((total, count) => total + count, 0);
      expect(ran).toEqual({ attn: whole.attn - steps * blocks + sum, ffn: whole.ffn - steps * blocks + sum });
      expect(skips!.run).toBe(2 * sum);
    }
  });

  test("budget 0, an unreachable threshold and all layers are the plain answer, to the bit", async () => {
    const plain = await run({});
    for (const skip of ["ffn,budget=0", "ffn,threshold=1", "layers,from=1,to=1"]) {
      const { tokens, logprobs, facts } = await run({ skip });
      expect([tokens, logprobs]).toEqual([plain.tokens, plain.logprobs]);
      expect(facts.skips).toEqual({ blocks: [], total: 19 * 2 * blocks, run: 19 * 2 * blocks });
    }
  });

  test("ffn: what is skipped is counted, the cache has no holes, and another run gives the same", async () => {
    const skip = "ffn,budget=0.5,threshold=0";
    const before = opened.engine.passCount;
    const once = await run({ skip });
    expect(opened.engine.passCount - before).toBe(once.facts.passes); // nothing was filled
    const { skips } = once.facts;
    expect(skips!.total - skips!.run).toBe(skips!.blocks.length);
    expect(skips!.blocks.length).toBe(19 * 3);
    expect(skips!.blocks.every(([row, block, half]) => row >= 0 && row < 19 && block > 0 && block < blocks - 1 && half === "ffn")).toBe(
      true,
    );
    expect((await run({ skip })).tokens).toEqual(once.tokens);
  });

  test("ffn with a draft gives the tokens without one", async () => {
    const skip = "ffn,budget=0.5,threshold=0.2";
    const plain = await run({ skip });
    for (const draft of ["ngram,shortest=1", "adaptive,iterations=20"]) {
      const drafted = await run({ skip, draft });
      expect([drafted.tokens, drafted.logprobs]).toEqual([plain.tokens, plain.logprobs]);
    }
  });

  test("layers: executed half-blocks follow the schedule, and no hole is ever read", async () => {
    const before = opened.engine.passCount;
    const { facts } = await run({ skip: "layers,from=0.8,to=0.4,first=1" });
    expect(opened.engine.passCount - before).toBe(facts.passes);
    const perRow = Array.from({ length: 19 }, (_, row) => facts.skips!.blocks.filter(([at]) => at === row).length / 2);
    expect(perRow).toEqual([...perRow].sort((a, b) => a - b));
    expect([perRow[0], perRow.at(-1)]).toEqual([1, 3]); // 0.8 of 6 blocks is 5; the 19th of 20 tokens runs 3
  });

  test("layers: rows of different prompts in one pass are what they are alone", async () => {
    const prompts = ["abcabcabdabc", "the quick", "zyxwvutsrqponm"].map((text) => tokenizer.encode(text.replace(" ", "_")));
    const answer = async (tokens: readonly TokenId[]) => {
      const given = { maxTokens: 20, ignoreEndTokens: true, logprobs: 1, skip: "layers,from=0.8,to=0.4,first=1" };
      const { tokens: own, logprobs, facts } = await generateText(model, tokens, given);
      return { said: { own, logprobs, skipped: facts.skips }, passes: facts.passes };
    };
    const alone = [];
    for (const one of prompts) alone.push(await answer(one));
    expect(new Set(alone.map(({ said }) => said.own.join())).size).toBe(3);
    const before = opened.engine.passCount;
    const together = await Promise.all(prompts.map(answer));
    expect(together.map(({ said }) => said)).toEqual(alone.map(({ said }) => said));
    // the prompts have passes of their own, then every step is one pass for all three
    expect(opened.engine.passCount - before).toBeLessThanOrEqual(alone[0]!.passes + prompts.length + 2);
  });

  test("what can't go together is refused by both names", async () => {
    await expect(run({ skip: "layers", draft: "ngram" })).rejects.toThrow("layers and draft ngram can't be combined");
    const { blocks: _, ...without } = model;
    await expect(generateText(without, prompt, { skip: "ffn" })).rejects.toThrow("no blocks that ffn could skip");
  });
});

test("the order of a model is that of trying all that are left, over the whole vocabulary", async () => {
  using folder = temporaryFolder();
  const [numBlocks, prefix] = [6, 64];
  await writeTinyModel(`${folder.path}/tiny.gguf`, { vocabSize: 60, blocks: numBlocks, hiddenSize: 64 });
  await using opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 256 });
  const { engine } = opened;
  const next = random(3);
  const text = Array.from({ length: 150 }, () => Math.floor(next() * 60) as TokenId);
  /** log p of every row and token after the prefix. */
  const logProbabilities = async (blocks: BlockPlan) => {
    using sequence = engine.sequence();
    await sequence.forward({ input: text.slice(0, prefix) });
    const { rows } = await sequence.forward({ input: text.slice(prefix, -1), want: { logits: "all", fullLogits: true }, blocks });
    return rows.map(({ logits }) => {
      const norm = Math.log(logits!.reduce((sum, logit) => sum + Math.exp(logit), 0));
      return Array.from(logits!, (logit) => logit - norm);
    });
  };
  const whole = await logProbabilities({});
  for (const part of ["ffn", "block"] as const) {
    const costOf = async (left: readonly number[]) => {
      const halves = left.flatMap((block) =>
        (part === "ffn" ? ["ffn"] : ["attn", "ffn"]).map((half) => [`blocks.${block}.${half}`, false]),
      );
      const q = await logProbabilities(Object.fromEntries(halves));
      const rows = whole.map((p, row) => {
        const divergence = p.reduce((sum, logP, token) => sum + Math.exp(logP) * (logP - q[row]![token]!), 0);
        const target = text[prefix + row + 1]!;
        return (divergence + p[target]! - q[row]![target]!) / 2;
      });
      return rows.reduce((sum, one) => sum + one, 0) / rows.length;
    };
    const plain = { hash: "tiny", vocabSize: 60, contextLength: 256, tokenizer, blocks: numBlocks, sequence: () => engine.sequence() };
    const { blocks: order, costs } = await measureSkipOrder(plain, text, part);
    expect([...order].sort()).toEqual([1, 2, 3, 4]);
    expect(costs).toHaveLength(3);
    for (const [step, cost] of costs.entries()) {
      const tried = await Promise.all(order.slice(step).map((block) => costOf([...order.slice(0, step), block])));
      expect(Math.abs(cost - tried[0]!)).toBeLessThan(1e-4);
      expect(Math.min(...tried)).toBeGreaterThan(tried[0]! - 1e-4); // none of the others would have been cheaper
    }
  }
});
