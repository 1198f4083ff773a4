import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generate, generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { softmax } from "../testing/reference.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { eventsOf, everyAnswer, grownPaths, hiddenOf, idsOf, logitsOf, logprobOf, pathsOf } from "./testing.ts";

const tokenizer = toyTokenizer([..."abcdefgh"]);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abca");
const model = (seed: number) => toyModel(tokenizer, { logits: logitsOf(seed, vocabSize), hidden: hiddenOf(seed) });
const plainly: readonly GenerateOptions[] = [
  {},
  { repetitionPenalty: 1.5, frequencyPenalty: 0.4, bias: { 2: 1.5 } },
  { stop: ["cd", "h"], ignoreEndTokens: true },
  { stopTokens: [3], logprobs: 3, promptLogprobs: 2 },
  { guide: { name: "grammar", regex: "[a-d]{3,9}" }, logprobs: 1 },
];
const drawn: readonly GenerateOptions[] = [
  { temperature: 1.3, topP: 0.9, seed: 3, ignoreEndTokens: true },
  { sample: "momentum", ignoreEndTokens: true },
  { seed: 11, guide: { name: "grammar", regex: "[a-d]{3,9}" } },
];

describe.each([
  ["beam,width=1", [...plainly, ...drawn]],
  ["contrastive,alpha=0", plainly],
  ["contrastive,k=1", plainly],
  ["contrastive,k=3,alpha=0", plainly],
] as const)("%s is the plain answer", (search, settings) => {
  test.each(settings)("%o", async (options) => {
    for (let seed = 0; seed < (options.guide === undefined ? 8 : 2); seed++) {
      const given = { maxTokens: 12, ...options };
      const plain = await generateText(model(seed), prompt, given);
      const { all, result } = await eventsOf(generate(model(seed), prompt, { ...given, search }));
      expect(result).toMatchObject({ text: plain.text, tokens: plain.tokens, finishReason: plain.finishReason });
      expect(result.stoppedBy).toEqual(plain.stoppedBy);
      expect(result.logprobs).toEqual(plain.logprobs);
      expect(result.promptLogprobs).toEqual(plain.promptLogprobs);
      expect(result.facts.guides).toEqual(plain.facts.guides);
      expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(plain.text);
      expect(result.facts.tokens).toEqual(all.flatMap((event) => (event.kind === "token" ? [event.fact] : [])));
    }
  });
});

