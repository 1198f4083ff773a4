import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BlockPlan, ForwardRequest, RowStatistics, SkipRule } from "../../src/engine/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, type TinyArchitecture, type TinyOptions, writeTinyModel } from "../support/tiny-model.ts";

const blocks = 4;
let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder[Symbol.dispose]());

async function open(options: TinyOptions = {}) {
  const path = `${folder.path}/${options.architecture ?? "llama"}-${options.type ?? "f32"}.gguf`;
  await writeTinyModel(path, { blocks, ...options });
  return openEngine(path, { contextLength: 256 });
}

const halves = (kinds: readonly string[]) =>
  Array.from({ length: blocks }, (_, block) => kinds.map((kind) => `blocks.${block}.${kind}`)).flat();
const never: SkipRule = { name: "never", decides: halves(["attn", "ffn"]), start: () => undefined, next: () => "run" };
const fixed = (skipped: readonly string[], decides = skipped): SkipRule => ({
  ...{ name: "fixed", decides, start: () => undefined },
  next: (_, block, half) => (skipped.includes(`blocks.${block}.${half}`) ? "skip" : "run"),
});
const planOf = (skipped: readonly string[]): BlockPlan => Object.fromEntries(skipped.map((half) => [half, false] as const));

const next = random(5);
const tokens = (count: number) => Array.from({ length: count }, () => Math.floor(next() * 320) as never);
const want = { fullLogits: true, logits: "all" } as const;

type Opened = Awaited<ReturnType<typeof open>>;

/** Logits of some requests in a row: the last ones show what the first wrote to the cache. */
async function logitsOf({ engine }: Opened, requests: readonly ForwardRequest[]) {
  using sequence = engine.sequence();
  const rows: Float32Array[] = [];
  for (const request of requests) rows.push(...(await sequence.forward({ want, ...request })).rows.map(({ logits }) => logits!));
  return rows;
}

describe.each<TinyArchitecture>(["llama", "qwen3", "gemma3", "gpt2"])("%s", (architecture) => {
  test("a rule that skips nothing gives the bits of the whole pass, prompt and steps", async () => {
    await using opened = await open({ architecture });
    const [prompt, short, step] = [tokens(70), tokens(5), tokens(1)];
    for (const first of [prompt, short]) {
      const plain = await logitsOf(opened, [{ input: first }, { input: step }, { input: step }]);
      const cut = await logitsOf(opened, [{ input: first, blocks: never }, { input: step, blocks: never }, { input: step }]);
      expect(cut).toEqual(plain);
    }
  });

  test("a rule that skips what a block plan names gives the plan's bits", async () => {
    await using opened = await open({ architecture });
    const skipped = ["blocks.1.ffn", "blocks.3.ffn"];
    const [prompt, step] = [tokens(9), tokens(1)];
    const planned = await logitsOf(opened, [
      { input: prompt, blocks: planOf(skipped) },
      { input: step, blocks: planOf(skipped) },
      { input: step },
    ]);
    for (const decides of [skipped, halves(["ffn"]), halves(["attn", "ffn"])]) {
      const rule = fixed(skipped, decides);
      expect(await logitsOf(opened, [{ input: prompt, blocks: rule }, { input: step, blocks: rule }, { input: step }])).toEqual(planned);
    }
  });

  test("a skipped attention half leaves a hole that is filled before it is read", async () => {
    await using opened = await open({ architecture });
    const skipped = ["blocks.2.attn", "blocks.2.ffn"];
    const [prompt, step] = [tokens(9), tokens(1)];
    const planned = await logitsOf(opened, [{ input: prompt }, { input: step, blocks: planOf(skipped) }, { input: step }]);
    expect(await logitsOf(opened, [{ input: prompt }, { input: step, blocks: fixed(skipped) }, { input: step }])).toEqual(planned);
  });
});

test("rows that disagree get what they get alone, on quantized weights too", async () => {
  for (const type of ["f32", "q8_0"] as const) {
    await using opened = await open({ type });
    const rules = [never, fixed(["blocks.0.ffn", "blocks.2.attn"], never.decides), fixed(["blocks.1.ffn", "blocks.2.ffn"], never.decides)];
    const [prompt, step] = [tokens(12), tokens(1)];
    const run = (rule: SkipRule) =>
      logitsOf(opened, [
        { input: prompt, blocks: rule },
        { input: step, blocks: rule },
      ]);
    const alone = [];
    for (const rule of rules) alone.push(await run(rule));
    const before = opened.engine.passCount;
    expect(await Promise.all(rules.map(run))).toEqual(alone);
    expect(opened.engine.passCount - before).toBe(2); // fused
  }
});

