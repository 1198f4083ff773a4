import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { Chat } from "../chat.ts";
import { generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { chiSquare, type Law, referenceShapes, softmax } from "../testing/reference.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { chain, type Draft } from "./draft.ts";
import { NgramState } from "./ngram.ts";
import { generateWith, lengths, randomTree, scriptedDraft } from "./testing.ts";

const tokenizer = toyTokenizer([..."abcdefg |"]);
const { vocabSize } = tokenizer;
/** Every token of the path matters, and the largest logits stand close together. */
function logits(tokens: readonly TokenId[]): number[] {
  const hash = tokens.reduce((sum: number, token) => (sum * 31 + token * 7) % 9973, 5);
  return Array.from({ length: vocabSize }, (_, id) => ((hash * (id + 3)) % 41) / 8);
}
/** Loops, so that look-ups find something. */
const looping = (tokens: readonly TokenId[]) =>
  Array.from({ length: vocabSize }, (_, id) => (id === (tokens.at(-1)! * 3 + tokens.at(-2)!) % 8 ? 4 : id / 20));
const model = (law = logits, contextLength = 256) => toyModel(tokenizer, { logits: law, contextLength });
const prompt = tokenizer.encode("abcab");

/** mulberry32 */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Guesses at random, at the truth, and at the truth with wrong tokens beside and after it. */
function adversary(seed: number, options: GenerateOptions): Draft {
  const random = randomOf(seed);
  const truth = generateText(model(), prompt, { ...options, ignoreEndTokens: true });
  let tokens: readonly TokenId[] = [];
  void truth.then((result) => (tokens = result.tokens));
  return scriptedDraft((known, { maxNodes }) => {
    const tree = randomTree(random, Math.min(10, maxNodes + 3), vocabSize);
    if (random() < 0.3) return tree;
    const next = tokens.slice(known.length - prompt.length).slice(0, 1 + Math.floor(random() * 6));
    const good = chain(next as TokenId[]);
    return { tokens: [...good.tokens, ...tree.tokens], parents: [...good.parents, ...tree.parents] };
  });
}

const settings: readonly [string, GenerateOptions][] = [
  ["greedy", {}],
  ["greedy with guides", { repetitionPenalty: 1.3, frequencyPenalty: 0.4, presencePenalty: 0.2, bias: { 2: 1.5 } }],
  ["sampled", { temperature: 1.3, seed: 4 }],
  ["sampled, truncated", { temperature: 0.8, topK: 6, topP: 0.9, minP: 0.02, seed: 5 }],
  ["sampled, needing full rows", { temperature: 1, typical: 0.7, seed: 6 }],
  ["sampled under guides", { temperature: 1, topK: 5, repetitionPenalty: 1.5, frequencyPenalty: 0.5, seed: 7 }],
  ["with a stop text", { stop: ["ga", "| "], temperature: 1, seed: 8 }],
  ["with a stop token", { stopTokens: [3] }],
  ["with log-probabilities", { logprobs: 3, promptLogprobs: 2, temperature: 1, seed: 9 }],
  ["past end tokens", { ignoreEndTokens: true, temperature: 1.5, seed: 10 }],
];

describe.each(settings)("%s", (_, options) => {
  test("the answer is that without a draft, whatever is drafted", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 40 }), async (seed, maxTokens) => {
        const given = { ...options, maxTokens };
        const plain = await generateText(model(), prompt, given);
        const toy = model();
        const drafted = await generateWith(adversary(seed, given), toy, prompt, given);
        for (const key of ["text", "tokens", "finishReason", "stoppedBy", "usage", "logprobs", "promptLogprobs"] as const) {
          expect(drafted[key]).toEqual(plain[key]);
        }
        expect(drafted.facts.guides).toEqual(plain.facts.guides);
        expect(drafted.facts.passes).toBeLessThanOrEqual(plain.facts.passes + 1);
        // the sequence is left as a plain run leaves it: without the last token
        expect(lengths.get(toy)).toBe(prompt.length + Math.max(plain.tokens.length - 1, 0));
        const { drafts, tokens } = drafted.facts;
        const accepted = tokens.filter(({ source }) => source === "draft");
        expect(accepted.every(({ drafted }) => drafted?.accepted === true)).toBe(true);
        expect(drafts!.accepted).toBe(accepted.length);
        expect(drafts!.byPosition.reduce((sum, count) => sum + count, 0)).toBe(accepted.length);
        expect(drafts!.accepted).toBeLessThanOrEqual(drafts!.drafted);
        const { byWidth } = drafts!;
        expect(byWidth.reduce((sum, one) => sum + one.accepted, 0)).toBe(drafts!.accepted);
        expect(byWidth.reduce((sum, one) => sum + one.passes * one.drafted, 0)).toBe(drafts!.drafted);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 1000 : 25 },
    );
  });
});