describe("beam", () => {
  const small = toyTokenizer([..."ab"]);
  const start = small.encode("ab");
  const smallModel = (seed: number) => toyModel(small, { logits: logitsOf(seed, small.vocabSize) });

  test("as wide as there are answers it gives all of them in the order of their scores", async () => {
    for (let seed = 0; seed < 6; seed++) {
      for (const length of [0, 1]) {
        const answers = everyAnswer(small.vocabSize, small.end, 3)
          .map((tokens) => ({ tokens, score: logprobOf(logitsOf(seed, small.vocabSize), start, tokens) / tokens.length ** length }))
          .sort((a, b) => b.score - a.score);
        const result = await generateText(smallModel(seed), start, { maxTokens: 3, search: { name: "beam", width: 64, best: 64, length } });
        const given = [
          { tokens: idsOf(result), score: result.facts.branches!.find(({ end }) => end === "won")!.score },
          ...result.alternatives!,
        ];
        expect(given.map(({ tokens }) => [...tokens])).toEqual(answers.map(({ tokens }) => tokens));
        for (const [index, { score }] of given.entries()) expect(score).toBeCloseTo(answers[index]!.score, 5);
        // the bound that lets hopeless answers go changes no winner
        const one = await generateText(smallModel(seed), start, { maxTokens: 3, search: { name: "beam", width: 64, length } });
        expect(idsOf(one)).toEqual(answers[0]!.tokens);
      }
    }
  });

  /** Beam search as it is written down, on whole answers that are scored anew at each step. */
  function reference(seed: number, settings: { width: number; groups: number; diversity: number; length: number; maxTokens: number }) {
    const { width, groups, diversity, length, maxTokens } = settings;
    const logits = logitsOf(seed, vocabSize);
    const ended: { tokens: number[]; logprob: number; group: number }[] = [];
    let live = Array.from({ length: groups }, (_, group) => ({ tokens: [] as number[], logprob: 0, group }));
    while (live.length > 0) {
      const next: typeof live = [];
      const taken: number[] = [];
      for (let group = 0; group < groups; group++) {
        const all = live
          .filter((each) => each.group === group)
          .flatMap(({ tokens }) => Array.from({ length: vocabSize }, (_, id) => [...tokens, id]))
          .map((tokens) => ({ tokens, logprob: logprobOf(logits, prompt, tokens), group }));
        const worth = (each: (typeof all)[number]) => each.logprob - diversity * taken.filter((id) => id === each.tokens.at(-1)).length;
        const best = all.sort((a, b) => worth(b) - worth(a)).slice(0, width / groups - ended.filter((each) => each.group === group).length);
        taken.push(...best.map(({ tokens }) => tokens.at(-1)!));
        next.push(...best);
      }
      const isOver = ({ tokens }: { tokens: number[] }) => tokens.at(-1) === tokenizer.end || tokens.length === maxTokens;
      ended.push(...next.filter(isOver));
      live = next.filter((each) => !isOver(each));
    }
    return ended.sort((a, b) => b.logprob / b.tokens.length ** length - a.logprob / a.tokens.length ** length).map(({ tokens }) => tokens);
  }

  test("its answers are those of the search written down, with lengths and groups", async () => {
    const settings = fc.record({
      seed: fc.nat(1000),
      widthPerGroup: fc.integer({ min: 1, max: 3 }),
      groups: fc.integer({ min: 1, max: 3 }),
      diversity: fc.constantFrom(0, 0.37, 2.1),
      length: fc.constantFrom(0, 0.7, 1, -0.5),
      maxTokens: fc.integer({ min: 1, max: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(settings, async ({ seed, widthPerGroup, ...rest }) => {
        const given = { ...rest, width: widthPerGroup * rest.groups };
        const { maxTokens, ...parameters } = given;
        const expected = reference(seed, given);
        const result = await generateText(model(seed), prompt, { maxTokens, search: { name: "beam", ...parameters, best: given.width } });
        expect([idsOf(result), ...(result.alternatives ?? []).map(({ tokens }) => [...tokens])]).toEqual(expected);
      }),
      { numRuns: process.env.CHAINRULE_SOAK ? 2000 : 60 },
    );
  });

  test("the facts are a tree of branches whose one winner is the answer", async () => {
    for (let seed = 0; seed < 10; seed++) {
      const { all, result } = await eventsOf(generate(model(seed), prompt, { maxTokens: 8, search: "beam,width=3", stop: "ab" }));
      const paths = pathsOf(result);
      const won = result.facts.branches!.filter(({ end }) => end === "won");
      expect(won).toHaveLength(1);
      expect(paths.get(won[0]!.id)).toEqual(idsOf(result));
      expect(new Set(paths.keys()).size).toBe(result.facts.branches!.length);
      for (const branch of result.facts.branches!) {
        const path = paths.get(branch.id)!;
        expect(branch.score).toBeCloseTo(logprobOf(logitsOf(seed, vocabSize), prompt, path) / path.length, 5);
      }
      expect(all.flatMap((event) => (event.kind === "branch" ? [event.fact] : []))).toEqual(result.facts.branches);
      for (const [id, path] of grownPaths(all)) expect(paths.get(id)!.slice(0, path.length)).toEqual(path);
      expect(grownPaths(all).get(won[0]!.id)).toEqual(idsOf(result));
      expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(result.text);
      expect(result.facts.tokens.map(({ id }) => id)).toEqual(idsOf(result));
    }
  });

  test("tokens are shown as soon as all branches agree on them", async () => {
    const { all } = await eventsOf(generate(model(4), prompt, { maxTokens: 12, search: "beam,width=2", ignoreEndTokens: true }));
    const firstToken = all.findIndex(({ kind }) => kind === "token");
    expect(all.slice(firstToken).filter(({ kind }) => kind === "branch").length).toBeGreaterThan(2);
  });

  test("with a grammar it is the most probable text that the grammar allows", async () => {
    const guide = { name: "grammar", regex: "(ab|ba|aab)b?" };
    for (let seed = 0; seed < 4; seed++) {
      const texts = ["ab", "ba", "aab", "abb", "bab", "aabb"].map((text) => [...small.encode(text), small.end]);
      const logits = logitsOf(seed, small.vocabSize);
      texts.sort((a, b) => logprobOf(logits, start, b) - logprobOf(logits, start, a));
      const result = await generateText(smallModel(seed), start, { maxTokens: 6, guide, search: "beam,width=16,length=0" });
      expect(idsOf(result)).toEqual(texts[0]);
    }
  });

  test("bad parameters are refused by name", async () => {
    await expect(generateText(model(1), prompt, { search: "beam,width=4,groups=3" })).rejects.toThrow(
      "search: beam: groups must divide width (4), got 3",
    );
    await expect(generateText(model(1), prompt, { search: "beam,width=2,best=3" })).rejects.toThrow(
      "best must be at most width (2), got 3",
    );
    await expect(generateText(model(1), prompt, { search: "beam", draft: "ngram" })).rejects.toThrow(
      /ngram and search beam can't be combined/,
    );
    const given = { search: "beam", maxTokens: 2 };
    expect((await generateText(model(1), prompt, { ...given, draft: "off" })).tokens).toEqual(
      (await generateText(model(1), prompt, given)).tokens,
    );
  });
});

describe("contrastive", () => {
  function reference(seed: number, { k, alpha, maxTokens }: { k: number; alpha: number; maxTokens: number }): number[] {
    const unit = (vector: readonly number[]) => vector.map((value) => value / Math.hypot(...vector));
    const tokens: TokenId[] = [...prompt];
    while (tokens.length < prompt.length + maxTokens && tokens.at(-1) !== tokenizer.end) {
      const law = softmax(logitsOf(seed, vocabSize)(tokens));
      const best = [...law.keys()].sort((a, b) => law[b]! - law[a]! || a - b).slice(0, k);
      const score = (id: number) => {
        const own = unit(hiddenOf(seed)([...tokens, id as TokenId]));
        const cosines = tokens.map((_, index) =>
          unit(hiddenOf(seed)(tokens.slice(0, index + 1))).reduce((sum, value, i) => sum + value * own[i]!, 0),
        );
        return (1 - alpha) * law[id]! - alpha * Math.max(...cosines);
      };
      tokens.push(best.reduce((winner, id) => (score(id) > score(winner) ? id : winner)) as TokenId);
    }
    return tokens.slice(prompt.length);
  }

  test.each([
    { k: 4, alpha: 0.6 },
    { k: 3, alpha: 0.2 },
    { k: 10, alpha: 1 },
  ])("its tokens are those of the paper's rule, every state computed anew: %o", async ({ k, alpha }) => {
    for (let seed = 0; seed < 20; seed++) {
      const result = await generateText(model(seed), prompt, { maxTokens: 10, search: { name: "contrastive", k, alpha } });
      expect(idsOf(result)).toEqual(reference(seed, { k, alpha, maxTokens: 10 }));
      const paths = pathsOf(result);
      expect(paths.get(result.facts.branches!.find(({ end }) => end === "won")!.id)).toEqual(idsOf(result));
      expect(result.facts.branches!.filter(({ end }) => end === "pruned")).toHaveLength((k - 1) * result.tokens.length);
    }
  });

  test("samplers and drafts are refused with the reason", async () => {
    for (const given of [{ temperature: 0.7 }, { sample: "momentum" }, { seed: 3 }]) {
      await expect(generateText(model(1), prompt, { ...given, search: "contrastive" })).rejects.toThrow(OptionError);
    }
    await expect(generateText(model(1), prompt, { draft: "ngram", search: "contrastive" })).rejects.toThrow(/states of its own candidates/);
  });
});

describe.each(["beam,width=3", "contrastive", "backspace,token=2,most=1000"])("%s, ended early,", (search) => {
  test("gives what there is at the deadline", async () => {
    const began = performance.now();
    let calls = 0;
    const slow = toyModel(tokenizer, {
      hidden: hiddenOf(1),
      logits(tokens) {
        while (++calls > 20 && performance.now() - began < 60);
        return logitsOf(1, vocabSize)(tokens);
      },
    });
    const result = await generateText(slow, prompt, { search, maxTokens: 200, ignoreEndTokens: true, deadlineMs: 50 });
    expect(result.finishReason).toBe("deadline");
    expect(result.text).toBe(tokenizer.decode(result.tokens));
  });

  test("throws the signal's reason, and closes every sequence", async () => {
    const controller = new AbortController();
    const toy = model(2);
    const run = async () => {
      for await (const event of generate(toy, prompt, { search, maxTokens: 50, ignoreEndTokens: true, signal: controller.signal })) {
        if (event.kind === "growth" && event.at >= 3) controller.abort(new Error("enough"));
      }
    };
    await expect(run()).rejects.toThrow("enough");
    expect(() => toy.sequences[0]!.fork()).toThrow();
  });

  test("reads the prompt alone for an answer of no tokens", async () => {
    expect(await generateText(model(2), prompt, { search, maxTokens: 0 })).toMatchObject({ tokens: [], finishReason: "length" });
  });
});
