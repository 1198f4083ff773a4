import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NativeError, OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { type MethodSpec, parseMethod } from "../method.ts";
import { registry } from "../registry.ts";
import { randomDraw } from "../sampling/random-draw.ts";
import type { ChoiceRule } from "../sampling/sampler.ts";
import { StepSampler } from "../sampling/step.ts";
import { chiSquare, softmax } from "../testing/reference.ts";
import { outsideRun } from "../testing/toy-model.ts";
import { topCandidates } from "../testing/toy-sequence.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import type { Guide, GuideState } from "./guide.ts";

const guide = (spec: MethodSpec): Guide => {
  const { method, values } = parseMethod(registry.guide, spec, "guide");
  return method.create(values);
};
const greedy = parseMethod(registry.sample, "greedy", "sample").method.create({}) as ChoiceRule;
const at = (...ids: number[]) => ids as TokenId[];
const vocabSize = 12;
const run = {
  tokenizer: toyTokenizer([]),
  stop: { endTokens: new Set<TokenId>(), stopTokens: new Set<TokenId>(), stopTexts: [], maxTokens: 100 },
  ...outsideRun,
  guides: [],
};

/** The formulas, straight from the whole history. */
const formulas: Record<string, (logit: number, id: number, prompt: readonly number[], answer: readonly number[], value: number) => number> =
  {
    repetition: (logit, id, prompt, answer, penalty) =>
      [...prompt, ...answer].includes(id) ? (logit > 0 ? logit / penalty : logit * penalty) : logit,
    presence: (logit, id, _prompt, answer, penalty) => (answer.includes(id) ? logit - penalty : logit),
    frequency: (logit, id, _prompt, answer, penalty) => logit - penalty * answer.filter((token) => token === id).length,
    bias: (logit, id, _prompt, _answer, value) => (id === 3 || id === 11 ? logit + value : logit),
  };
const specOf = (name: string, value: number): MethodSpec =>
  name === "bias" ? { name, values: { 3: value, 11: value } } : { name, penalty: value };

const tokens = (maxLength: number) => fc.array(fc.integer({ min: 0, max: vocabSize - 1 }), { maxLength }).map((ids) => at(...ids));
const guides = fc.array(
  fc.record({ name: fc.constantFrom("repetition", "presence", "frequency", "bias"), value: fc.constantFrom(0.37, 1.13, 1.91) }),
  { minLength: 1, maxLength: 4 },
);
const logitsArbitrary = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: vocabSize, maxLength: vocabSize });

/** A row as the engine gives it for `sampler`, with k candidates. */
function rowFor(sampler: StepSampler, logits: Float32Array, k: number, isFull: boolean) {
  const { scores } = sampler.want({ top: 0, isPrompt: false });
  const row = { row: 0, candidates: topCandidates(logits, k), scores: Float32Array.from(scores?.[0] ?? [], (id) => logits[id]!) };
  return isFull ? { ...row, logits } : row;
}

test("guides in the order listed give the formulas' argmax, from any number of candidates, after any rewind and fork", async () => {
  await fc.assert(
    fc.asyncProperty(
      tokens(6),
      tokens(6),
      tokens(4),
      guides,
      logitsArbitrary,
      fc.integer({ min: 1, max: vocabSize }),
      async (prompt, answer, detour, specs, steps, k) => {
        const logits = Float32Array.from(steps, (step) => step * 0.41 + 0.01);
        const rules = { guides: specs.map(({ name, value }) => guide(specOf(name, value))), shapes: [], choice: greedy, seed: 0 };
        const first = await StepSampler.start(rules, vocabSize, prompt, run);
        for (const token of answer.slice(0, 2)) first.advance(token);
        const sampler = first.fork();
        for (const token of [...answer.slice(2), ...detour]) sampler.advance(token);
        sampler.rewind(answer.length);

        const guided = Array.from(logits, (logit, id) =>
          specs.reduce((value, spec) => formulas[spec.name]!(value, id, prompt, answer, spec.value), logit),
        );
        const best = guided.indexOf(Math.max(...guided));
        const chosen =
          sampler.choose(rowFor(sampler, logits, k, false), { stream: 0, index: 0 }) ??
          sampler.choose(rowFor(sampler, logits, k, true), { stream: 0, index: 0 });
        // float64 sums in another order may part ties
        expect(Math.abs(guided[chosen!.token]! - guided[best]!)).toBeLessThan(1e-9);
        expect(chosen!.logit).toBe(logits[chosen!.token]);
      },
    ),
    { numRuns: process.env.CHAINRULE_SOAK ? 50_000 : 1_000 },
  );
});

test("a guided draw follows the guided law on few candidates, a raised token outside them included (chi-square, 99.9 %)", async () => {
  const logits = Float32Array.from([2, 1.5, 1.1, 0.7, 0.2, 0, -0.4, -1, -1.2, -2, -2.5, -3]);
  const rules = { guides: [guide("bias,values=11:4;0:-1"), guide("frequency,penalty=0.6")], shapes: [], choice: randomDraw, seed: 7 };
  const sampler = await StepSampler.start(rules, vocabSize, [], run);
  for (const token of at(1, 1, 9)) sampler.advance(token);
  const law = softmax(logits.map((logit, id) => logit + ({ 11: 4, 0: -1, 1: -1.2, 9: -0.6 }[id] ?? 0)));
  const counts = new Array<number>(vocabSize).fill(0);
  let fullReads = 0;
  for (let index = 0; index < 20_000; index++) {
    let chosen = sampler.choose(rowFor(sampler, logits, 3, false), { stream: 0, index });
    if (chosen === undefined) {
      fullReads++;
      chosen = sampler.choose(rowFor(sampler, logits, 3, true), { stream: 0, index });
    }
    counts[chosen!.token]!++;
  }
  const { statistic, limit } = chiSquare(counts, law);
  expect(statistic).toBeLessThan(limit);
  expect(fullReads).toBeLessThan(10_000);
});