describe("sampling with drafts follows the law of plain sampling (chi-square, 99.9 %)", () => {
  const small = toyTokenizer(["a", "b", "c"]);
  const law = (tokens: readonly TokenId[]): Law =>
    softmax(Array.from({ length: 5 }, (_, id) => (((tokens.length * 5 + tokens.at(-1)! * 3) * (id + 2)) % 7) / 3));
  const toy = () => toyModel(small, { logits: (tokens) => law(tokens).map(Math.log), contextLength: 16 });
  const start = small.encode("a");
  // a wide tree, a chain of the likeliest, a chain of the unlikeliest
  const drafts: readonly [string, Draft][] = [
    ["a wide tree", scriptedDraft(() => ({ tokens: [0, 1, 2, 0, 1] as TokenId[], parents: [-1, -1, -1, 0, 1] }))],
    [
      "the likeliest",
      scriptedDraft((tokens) => {
        const first = law(tokens).indexOf(Math.max(...law(tokens))) as TokenId;
        return chain([first, first]);
      }),
    ],
    ["the unlikeliest", scriptedDraft((tokens) => chain([law(tokens).indexOf(Math.min(...law(tokens))) as TokenId]))],
  ];
  test.each(drafts)("%s", async (_, draft) => {
    const counts = new Array<number>(125).fill(0);
    for (let seed = 0; seed < 1200; seed++) {
      const options = { maxTokens: 3, temperature: 1.4, ignoreEndTokens: true, seed };
      const { tokens } = await generateWith(draft, toy(), start, options);
      counts[tokens[0]! * 25 + tokens[1]! * 5 + tokens[2]!]!++;
    }
    const joint = new Array<number>(125).fill(0);
    const step = (tokens: TokenId[]) => referenceShapes.temperature!(law(tokens), 1.4);
    for (let a = 0 as TokenId; a < 5; a++)
      for (let b = 0 as TokenId; b < 5; b++)
        for (let c = 0 as TokenId; c < 5; c++)
          joint[a * 25 + b * 5 + c] =
            step(start)[a]! * step([...start, a as TokenId])[b]! * step([...start, a as TokenId, b as TokenId])[c]!;
    const { statistic, limit } = chiSquare(counts, joint);
    expect(statistic).toBeLessThan(limit);
  });
});

test("a guess is accepted with the model's probability of it, whatever it is", async () => {
  const small = toyTokenizer(["a", "b", "c"]);
  const law = softmax([1.2, 0.1, -0.4, 0.7, -2]);
  const start = small.encode("a");
  const runs = 1500;
  for (const guess of [0, 1, 2, 3, 4] as TokenId[]) {
    let accepted = 0;
    for (let seed = 0; seed < runs; seed++) {
      const toy = toyModel(small, { logits: () => law.map(Math.log), contextLength: 16 });
      const options = { maxTokens: 3, temperature: 1.3, ignoreEndTokens: true, seed };
      // the prompt's row gives the first token and nothing follows the last one, so the second is the only guess
      const { facts } = await generateWith(
        scriptedDraft(() => chain([guess])),
        toy,
        start,
        options,
      );
      accepted += facts.drafts!.accepted;
    }
    const p = referenceShapes.temperature!(law, 1.3)[guess]!;
    expect(Math.abs(accepted / runs - p), `guess ${guess}`).toBeLessThan(3.5 * Math.sqrt((p * (1 - p)) / runs));
  }
});

test("a draft that is always right gives its tokens and one more in each pass", async () => {
  const options = { maxTokens: 20, ignoreEndTokens: true };
  const { tokens } = await generateText(model(), prompt, options);
  const oracle = scriptedDraft((known) => chain(tokens.slice(known.length - prompt.length).slice(0, 4)));
  const result = await generateWith(oracle, model(), prompt, options);
  // the prompt's pass gives one token, three passes five each, the last one the four that are left
  expect(result.facts.passes).toBe(1 + 4);
  expect(result.facts.drafts).toEqual({
    ...{ method: "scripted", drafted: 15, accepted: 15, byPosition: [4, 4, 4, 3] },
    byWidth: [
      { drafted: 3, passes: 1, accepted: 3 },
      { drafted: 4, passes: 3, accepted: 12 },
    ],
  });
  expect(result.facts.tokens.filter(({ source }) => source === "draft")).toHaveLength(15);
});

test("what can't be accepted is not verified: after end tokens, beyond the answer, forbidden by a guide", async () => {
  const { end } = tokenizer;
  const ending = scriptedDraft(() => chain([end, 1, 2] as TokenId[]));
  const toy = model();
  await generateWith(ending, toy, prompt, { maxTokens: 6, ignoreEndTokens: false });
  for (const { input } of toy.sequences[0]!.log.slice(1)) expect((input as TokenId[]).slice(1)).not.toContain(1);
  const wide = scriptedDraft(() => chain(Array.from({ length: 50 }, (_, index) => (index % 7) as TokenId)));
  const bounded = model(logits, prompt.length + 6);
  expect((await generateWith(wide, bounded, prompt, { maxTokens: 6, ignoreEndTokens: true })).usage.completionTokens).toBe(6);
});

