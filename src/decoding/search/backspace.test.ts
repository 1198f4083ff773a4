import { describe, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generate, generateText } from "../generate.ts";
import type { GenerateOptions } from "../options.ts";
import { softmax } from "../testing/reference.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { eventsOf, grownPaths, hash, idsOf, logitsOf, pathsOf } from "./testing.ts";

const tokenizer = toyTokenizer([..."abcdefgh<"]);
const { vocabSize, end } = tokenizer;
const backspace = tokenizer.encode("<")[0]!;
const prompt = tokenizer.encode("ab");
/** A backspace is likely, and likelier after some texts. */
const logits = (seed: number) => (tokens: readonly TokenId[]) =>
  logitsOf(seed, vocabSize)(tokens).map((logit, id) => (id === backspace ? 4 * hash(tokens, seed + 9999) : logit));
const model = (seed: number) => toyModel(tokenizer, { logits: logits(seed) });
const search = (more: object = {}) => ({ name: "backspace", token: backspace, ...more });

/** The rule on whole texts: of each state the most probable action that it has. */
function written(seed: number, { most, back, again, maxTokens }: { most: number; back: number; again: boolean; maxTokens: number }) {
  const tokens: number[] = [];
  const takenBack = new Map<string, Set<number>>(); // by text, forgotten with it
  let [longest, taken] = [0, 0];
  const dead: string[] = [];
  for (;;) {
    const banned = takenBack.get(tokens.join()) ?? new Set();
    const row = logits(seed)([...prompt, ...tokens] as TokenId[]);
    const mayGo = tokens.length > Math.max(0, longest - back) && taken < most;
    const best = [...row.keys()].filter((id) => (id === backspace ? mayGo : !banned.has(id))).sort((a, b) => row[b]! - row[a]!)[0]!;
    if (best === backspace) {
      taken++;
      for (const key of takenBack.keys())
        if (key.split(",").length >= tokens.length && key !== "" && key.startsWith(tokens.join())) takenBack.delete(key);
      dead.push(tokens.join());
      const last = tokens.pop()!;
      if (!again) takenBack.set(tokens.join(), (takenBack.get(tokens.join()) ?? new Set()).add(last));
      continue;
    }
    tokens.push(best);
    longest = Math.max(longest, tokens.length);
    if (best === end || tokens.length === maxTokens) return { tokens, taken, dead };
  }
}

