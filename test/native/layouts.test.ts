import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DecodingModel, type GenerateOptions, generateText, layOutPrompt } from "../../src/decoding/index.ts";
import type { LayoutPrompt } from "../../src/decoding/prompting/prompt.ts";
import { layOutParts, type SetEdits } from "../../src/decoding/prompting/set.ts";
import { toyTokenizer } from "../../src/decoding/testing/toy-tokenizer.ts";
import type { TokenId } from "../../src/token.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { random, type TinyArchitecture, writeTinyModel } from "../support/tiny-model.ts";

const tokenizer = toyTokenizer(Array.from({ length: 94 }, (_, id) => String.fromCharCode(33 + id)));
const { vocabSize } = tokenizer;
const next = random(5);
const letters = (count: number) => tokenizer.decode(Array.from({ length: count }, () => Math.floor(next() * 94) as TokenId));
// longer than two chunks of 64 rows, with a chunk's end inside a member
const head = letters(40);
const members = [letters(20), letters(33), letters(9), letters(17)];
const tail = letters(30);
const orders = permutations([0, 1, 2, 3]);

function permutations(items: readonly number[]): number[][] {
  return items.length === 0
    ? [[]]
    : items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}

/** An engine over a random checkpoint, and a model on it. */
async function open(options: {
  architecture?: TinyArchitecture;
  type?: "f32" | "q4_0" | "q8_0";
  strict?: boolean;
  cacheType?: "f32" | "f16";
}) {
  const folder = temporaryFolder();
  const { architecture = "llama", type = "f32", ...engineOptions } = options;
  await writeTinyModel(`${folder.path}/tiny.gguf`, { architecture, type, vocabSize, blocks: 2, contextLength: 512 });
  const opened = await openEngine(`${folder.path}/tiny.gguf`, { contextLength: 512, chunkRows: 64, ...engineOptions });
  const { engine } = opened;
  const sequence = () => engine.sequence();
  const model: DecodingModel = { hash: "tiny", vocabSize, contextLength: engine.contextLength, tokenizer, sequence };
  return {
    ...{ engine, model },
    async [Symbol.asyncDispose]() {
      expect(engine.statistics().streamsUsed).toBe(0);
      await opened[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** Logits after the prompt and greedy tokens, of parts laid out with some of the edits. */
async function plainRun(model: DecodingModel, order: readonly number[], edits: SetEdits, count: number) {
  const encode = (text: string) => tokenizer.encode(text);
  const { tokens, positions, visible } = layOutParts([encode(head), order.map((index) => encode(members[index]!)), encode(tail)], edits);
  const sequence = await model.sequence({ maxLength: 256 });
  const laidOut = { ...(positions === undefined ? {} : { positions }), ...(visible === undefined ? {} : { visible }) };
  let result = await sequence.forward({ input: tokens, ...laidOut, want: { fullLogits: true } });
  const logits = result.rows[0]!.logits!;
  const answer: number[] = [];
  for (let index = 0; index < count; index++) {
    answer.push(result.rows[0]!.candidates!.ids[0]!);
    result = await sequence.forward({ input: [answer.at(-1)! as TokenId], want: { top: 1 } });
  }
  sequence[Symbol.dispose]();
  return { logits, answer };
}

const largest = (a: Float32Array, b: Float32Array) => a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0);

describe.each<TinyArchitecture>(["llama", "gemma3", "gpt2"])(
  "a set in float32, in the order in which it is written, %s",
  (architecture) => {
    test("no order of its members changes a logit by 1e-4 or a token; without either edit the order shows", async () => {
      await using opened = await open({ architecture, cacheType: "f32" });
      const first = await plainRun(opened.model, orders[0]!, { positions: true, visible: true, sorted: false }, 12);
      const controls = { positions: 0, visible: 0 };
      for (const order of orders.slice(1)) {
        const other = await plainRun(opened.model, order, { positions: true, visible: true, sorted: false }, 12);
        expect(largest(other.logits, first.logits)).toBeLessThan(1e-4);
        expect(other.answer).toEqual(first.answer);
      }
      for (const edit of ["positions", "visible"] as const) {
        const edits = { positions: true, visible: true, sorted: false, [edit]: false };
        const [a, b] = [await plainRun(opened.model, orders[0]!, edits, 0), await plainRun(opened.model, orders.at(-1)!, edits, 0)];
        controls[edit] = largest(a.logits, b.logits);
      }
      expect(controls.positions).toBeGreaterThan(1e-2);
      expect(controls.visible).toBeGreaterThan(1e-2);
    });
  },
);

describe.each([
  { type: "q4_0", strict: false },
  { type: "q8_0", strict: false },
  { type: "q4_0", strict: true },
] as const)("a set on quantized weights, %o", (given) => {
  let opened: Awaited<ReturnType<typeof open>>;
  beforeAll(async () => {
    opened = await open(given);
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  const prompt = (order: readonly number[]): LayoutPrompt => ({ kind: "set", prompt: [head, order.map((index) => members[index]!), tail] });
  const options = { maxTokens: 12, ignoreEndTokens: true, logprobs: 2 } as const;

  test.each<GenerateOptions>([
    {},
    { temperature: 1.1, topP: 0.9, seed: 4, repetitionPenalty: 1.3, draft: "ngram,shortest=1" },
    { search: "contrastive,k=3" },
  ])("every order gives the same tokens and log-probabilities, to the bit: %o", async (more) => {
    const first = await generateText(opened.model, prompt(orders[0]!), { ...options, ...more });
    for (const order of orders.slice(1)) {
      const other = await generateText(opened.model, prompt(order), { ...options, ...more });
      expect(other.tokens).toEqual(first.tokens);
      expect(other.logprobs).toEqual(first.logprobs);
    }
  });

  test("as the paper's positions and mask, written down: the answer goes on after the longest member and the text behind the set", async () => {
    const { logprobs, tokens } = await generateText(opened.model, prompt(orders[5]!), options);
    const parts = members.map((member) => tokenizer.encode(member)).sort((a, b) => a[0]! - b[0]!);
    const [a, longest, d] = [head.length, Math.max(...members.map(({ length }) => length)), tail.length];
    const input = [...tokenizer.encode(head), ...parts.flat(), ...tokenizer.encode(tail)];
    const start = (index: number) => a + parts.slice(0, index).reduce((sum, { length }) => sum + length, 0);
    using sequence = opened.engine.sequence();
    const { rows } = await sequence.forward({
      input,
      positions: [
        ...Array.from({ length: a }, (_, index) => index),
        ...parts.flatMap((part) => part.map((_, index) => a + index)),
        ...Array.from({ length: d }, (_, index) => a + longest + index),
      ],
      visible: parts.map((part, index) => {
        const own = [start(index), start(index) + part.length] as const;
        return { rows: own, sees: [[0, a], own] };
      }),
      want: { top: 2 },
    });
    let { ids, logits, logSumExp } = rows[0]!.candidates!;
    for (const [step, { id, logprob, top }] of logprobs!.entries()) {
      expect([id, top.map((entry) => entry.id)]).toEqual([ids[0], [...ids]]);
      expect(logprob).toBe(logits[0]! - logSumExp);
      const positions = [a + longest + d + step];
      const { rows } = await sequence.forward({ input: [tokens[step]!], positions, want: { top: 2 } });
      ({ ids, logits, logSumExp } = rows[0]!.candidates!);
    }
  });

  test("a set of one member is the plain prompt", async () => {
    const alone: LayoutPrompt = { kind: "set", prompt: [head, [members[0]!], tail] };
    const plain = await generateText(opened.model, tokenizer.encode(head + members[0]! + tail), options);
    const laidOut = await generateText(opened.model, alone, options);
    expect(laidOut.tokens).toEqual(plain.tokens);
    expect(laidOut.logprobs).toEqual(plain.logprobs);
  });
});

test("token by token, as one request over the whole text: 0 bits differ with strict", async () => {
  await using opened = await open({ type: "q4_0", strict: true });
  const prompt: LayoutPrompt = { kind: "set", prompt: [head, members, tail] };
  const { tokens, logprobs } = await generateText(opened.model, prompt, { maxTokens: 10, ignoreEndTokens: true, logprobs: 0 });
  const plan = await layOutPrompt(opened.model, prompt);
  const last = plan.positions!.at(-1)!;
  const input = [...plan.tokens, ...tokens.slice(0, -1)];
  const rows = tokens.map((_, step) => plan.tokens.length - 1 + step);
  using sequence = opened.engine.sequence();
  const whole = await sequence.forward({
    ...{ input, visible: plan.visible!, positions: [...plan.positions!, ...tokens.slice(1).map((_, step) => last + 1 + step)] },
    want: { logits: rows, top: 1, scores: tokens.map((token) => [token]) },
  });
  expect(whole.rows.map(({ scores, candidates }) => scores![0]! - candidates!.logSumExp)).toEqual(logprobs!.map(({ logprob }) => logprob));
});
