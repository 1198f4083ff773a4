import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import { generateWith, randomTree, scriptedDraft } from "../drafting/testing.ts";
import { generateText } from "../generate.ts";
import { softmax } from "../testing/reference.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { momentum, VisitedTokens } from "./momentum.ts";
import type { ChoiceRule } from "./sampler.ts";
import { StepSampler } from "./step.ts";

const tokenizer = toyTokenizer([..."abcdefghij"]);
const { vocabSize } = tokenizer;
const prompt = tokenizer.encode("abcab");
/** A chain with loops: what follows depends on the last two tokens, and a little on the length. */
const logits = (tokens: readonly TokenId[]) =>
  Array.from(
    { length: vocabSize },
    (_, id) => ((tokens.at(-1)! * 7 + (tokens.at(-2) ?? 0) * 3 + id * 5) % 11) / 3 + (tokens.length % 5) / 50,
  );
const model = () => toyModel(tokenizer, { logits });
const options = { maxTokens: 40, ignoreEndTokens: true };

/** The definition, scanning the whole text: the largest l such that the last l - 1 tokens and `token` stand somewhere as they are. */
function scan(tokens: readonly number[], token: number, depth: number): number {
  for (let length = Math.min(depth, tokens.length); length > 0; length--) {
    const wanted = [...tokens.slice(tokens.length - length + 1), token].join();
    for (let from = 0; from + length <= tokens.length; from++) if (tokens.slice(from, from + length).join() === wanted) return length;
  }
  return 0;
}

function reference(count: number, { alpha, k, depth }: { alpha: number; k: number; depth: number }): number[] {
  const tokens: TokenId[] = [...prompt];
  for (let step = 0; step < count; step++) {
    const law = softmax(logits(tokens));
    const best = [...law.keys()].sort((a, b) => law[b]! - law[a]! || a - b).slice(0, k);
    const score = (id: number) => law[id]! - alpha * scan(tokens, id, depth);
    tokens.push(best.reduce((winner, id) => (score(id) > score(winner) ? id : winner)) as TokenId);
  }
  return tokens.slice(prompt.length);
}

test("circuit lengths are those of a scan of the text, through rewinds and copies", () => {
  const steps = fc.array(fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant("rewind" as const), fc.constant("copy" as const)), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 6 }), (script, depth) => {
      let visited = new VisitedTokens([]);
      const tokens: TokenId[] = [];
      for (const [index, step] of script.entries()) {
        if (step === "copy") {
          const left = visited;
          visited = visited.copy();
          left.push(0 as TokenId);
        } else if (step === "rewind") {
          tokens.length = Math.max(0, tokens.length - (index % 4));
          visited.truncate(tokens.length);
        } else {
          tokens.push(step as TokenId);
          visited.push(step as TokenId);
        }
        for (let token = 0; token < 5; token++) expect(visited.circuitLength(token as TokenId, depth)).toBe(scan(tokens, token, depth));
      }
    }),
  );
});

test.each([
  { alpha: 0.2, k: 5, depth: 5 },
  { alpha: 0.05, k: 3, depth: 2 },
  { alpha: 0.6, k: 12, depth: 8 },
])("its tokens are those of the paper's rule: %o", async (settings) => {
  const { tokens, facts } = await generateText(model(), prompt, { ...options, sample: { name: "momentum", ...settings } });
  expect(tokens).toEqual(reference(40, settings));
  expect(facts.choices).toEqual([]); // no seed was drawn
});

describe("it is greedy", () => {
  test.each(["momentum,alpha=0", "momentum,k=1"])("%s", async (sample) => {
    const greedy = await generateText(model(), prompt, options);
    expect((await generateText(model(), prompt, { ...options, sample })).tokens).toEqual(greedy.tokens);
  });
  test("up to the first step at which the greedy token was visited", async () => {
    const distinct = (tokens: readonly TokenId[]) =>
      Array.from({ length: vocabSize }, (_, id) => (id === (tokens.at(-1)! + 1) % vocabSize ? 4 : 0));
    const fresh = toyModel(tokenizer, { logits: distinct });
    const { tokens } = await generateText(fresh, tokenizer.encode("a"), { ...options, maxTokens: 12, sample: "momentum,k=12,alpha=1" });
    expect(tokens.slice(0, 11)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(tokens).toHaveLength(12);
  });
});

test("with a resistance above every probability no token repeats while an unseen one remains", async () => {
  const { tokens } = await generateText(model(), prompt, {
    ...options,
    maxTokens: vocabSize - 3,
    sample: `momentum,alpha=10,k=${vocabSize}`,
  });
  expect(new Set([...prompt, ...tokens]).size).toBe(vocabSize);
});

test("a draft of any content gives the same answer", async () => {
  const given = { ...options, sample: "momentum", frequencyPenalty: 0.3, logprobs: 1 };
  const plain = await generateText(model(), prompt, given);
  let calls = 0;
  const draft = scriptedDraft(() => randomTree(() => ((calls++ * 7919) % 104729) / 104729, 8, vocabSize));
  const drafted = await generateWith(draft, model(), prompt, given);
  expect(drafted.tokens).toEqual(plain.tokens);
  expect(drafted.logprobs).toEqual(plain.logprobs);
  expect(drafted.facts.drafts!.accepted).toBeGreaterThan(0);
});

test("the tokens after the first, which searches ask for, are what it takes with those before them ruled out", () => {
  const sampler = StepSampler.unguided(
    { guides: [], shapes: [], choice: momentum.create({ alpha: 0.3, k: 3, depth: 4 }) as ChoiceRule, seed: 0 },
    vocabSize,
    tokenizer.encode("abcabcab"),
  );
  const taken = (count: number, ruledOut: ReadonlySet<number>) => {
    const row = Array.from({ length: vocabSize }, (_, id) => (ruledOut.has(id) ? Number.NEGATIVE_INFINITY : ((id * 7) % 12) / 3));
    const ids = [...row.keys()].sort((x, y) => row[y]! - row[x]! || x - y);
    const candidates = {
      ids: Int32Array.from(ids),
      logits: Float32Array.from(ids, (id) => row[id]!),
      logSumExp: Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0)),
    };
    return sampler.several({ row: 0, candidates }, { stream: 0, index: 0 }, { count })!.map(({ token }) => token);
  };
  const ruledOut = new Set<number>();
  for (let place = 0; place < 8; place++) ruledOut.add(taken(1, ruledOut)[0]!);
  expect(taken(8, new Set())).toEqual([...ruledOut]);
});

test("a seed is unused and said to be", async () => {
  const { facts } = await generateText(model(), prompt, { ...options, sample: "momentum", seed: 4 }).catch((error: Error) => ({
    facts: error.message,
  }));
  expect(facts).toMatchObject({ choices: [{ what: "seed", chosen: "unused", because: "the sampler draws nothing" }] });
});