test("what ran is counted by row, of plans and of rules that disagree in one pass", async () => {
  await using opened = await open();
  const { engine } = opened;
  const [prompt, step] = [tokens(12), tokens(1)];
  const ranIn = async (requests: readonly ForwardRequest[]) => {
    const sequences = requests.map(() => engine.sequence());
    for (const sequence of sequences) await sequence.forward({ input: prompt });
    const { attn, ffn } = engine.ranHalves;
    const passes = engine.passCount;
    await Promise.all(sequences.map((sequence, index) => sequence.forward({ want, ...requests[index]! })));
    for (const sequence of sequences) sequence[Symbol.dispose]();
    return { attn: engine.ranHalves.attn - attn, ffn: engine.ranHalves.ffn - ffn, passes: engine.passCount - passes };
  };
  const one = (rule: SkipRule | BlockPlan) => ({ input: step, blocks: rule });
  expect(await ranIn([{ input: step }])).toEqual({ attn: 4, ffn: 4, passes: 1 });
  expect(await ranIn([{ input: tokens(5) }])).toEqual({ attn: 20, ffn: 20, passes: 1 });
  // nobody asks for more than the last row: the last half runs for it alone
  expect(await ranIn([{ input: tokens(5), want: { logits: "last" } }])).toEqual({ attn: 20, ffn: 16, passes: 1 });
  expect(await ranIn([one(planOf(["blocks.1.ffn", "blocks.2.attn", "blocks.2.ffn"]))])).toEqual({ attn: 3, ffn: 2, passes: 1 });
  const odd = (half: string) => fixed([half], never.decides);
  expect(await ranIn([one(never), one(odd("blocks.1.ffn")), one(odd("blocks.3.ffn"))])).toEqual({ attn: 12, ffn: 10, passes: 1 });
  // an attention half runs for all rows once one wants it
  expect(await ranIn([one(never), one(odd("blocks.2.attn"))])).toEqual({ attn: 8, ffn: 8, passes: 1 });
  expect(await ranIn([one(odd("blocks.2.attn")), one(odd("blocks.2.attn"))])).toEqual({ attn: 6, ffn: 8, passes: 1 });
});

test("rows of one request may disagree; what was skipped is told by row", async () => {
  await using opened = await open();
  const odd: SkipRule = {
    ...{ name: "odd positions", decides: ["blocks.1.ffn"] },
    start: (position) => position,
    next: (position) => ((position as number) % 2 === 1 ? "skip" : "run"),
  };
  const input = tokens(7);
  using sequence = opened.engine.sequence();
  const { rows } = await sequence.forward({ input, blocks: odd, want: { logits: "all", fullLogits: true } });
  expect(rows.map(({ skipped }) => skipped)).toEqual(input.map((_, row) => (row % 2 === 1 ? ["blocks.1.ffn"] : [])));
  // token by token, each with the plan that fits its position
  const single = await logitsOf(
    opened,
    input.map((token, row) => ({ input: [token], blocks: row % 2 === 1 ? planOf(["blocks.1.ffn"]) : {} })),
  );
  expect(rows.map(({ logits }) => logits)).toEqual(single);
});

test("a rule is shown the cosine of each feed-forward half that ran before it, and is asked in the order of the pass", async () => {
  await using opened = await open();
  const asked: string[] = [];
  let seen: readonly (number | undefined)[] = [];
  const rule: SkipRule = {
    ...{ name: "watch", decides: ["blocks.3.ffn", "blocks.1.ffn", "blocks.3.attn"], start: () => undefined },
    next(_, block, half, { ffnCosine }: RowStatistics) {
      asked.push(`${block}.${half}`);
      seen = [...ffnCosine];
      return block === 1 ? "skip" : "run";
    },
  };
  const [prompt, step] = [tokens(9), tokens(1)];
  const taps = [0, 2].flatMap((block) => [`blocks.${block}.resid_mid`, `blocks.${block}.resid_post`]);
  using watched = opened.engine.sequence();
  await watched.forward({ input: prompt });
  await watched.forward({ input: step, blocks: rule });
  expect(asked).toEqual(["1.ffn", "3.attn", "3.ffn"]);
  using tapped = opened.engine.sequence();
  await tapped.forward({ input: prompt });
  const { taps: states } = await tapped.forward({ input: step, blocks: planOf(["blocks.1.ffn"]), want: { taps } });
  expect(seen[1]).toBeUndefined();
  for (const block of [0, 2]) {
    const [a, b] = [states.get(`blocks.${block}.resid_mid`)!.values, states.get(`blocks.${block}.resid_post`)!.values];
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
    expect(seen[block]).toBeCloseTo(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), 6);
  }
});