test("repetition counts only the last tokens when told so", async () => {
  const state = await guide("repetition,penalty=2,last=2").start(at(1, 2, 3), run);
  expect(state.touches()).toEqual([2, 3]);
  state.advance(at(4)[0]!);
  expect(state.touches()).toEqual([3, 4]);
  state.rewind(0);
  expect(state.touches()).toEqual([2, 3]);
});

test("the facts name each guide with the mean change of the tokens taken", async () => {
  const rules = { guides: [guide("bias,values=1:3"), guide("presence,penalty=0.5")], shapes: [], choice: greedy, seed: 0 };
  const sampler = await StepSampler.start(rules, vocabSize, [], run);
  for (const token of at(1, 1, 2, 2)) {
    sampler.measure({ token, logit: 0 });
    sampler.advance(token);
  }
  expect(sampler.guideFacts()).toEqual([
    { name: "bias", weight: 3, meanShift: 1.5 },
    { name: "presence", weight: 0.5, meanShift: -0.25 },
  ]);
});

describe("a mask (a guide that only lowers)", () => {
  const allowed = (ids: readonly number[]): Guide => {
    const state: GuideState = {
      touches: () => "lowers",
      apply(distribution) {
        for (let place = 0; place < distribution.size; place++) {
          if (!ids.includes(distribution.ids[place]!)) distribution.logits[place] = Number.NEGATIVE_INFINITY;
        }
      },
      advance() {},
      rewind() {},
      fork: () => state,
    };
    return { name: "mask", weight: 1, start: () => state };
  };
  const logits = Float32Array.from({ length: vocabSize }, (_, id) => -id);

  test("is decided on the candidates while one of them is allowed", async () => {
    const sampler = await StepSampler.start({ guides: [allowed([2, 9])], shapes: [], choice: greedy, seed: 0 }, vocabSize, [], run);
    expect(sampler.choose(rowFor(sampler, logits, 4, false), { stream: 0, index: 0 })).toEqual({ token: 2, logit: -2 });
    expect(sampler.choose(rowFor(sampler, logits, 2, false), { stream: 0, index: 0 })).toBeUndefined();
    expect(sampler.choose(rowFor(sampler, logits, 2, true), { stream: 0, index: 0 })).toEqual({ token: 2, logit: -2 });
  });
  test("keeps its law when it is drawn from", async () => {
    const sampler = await StepSampler.start({ guides: [allowed([2, 4])], shapes: [], choice: randomDraw, seed: 5 }, vocabSize, [], run);
    const counts = new Array<number>(vocabSize).fill(0);
    for (let index = 0; index < 5_000; index++) {
      counts[sampler.choose(rowFor(sampler, logits, 3, true), { stream: 0, index })!.token]!++;
    }
    const law = softmax(logits.map((logit, id) => (id === 2 || id === 4 ? logit : Number.NEGATIVE_INFINITY)));
    const { statistic, limit } = chiSquare(counts, law);
    expect(statistic).toBeLessThan(limit);
  });
  test("that leaves nothing is an error", async () => {
    const sampler = await StepSampler.start({ guides: [allowed([])], shapes: [], choice: randomDraw, seed: 5 }, vocabSize, [], run);
    expect(() => sampler.choose(rowFor(sampler, logits, 3, true), { stream: 0, index: 0 })).toThrow(NativeError);
  });
});

describe("bad parameters name the parameter, its range and the value", () => {
  test.each([
    ["repetition,penalty=0", "guide: repetition: penalty must be a number in (0, 10], got 0"],
    ["presence,penalty=3", "guide: presence: penalty must be a number in [-2, 2], got 3"],
    ["presence,penalty=x", 'guide: presence: penalty must be a number in [-2, 2], got "x"'],
    ["repetition,last=1.5", "guide: repetition: last must be an integer in [0, 1000000], got 1.5"],
    ["presence,alpha=1", 'guide: presence has no parameter "alpha"; it has penalty'],
    ["presence,penalty=1,penalty=1", 'guide: penalty is given twice, in "presence,penalty=1,penalty=1"'],
    ["presence,penalty", 'guide: "penalty" is not key=value, in "presence,penalty"'],
    ["bias", "guide: bias needs values (a map from token ids to numbers in [-100, 100])"],
    ["bias,values=1:101", 'guide: bias: values must be a map from token ids to numbers in [-100, 100], got {"1":101}'],
    ["bias,values=x:1", 'guide: bias: values must be a map from token ids to numbers in [-100, 100], got {"x":1}'],
    ["dry", 'guide: no method "dry"; there are bias, repetition, presence, frequency, grammar, reward, contrast'],
    [{ name: "presence", penalty: Number.NaN }, "guide: presence: penalty must be a number in [-2, 2], got NaN"],
    [{ name: "presence", penalty: "1" }, 'guide: presence: penalty must be a number in [-2, 2], got "1"'],
    [null, 'guide: must be "name,key=value,…" or { name, … }, got null'],
  ] as [MethodSpec, string][])("%j", (spec, message) => {
    expect(() => guide(spec)).toThrow(new OptionError("guide", message.slice("guide: ".length)));
  });
});