describe("ngram", () => {
  const tokensOf = (text: string) => tokenizer.encode(text);
  const propose = (
    text: string,
    given: { nodes?: number; longest?: number; shortest?: number } = {},
    limits = { maxNodes: 62, maxDepth: 62 },
  ) => {
    const state = new NgramState({ nodes: 4, longest: 4, shortest: 2, ...given }, tokensOf(text));
    return tokenizer.decode(state.propose(limits).tokens);
  };
  test("proposes what followed the longest, then the latest match", () => {
    expect(propose("abcdef ab")).toBe("cdef");
    expect(propose("abcabd ab")).toBe("d ab");
    expect(propose("cabc  abd cab")).toBe("c  a"); // the match of three goes before the later one of two
    expect(propose("cabc  abd cab", { longest: 2 })).toBe("d ca");
    expect(propose("abcd")).toBe("");
    expect(propose("abca", { shortest: 1 })).toBe("bcab");
    expect(propose("abcdef ab", {}, { maxNodes: 62, maxDepth: 2 })).toBe("cd");
  });
  test("goes round where the match runs into the end", () => {
    expect(propose("gababa", { nodes: 6 })).toBe("bababa");
  });
  test("rewound and forked, it is as if it had never seen the rest", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2), { maxLength: 30 }), fc.array(fc.nat(2), { maxLength: 10 }), (kept, dropped) => {
        const given = { nodes: 5, longest: 3, shortest: 2 };
        const limits = { maxNodes: 9, maxDepth: 9 };
        const state = new NgramState(given, tokensOf("abcab"));
        for (const token of kept) state.advance(token as TokenId);
        const fork = state.fork();
        for (const token of dropped) fork.advance(token as TokenId);
        const expected = new NgramState(given, [...tokensOf("abcab"), ...(kept as TokenId[])]).propose(limits);
        expect(state.propose(limits)).toEqual(expected);
        fork.rewind(kept.length);
        expect(fork.propose(limits)).toEqual(expected);
      }),
    );
  });
  test("its answer is the plain one, in fewer passes where the text repeats", async () => {
    const options = { maxTokens: 40, ignoreEndTokens: true };
    const plain = await generateText(model(looping), prompt, options);
    const drafted = await generateText(model(looping), prompt, { ...options, draft: "ngram,nodes=6" });
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.facts.passes).toBeLessThan(plain.facts.passes / 2);
    expect(drafted.facts.drafts!.method).toBe("ngram");
  });
});

test("a chat with drafts keeps its sequence as one without", async () => {
  const answers: string[][] = [];
  for (const draft of [undefined, "ngram,shortest=1"]) {
    const toy = toyModel(toyTokenizer([..."abcdefgu |"], { addBos: true }), {
      logits: (tokens) => Array.from({ length: 12 }, (_, id) => ((tokens.length + tokens.at(-1)! * 3) * (id + 1)) % 7),
    });
    const chat = new Chat(toy, { generate: { maxTokens: 12, ignoreEndTokens: true, ...(draft === undefined ? {} : { draft }) } });
    const turns = [await chat.ask("abab"), await chat.ask("cdcd")];
    answers.push(turns.map(({ tokens }) => tokens.join()));
    expect(toy.sequences).toHaveLength(1);
    expect(turns[1]!.facts.passes).toBeLessThanOrEqual(13);
    chat[Symbol.dispose]();
  }
  expect(answers[1]).toEqual(answers[0]);
});

test("off is a legal choice, and the facts say so", async () => {
  const { facts } = await generateText(model(), prompt, { draft: "off", maxTokens: 3 });
  expect(facts.drafts).toEqual({
    ...{ method: "off", drafted: 0, accepted: 0, byPosition: [], offBecause: "the option says so" },
    byWidth: [{ drafted: 0, passes: 2, accepted: 0 }],
  });
});

test.each([
  ["ngrams", /^draft: no method "ngrams"; there are off, auto, ngram, adaptive, model, nested/],
  ["ngram,nodes=0", "draft: ngram: nodes must be an integer in [1, 62], got 0"],
  ["ngram,shortest=5,longest=3", "draft: ngram: shortest must be at most longest (3), got 5"],
  ["ngram,width=3", /^draft: ngram has no parameter "width"; it has nodes, longest, shortest/],
] as const)("%s is refused", async (draft, message) => {
  const error = await generateText(model(), prompt, { draft }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OptionError);
  if (typeof message === "string") expect((error as Error).message).toBe(message);
  else expect((error as Error).message).toMatch(message);
});