test("a rule that fails ends its own request, not its neighbours'", async () => {
  await using opened = await open();
  const [prompt, step] = [tokens(5), tokens(1)];
  const failing = (at: "start" | "next" | "answer"): SkipRule => ({
    ...{ name: "failing", decides: ["blocks.1.ffn"] },
    start() {
      if (at === "start") throw new Error("at start");
    },
    next() {
      if (at === "next") throw new Error("at next");
      return (at === "answer" ? "perhaps" : "run") as never;
    },
  });
  const rule = fixed(["blocks.1.ffn"]);
  const alone = await logitsOf(opened, [
    { input: prompt, blocks: rule },
    { input: step, blocks: rule },
  ]);
  for (const [at, message] of [
    ["start", "at start"],
    ["next", "at next"],
    ["answer", 'must answer "run" or "skip", got perhaps'],
  ] as const) {
    using sequence = opened.engine.sequence();
    await sequence.forward({ input: prompt });
    const failed = sequence.forward({ input: step, blocks: failing(at) });
    const [outcome, neighbour] = await Promise.allSettled([
      failed,
      logitsOf(opened, [
        { input: prompt, blocks: rule },
        { input: step, blocks: rule },
      ]),
    ]);
    expect(outcome).toMatchObject({ status: "rejected", reason: { message: expect.stringContaining(message) } });
    expect(neighbour).toEqual({ status: "fulfilled", value: alone });
    expect(sequence.length).toBe(prompt.length);
    await sequence.forward({ input: step }); // and can go on
  }
});

test("what can't be combined with a rule is refused by name", async () => {
  await using opened = await open();
  using sequence = opened.engine.sequence();
  const blocks = fixed(["blocks.1.ffn"]);
  const input = tokens(2);
  await expect(sequence.forward({ input, blocks, exits: [1] })).rejects.toThrow('the rule "fixed" and exits');
  await expect(sequence.forward({ input, blocks, want: { taps: ["blocks.0.resid_pre"] } })).rejects.toThrow("want.taps");
  await expect(sequence.forward({ input, blocks: { ...blocks, decides: ["blocks.9.ffn"] } })).rejects.toThrow(
    'no half-block "blocks.9.ffn"',
  );
  await expect(sequence.forward({ input, blocks: { ...blocks, decides: undefined } as never })).rejects.toThrow("a rule has a name");
});

test("a tap of an early block alone still writes every block's keys and values", async () => {
  await using opened = await open();
  const [prompt, step] = [tokens(6), tokens(1)];
  const plain = await logitsOf(opened, [{ input: prompt }, { input: step }]);
  using sequence = opened.engine.sequence();
  await sequence.forward({ input: prompt, want: { taps: ["blocks.0.resid_pre"] } });
  const { rows } = await sequence.forward({ input: step, want });
  expect(rows[0]!.logits).toEqual(plain.at(-1));
});

test("a plan may skip every half-block: the embedding goes straight to the head", async () => {
  await using opened = await open();
  const blocks = planOf(halves(["attn", "ffn"]));
  const [[first], [second]] = [tokens(1), tokens(1)] as [[never], [never]];
  const rows = await logitsOf(opened, [{ input: [first, second], blocks }]);
  expect(rows).toEqual(
    await logitsOf(opened, [
      { input: [first], blocks },
      { input: [second], blocks },
    ]),
  );
  const full = await logitsOf(opened, [{ input: [first, second] }]);
  expect(await logitsOf(opened, [{ input: [first], blocks }, { input: [second] }])).toEqual([rows[0], full[1]]);
});