describe("backspace", () => {
  test("its tokens are those of the rule on whole texts, every state read anew", async () => {
    let sum = 0;
    for (let seed = 0; seed < 60; seed++) {
      for (const settings of [
        { most: 64, back: 8, again: false },
        { most: 5, back: 2, again: false },
        { most: 7, back: 1, again: true },
      ]) {
        const expected = written(seed, { ...settings, maxTokens: 12 });
        const result = await generateText(model(seed), prompt, { maxTokens: 12, search: search(settings) });
        expect(idsOf(result)).toEqual(expected.tokens);
        expect(result.facts.choices).toContainEqual(expect.objectContaining({ what: "backspaces", chosen: `${expected.taken}` }));
        sum += expected.taken;
      }
    }
    expect(sum).toBeGreaterThan(200);
  });

  test("drawn, its answers have the law of the actions, counted over all ways to write them", async () => {
    const settings = { most: 2, back: 2, again: true };
    const maxTokens = 3;
    const small = toyTokenizer([..."a<"]);
    const [start, back] = [small.encode("a"), small.encode("<")[0]!];
    const row = (tokens: readonly TokenId[]) => logitsOf(4, small.vocabSize)(tokens).map((logit, id) => (id === back ? 2.5 : logit));
    const law = new Map<string, number>();
    const walk = (tokens: readonly number[], taken: number, longest: number, probability: number): void => {
      if (tokens.at(-1) === small.end || tokens.length === maxTokens) {
        law.set(tokens.join(), (law.get(tokens.join()) ?? 0) + probability);
        return;
      }
      const mayGo = tokens.length > Math.max(0, longest - settings.back) && taken < settings.most;
      const masked = row([...start, ...tokens] as TokenId[]).map((logit, id) => (id === back && !mayGo ? Number.NEGATIVE_INFINITY : logit));
      for (const [id, p] of softmax(masked).entries()) {
        if (p === 0) continue;
        if (id === back) walk(tokens.slice(0, -1), taken + 1, longest, probability * p);
        else walk([...tokens, id], taken, Math.max(longest, tokens.length + 1), probability * p);
      }
    };
    walk([], 0, 0, 1);
    expect([...law.values()].reduce((a, b) => a + b)).toBeCloseTo(1, 9);
    const count = process.env.CHAINRULE_SOAK ? 20_000 : 3000;
    const toy = toyModel(small, { logits: row });
    const seen = new Map<string, number>();
    for (let seed = 0; seed < count; seed++) {
      const { tokens } = await generateText(toy, start, { maxTokens, seed, search: { name: "backspace", token: back, ...settings } });
      seen.set(tokens.join(), (seen.get(tokens.join()) ?? 0) + 1);
    }
    const cells = [...law].filter(([, p]) => p * count >= 5);
    const square = cells.reduce((sum, [key, p]) => sum + ((seen.get(key) ?? 0) - p * count) ** 2 / (p * count), 0);
    expect(cells.length).toBeGreaterThan(8);
    expect(square).toBeLessThan(cells.length + 4 * Math.sqrt(2 * cells.length)); // χ²: mean df, variance 2 df
  });

  test("text is shown only when it can't be taken back, and all of it in the end", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { all, result } = await eventsOf(generate(model(seed), prompt, { maxTokens: 12, search: search({ back: 3 }), logprobs: 2 }));
      const shown = all.flatMap((event) => (event.kind === "token" ? [event.fact.id] : []));
      expect(shown).toEqual(idsOf(result));
      expect(all.map((event) => ("text" in event ? event.text : "")).join("")).toBe(result.text);
      const won = result.facts.branches!.find((branch) => branch.end === "won")!;
      expect(pathsOf(result).get(won.id)).toEqual(idsOf(result));
      expect(grownPaths(all).get(won.id)).toEqual(idsOf(result));
      const { dead } = written(seed, { most: 64, back: 3, again: false, maxTokens: 12 });
      for (const { id, end: how } of result.facts.branches!) if (how === "rewound") expect(dead).toContain(pathsOf(result).get(id)!.join());
      const row = softmax(logits(seed)(prompt));
      expect(result.logprobs![0]!.logprob).toBeCloseTo(Math.log(row[result.tokens[0]!]!), 6);
    }
  });

  test("without backspaces it is the plain answer, and guides, stops and limits hold for the text that is left", async () => {
    const sampled: readonly GenerateOptions[] = [{}, { temperature: 0.8, topP: 0.9, seed: 5 }, { presencePenalty: 1, seed: 2 }];
    for (let seed = 0; seed < 10; seed++) {
      for (const given of sampled) {
        const plain = await generateText(model(seed), prompt, { maxTokens: 10, ...given });
        const none = await generateText(model(seed), prompt, { maxTokens: 10, ...given, search: search({ most: 0 }) });
        expect(none.tokens).toEqual(plain.tokens);
        const ruledOut = { maxTokens: 10, ...given, bias: { [backspace]: -100 } };
        const never = await generateText(model(seed), prompt, { ...ruledOut, search: search() });
        expect(never.tokens).toEqual((await generateText(model(seed), prompt, ruledOut)).tokens);
      }
      const whole = await generateText(model(seed), prompt, { maxTokens: 10, search: search() });
      const stop = whole.text.slice(2, 4);
      if (stop.length < 2) continue;
      const stopped = await generateText(model(seed), prompt, { maxTokens: 10, search: search(), stop });
      expect(stopped.finishReason).toBe("stop");
      expect(stopped.text).not.toContain(stop);
      expect(stopped.tokens).not.toContain(backspace);
    }
  });

  test("a grammar speaks of text: backspaces stand beside it", async () => {
    let taken = 0;
    for (let seed = 0; seed < 10; seed++) {
      const guide = { name: "grammar", regex: "[abc]{2,6}" };
      const { text, facts } = await generateText(model(seed), prompt, { maxTokens: 8, search: search({ most: 6 }), guide });
      expect(text).toMatch(/^[abc]{2,6}$/);
      taken += Number(facts.choices.find(({ what }) => what === "backspaces")!.chosen);
      expect(facts.guides!.map(({ name }) => name)).toEqual(["grammar"]);
    }
    expect(taken).toBeGreaterThan(5);
  });

  test("what it can't do is refused by name", async () => {
    await expect(generateText(model(1), prompt, { search: "backspace" })).rejects.toThrow(/this model has no backspace token; train one/);
    await expect(generateText(model(1), prompt, { search: search({ token: 99 }) })).rejects.toThrow(/^search: backspace: .*99/);
    await expect(generateText(model(1), prompt, { search: search(), draft: "ngram" })).rejects.toThrow(
      /ngram and search backspace can't be combined/,
    );
    const own = toyModel({ ...tokenizer, backspace }, { logits: logits(3) });
    expect((await generateText(own, prompt, { search: "backspace", maxTokens: 9 })).tokens).toEqual(
      (await generateText(model(3), prompt, { search: search(), maxTokens: 9 })).tokens,
    );
  });
});
