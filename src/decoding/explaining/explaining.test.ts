import { describe, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { RandomNumbers } from "../sampling/random.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { explain } from "./explain.ts";
import { normalized, similarity } from "./faithfulness.ts";
import { heatMapHtml } from "./heat-map.ts";
import { vocabularyReplacements } from "./replacements.ts";
import { drawReplaced, ReplacementScores } from "./scores.ts";

const tokenizer = toyTokenizer([..."abcdefgh"], { addBos: true });
/** Says "h" with probability 0.9 while the token at `place` is "c", else all tokens are alike. */
const pointing = (place: number) =>
  toyModel(tokenizer, {
    logits: (tokens) => Array.from({ length: tokenizer.vocabSize }, (_, id) => (tokens[place] === 2 && id === 7 ? Math.log(0.9 * 90) : 0)),
  });

/** All masks of n tokens. */
const masksOf = (n: number) =>
  Array.from({ length: 2 ** n }, (_, bits) => Array.from({ length: n }, (_, index) => (bits & (1 << index)) !== 0));

describe("the evidence", () => {
  test("for independent effects its expectation orders tokens by their effects: all masks of eight tokens", () => {
    const effects = [0.02, 0.11, 0.05, 0.19, -0.04, 0.08, 0, 0.15];
    const ratio = 0.3;
    const expected = new Array<number>(8).fill(0);
    for (const mask of masksOf(8)) {
      const chance = mask.reduce((product, own) => product * (own ? ratio : 1 - ratio), 1);
      const scores = new ReplacementScores(new Array(8).fill(true));
      scores.add(
        mask,
        mask.reduce((sum, own, index) => sum + (own ? effects[index]! : 0), 0),
      );
      for (const [index, score] of scores.means().entries()) expected[index]! += chance * score;
    }
    const order = (values: readonly number[]) => [...values.keys()].sort((a, b) => values[b]! - values[a]!);
    expect(order(expected)).toEqual(order(effects));
  });

  test("is the card's update: logit((d + 1) / 2) for those replaced, minus that for the others, in any order", () => {
    const updates = [
      { mask: [true, false, false], drop: 0.5 },
      { mask: [false, true, true], drop: -0.25 },
    ];
    const [forward, backward] = [new ReplacementScores([true, true, true]), new ReplacementScores([true, true, true])];
    for (const { mask, drop } of updates) forward.add(mask, drop);
    for (const { mask, drop } of [...updates].reverse()) backward.add(mask, drop);
    const [a, b] = [Math.log(0.75 / 0.25), Math.log(0.375 / 0.625)];
    const raw = [(a - b) / 2, (b - a) / 2, (b - a) / 2];
    const middle = raw.reduce((sum, value) => sum + value, 0) / 3;
    expect(forward.means()).toEqual(raw.map((value) => value - middle).map((value) => expect.closeTo(value, 12)));
    expect(backward.means()).toEqual(forward.means());
    const weights = [a - b, b - a, b - a].map(Math.exp);
    const total = weights.reduce((sum, weight) => sum + weight);
    expect(forward.importance()).toEqual(weights.map((weight) => expect.closeTo(weight / total, 12)));
  });

  test("a drop of 1 is finite evidence, and tokens that may not be replaced have none", () => {
    const scores = new ReplacementScores([false, true]);
    scores.add([false, true], 1);
    expect(scores.means()[0]).toBe(0);
    expect(scores.means()[1]).toBeLessThan(14);
    expect(scores.importance()).toEqual([0, 1]);
  });

  test("a mask replaces each token with its ratio, at least one, and none that may not be", () => {
    const random = new RandomNumbers(3);
    const counts = [0, 0, 0, 0];
    for (let draw = 0; draw < 4000; draw += 1) {
      const mask = drawReplaced([true, false, true, true], 0.3, random);
      expect(mask).toContain(true);
      for (const [index, own] of mask.entries()) counts[index]! += own ? 1 : 0;
    }
    // P(replaced) = 0.3 + (0.7)³ / 3, since an empty mask takes one of the three
    for (const index of [0, 2, 3]) expect(Math.abs(counts[index]! / 4000 - (0.3 + 0.343 / 3))).toBeLessThan(0.025);
    expect(counts[1]).toBe(0);
  });

  test("a replacement from the vocabulary is any other token with a text, all alike", () => {
    const isUsable = (token: TokenId) => tokenizer.piece(token).length > 0;
    const replacements = vocabularyReplacements([2 as TokenId], tokenizer.vocabSize, isUsable);
    const random = new RandomNumbers(1);
    const counts = new Array<number>(tokenizer.vocabSize).fill(0);
    for (let draw = 0; draw < 7000; draw += 1) counts[replacements.draw(0, random)]! += 1;
    expect([counts[2], counts[8], counts[9]]).toEqual([0, 0, 0]);
    for (const id of [0, 1, 3, 4, 5, 6, 7]) expect(Math.abs(counts[id]! - 1000)).toBeLessThan(150);
  });
});

describe("faithfulness", () => {
  test("the figures are the paper's formulas", () => {
    expect(similarity([0.25, 0.75], [0.25, 0.75])).toBe(1);
    expect(similarity([1, 0], [0, 1])).toBeCloseTo(1 - Math.SQRT2, 12);
    const figures = normalized(0.9, 0.7, 0.6);
    expect(figures.softSufficiency).toBeCloseTo(0.75, 12);
    expect(figures.softComprehensiveness).toBeCloseTo(0.75, 12);
    expect(normalized(0.5, 0.7, 0.6).softSufficiency).toBe(0);
    expect(normalized(1, 1, 1)).toEqual({ softSufficiency: 0, softComprehensiveness: 0 });
  });
});

describe("reagent on toy models", () => {
  const prompt = "abcabdfg"; // with BOS before it; the "c" is token 3

  test.each([
    ["model", 3, "abcabdfg"],
    ["vocabulary", 3, "abcabdfg"],
    ["vocabulary", 6, "abfabcfg"],
  ])("by %s: the one token that matters has the largest importance, and alone suffices", async (by, place, text) => {
    const method = `reagent,by=${by},replaced=200,rationale=1,k=1`;
    const { attribution, text: answer } = await explain(pointing(place), text, { method, maxTokens: 1 });
    expect(answer).toBe("h");
    const [token] = attribution.tokens;
    expect(token!.rationale).toEqual([place]);
    expect(token!.isSufficient).toBe(true);
    expect(token!.importance[place]).toBeGreaterThan(0.99);
    expect(token!.scores[0]).toBe(0); // BOS is never replaced
    expect(token!.probability).toBeCloseTo(0.9, 5);
    expect(attribution.prompt).toEqual(["<bos>", ...text]);
    expect(attribution.effort).toMatchObject({ done: 200, planned: 200 });
  });

  test("explains the tokens the prompt says most about, of an answer that is given", async () => {
    const { attribution } = await explain(pointing(3), prompt, { answer: "ahb", method: "reagent,tokens=1,replaced=20" });
    expect(attribution.tokens.map(({ index, text }) => [index, text])).toEqual([[1, "h"]]);
    expect(attribution.tokens[0]!.information).toBeGreaterThan(1);
  });

  test("the same seed gives the same attribution, another one another; the answer and its facts stay the same", async () => {
    const options = { maxTokens: 3, ignoreEndTokens: true };
    const plain = await generateText(pointing(3), prompt, options);
    const run = async (seed: number) => {
      const { facts, tokens } = await generateText(pointing(3), prompt, { ...options, explain: { name: "reagent", replaced: 30, seed } });
      expect(tokens).toEqual(plain.tokens);
      expect([facts.passes, facts.rows]).toEqual([plain.facts.passes, plain.facts.rows]);
      return facts.attribution!.tokens;
    };
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
  });

  test("it says which of the run's methods it leaves out, and an answer that is given takes the run's key too", async () => {
    const chosen = async (options: GenerateOptions) => {
      const { facts } = await generateText(pointing(3), prompt, { ...options, maxTokens: 1, explain: "reagent,replaced=2" });
      return facts.choices.find(({ what }) => what === "explain");
    };
    expect(await chosen({})).toBeUndefined();
    expect(await chosen({ bias: { 1: 2 }, presencePenalty: 1 })).toEqual({
      ...{ what: "explain", chosen: "without guide bias, guide presence" },
      because: "it explains the model's own probabilities: those before guides, with every block",
    });
    const model = pointing(3);
    await explain(model, prompt, { answer: "h", method: "reagent,replaced=2", prefixKey: "mine", priority: 2 });
    for (const asked of model.asked) expect(asked).toMatchObject({ prefixKey: "mine", priority: 2 });
  });

  test("ends at its limit of seconds and says how far it came; the first effort says what is expected", async () => {
    const slow = toyModel(tokenizer, { logits: () => new Array(tokenizer.vocabSize).fill(0) });
    const sequence = slow.sequence.bind(slow);
    const model = {
      ...slow,
      sequence(options: Parameters<typeof sequence>[0]) {
        const made = sequence(options);
        if (made instanceof Promise) throw new Error("a toy is there at once");
        const forward = made.forward.bind(made);
        made.forward = async (request) => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          return forward(request);
        };
        return made;
      },
    };
    const efforts: number[] = [];
    const startMs = performance.now();
    const { attribution } = await explain(model, prompt, {
      ...{ answer: "ab", method: "reagent,replaced=100000,seconds=1" },
      onEffort: ({ done, expected }) => {
        efforts.push(done);
        expect(expected!.ms).toBeGreaterThan(100_000);
      },
    });
    expect(efforts[0]).toBe(0);
    expect(attribution.effort.endedBy).toBe("seconds");
    expect(attribution.effort.done).toBeGreaterThan(4);
    expect(attribution.effort.done).toBeLessThan(400);
    expect(attribution.effort.paper!.passes).toBe(60_000);
    expect(performance.now() - startMs).toBeLessThan(5000);
  });

  test("aborting ends it with the signal's reason; a deadline leaves the answer without it, and says so", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const run = explain(pointing(3), prompt, {
      ...{ answer: "ab", method: "reagent,replaced=100000", signal: controller.signal },
      onEffort: () => controller.abort(reason),
    });
    await expect(run).rejects.toBe(reason);
    const { facts, tokens } = await generateText(pointing(3), prompt, {
      maxTokens: 2,
      deadlineMs: 300,
      explain: "reagent,replaced=1000000",
    });
    expect(tokens.length).toBeGreaterThan(0);
    expect(facts.attribution).toBeUndefined();
    expect(facts.choices).toContainEqual({ what: "explain", chosen: "off", because: "the deadline was reached" });
  });

  test.each([
    [{ method: "reagent,ratio=0" }, "explain: reagent: ratio must be a number in (0, 1], got 0"],
    [{ method: "saliency" }, 'explain: no method "saliency"; there are reagent'],
    [{ answer: "" }, "answer: is empty"],
    [{ answer: "a", temperature: 1 }, "temperature: is about an answer of the model's; this one is given"],
    [{ maxTokens: 0 }, "explain: nothing was explained: the answer has no token"],
  ])("is refused by name: %j", async (options, message) => {
    await expect(explain(pointing(3), prompt, options)).rejects.toThrow(message);
  });

  test("the page holds what was explained, and no markup of the prompt's", async () => {
    const { attribution } = await explain(pointing(3), prompt, { answer: "h", method: "reagent,replaced=20" });
    const page = heatMapHtml({ ...attribution, prompt: attribution.prompt.map((text) => (text === "c" ? "<c>" : text)) }, "h & <h>");
    expect(page).toContain("<b>&lt;c&gt;</b>");
    expect(page).toContain("h &amp; &lt;h&gt;");
    expect(page).not.toMatch(/src=|href=|@import/);
  });
});
