import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NativeError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { parseMethod } from "../method.ts";
import { registry } from "../registry.ts";
import { chiSquare, type Law, referenceShapes, softmax } from "../testing/reference.ts";
import { outsideRun } from "../testing/toy-model.ts";
import { topCandidates } from "../testing/toy-sequence.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { Distribution } from "./distribution.ts";
import { randomDraw } from "./random-draw.ts";
import type { ChoiceRule, Shape } from "./sampler.ts";
import { StepSampler } from "./step.ts";

const run = {
  tokenizer: toyTokenizer([]),
  stop: { endTokens: new Set<TokenId>(), stopTokens: new Set<TokenId>(), stopTexts: [], maxTokens: 100 },
  ...outsideRun,
};
const shape = (spec: string) => {
  const { method, values } = parseMethod(registry.sample, spec, "sample");
  return method.create(values) as Shape;
};
const greedy = parseMethod(registry.sample, "greedy", "sample").method.create({}) as ChoiceRule;

/** The law that a distribution with no unknown rest stands for. */
function lawOf(distribution: Distribution, vocabSize: number): Law {
  expect(distribution.restCount).toBe(0);
  const law = new Array<number>(vocabSize).fill(0);
  const probabilities = softmax(distribution.logits.subarray(0, distribution.size));
  for (let place = 0; place < distribution.size; place++) law[distribution.ids[place]!] = probabilities[place]!;
  return law;
}

function expectLaw(actual: Law, expected: Law): void {
  expect(Math.max(...expected.map((p, id) => Math.abs(actual[id]! - p)))).toBeLessThan(1e-9);
}

/** Logits from few distinct values, so that ties are common; far enough apart that no threshold falls on rounding noise. */
const logitsArbitrary = fc
  .array(fc.integer({ min: -12, max: 12 }), { minLength: 2, maxLength: 40 })
  .map((steps) => Float32Array.from(steps, (step) => step * 0.37));
const shapeArbitrary = fc.oneof(
  fc.constantFrom(0.31, 0.83, 1.7).map((value) => ({ name: "temperature", value })),
  fc.integer({ min: 1, max: 12 }).map((value) => ({ name: "top-k", value })),
  fc.constantFrom(0.013, 0.377, 0.711, 0.953).map((value) => ({ name: "top-p", value })),
  fc.constantFrom(0.0137, 0.113, 0.521).map((value) => ({ name: "min-p", value })),
  fc.constantFrom(0.173, 0.5711, 0.9137).map((value) => ({ name: "typical", value })),
);
const parameterOf: Record<string, string> = { temperature: "value", "top-k": "k", "top-p": "p", "min-p": "p", typical: "p" };
const runs = process.env.CHAINRULE_SOAK ? 100_000 : 1_000;

test("chains of shapes have the formulas' laws on the full row, and on candidates wherever these suffice", () => {
  let sufficed = 0;
  fc.assert(
    fc.property(
      logitsArbitrary,
      fc.array(shapeArbitrary, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 40 }),
      (logits, specs, k) => {
        const expected = specs.reduce((law, { name, value }) => referenceShapes[name]!(law, value), softmax(logits));
        const shapes = specs.map(({ name, value }) => shape(`${name},${parameterOf[name]}=${value}`));
        const candidates = topCandidates(logits, Math.min(k, logits.length));

        const full = new Distribution(logits.length);
        full.loadFull(logits, candidates);
        for (const each of shapes) expect(each.apply(full)).toBe(true);
        expectLaw(lawOf(full, logits.length), expected);

        const partial = new Distribution(logits.length);
        partial.load(candidates);
        if (!shapes.every((each) => each.apply(partial))) return;
        if (partial.restCount === 0) {
          sufficed++;
          expectLaw(lawOf(partial, logits.length), expected);
        }
        for (let index = 0; index < 20; index++) {
          const point = { seed: 1, stream: 0, index };
          const onCandidates = randomDraw.start([]).choose(partial, point, 1)?.[0];
          if (onCandidates !== undefined)
            expect(partial.ids[onCandidates]).toBe(full.ids[randomDraw.start([]).choose(full, point, 1)![0]!]);
        }
      },
    ),
    { numRuns: runs },
  );
  expect(sufficed).toBeGreaterThan(runs / 10); // the property is not met by never sufficing
});

describe("the tail of a real vocabulary is not needed where the candidates decide", () => {
  const vocabSize = 49_152;
  const logits = Float32Array.from({ length: vocabSize }, (_, id) => (id < 30 ? 20 - id / 2 : -5 - (id % 7)));
  const candidates = topCandidates(logits, 64);
  test.each(["top-k,k=40", "top-p,p=0.9", "min-p,p=0.05", "temperature,value=0.7"])("%s", (spec) => {
    const distribution = new Distribution(vocabSize);
    distribution.load(candidates);
    expect(shape(spec).apply(distribution)).toBe(true);
    expect(randomDraw.start([]).choose(distribution, { seed: 3, stream: 0, index: 0 }, 1)).toBeDefined();
  });
  test("typical alone does need it: the entropy is over all tokens", () => {
    const distribution = new Distribution(vocabSize);
    distribution.load(candidates);
    expect(shape("typical,p=0.9").apply(distribution)).toBe(false);
  });
});

/** Draws many tokens of one row the way a run does: on candidates, and on the full row where these do not suffice. */
async function drawMany(logits: Float32Array, specs: readonly string[], numCandidates: number, draws: number) {
  const sampler = await StepSampler.start(
    { guides: [], shapes: specs.map(shape), choice: randomDraw, seed: 20_26 },
    logits.length,
    [],
    run,
  );
  const candidates = topCandidates(logits, numCandidates);
  const counts = new Array<number>(logits.length).fill(0);
  let fullReads = 0;
  let isRawLogit = true;
  for (let index = 0; index < draws; index++) {
    let chosen = sampler.choose({ row: 0, candidates, scores: new Float32Array() }, { stream: 0, index });
    if (chosen === undefined) {
      fullReads++;
      chosen = sampler.choose({ row: 0, candidates, scores: new Float32Array(), logits }, { stream: 0, index });
    }
    isRawLogit &&= chosen!.logit === logits[chosen!.token];
    counts[chosen!.token]!++;
  }
  expect(isRawLogit).toBe(true);
  return { counts, fullReads };
}

describe("draws follow the analytic law (chi-square, 99.9 %)", () => {
  const logits = Float32Array.from([2, 1.5, 1.5, 0.7, 0.2, 0, -0.4, -1, -1, -2, -2.5, -4]);
  const draws = process.env.CHAINRULE_SOAK ? 1_000_000 : 20_000;
  const chains: [specs: [string, number][], numCandidates: number][] = [
    [[], 4],
    [[["temperature", 0.6]], 4],
    [[["temperature", 1.8]], 4],
    [[["top-k", 3]], 4],
    [[["top-p", 0.8]], 5],
    [[["min-p", 0.1]], 6],
    [[["typical", 0.7]], 4],
    [[["top-k", 6], ["typical", 0.9], ["top-p", 0.9], ["min-p", 0.05], ["temperature", 1.3]], 8], // biome-ignore format: one chain, one line
    [[["temperature", 1.3], ["top-p", 0.9]], 4], // biome-ignore format: one chain, one line
  ];
  test.each(chains)("%j on %i candidates", async (specs, numCandidates) => {
    const written = specs.map(([name, value]) => `${name},${parameterOf[name]}=${value}`);
    const { counts, fullReads } = await drawMany(logits, written, numCandidates, draws);
    const law = specs.reduce((before, [name, value]) => referenceShapes[name]!(before, value), softmax(logits));
    const { statistic, limit } = chiSquare(counts, law);
    expect(statistic).toBeLessThan(limit);
    if (specs.length === 0) expect(fullReads / draws).toBeLessThan(0.3); // only as often as the draw may fall on the rest
  });
  test("the statistic refuses a wrong law", async () => {
    const { counts } = await drawMany(logits, ["temperature,value=0.6"], 4, draws);
    const { statistic, limit } = chiSquare(counts, softmax(logits));
    expect(statistic).toBeGreaterThan(limit);
  });
});

test("greedy takes the largest logit, the lowest id where several are", async () => {
  const sampler = await StepSampler.start({ guides: [], shapes: [], choice: greedy, seed: 0 }, 5, [], run);
  const row = { row: 0, candidates: topCandidates(Float32Array.from([0, 3, 1, 3, 2]), 1), scores: new Float32Array() };
  expect(sampler.want({ top: 0, isPrompt: true })).toEqual({ logits: "last", top: 1, fullLogits: false });
  expect(sampler.choose(row, { stream: 0, index: 0 })).toEqual({ token: 1, logit: 3 });
});

test("top-k = 1 is greedy whatever is drawn", async () => {
  const logits = Float32Array.from([0.1, 0.3, 0.2]);
  expect((await drawMany(logits, ["top-k,k=1"], 2, 100)).counts).toEqual([0, 100, 0]);
});

test("logits that are no numbers are an error, not a token", async () => {
  const sampler = await StepSampler.start({ guides: [], shapes: [], choice: greedy, seed: 0 }, 3, [], run);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const row = { row: 0, candidates: topCandidates(Float32Array.from([0, bad, 1]), 2), scores: new Float32Array() };
    expect(() => sampler.choose(row, { stream: 0, index: 0 })).toThrow(NativeError);
  }
});

test("tokens that a model rules out with -Infinity are never drawn", async () => {
  const logits = Float32Array.from([0, Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY]);
  const { counts } = await drawMany(logits, ["temperature,value=1.5"], 3, 2000);
  expect(counts[1]! + counts[3]!).toBe(0);
  expect(chiSquare(counts, [0.5, 0, 0.5, 0]).statistic).toBeLessThan(10.83);
});

test("a vocabulary's last token can be drawn", async () => {
  const logits = new Float32Array(300).fill(-20);
  logits[299] = 5;
  const { counts } = await drawMany(logits, [], 2, 50);
  expect(counts[299]).toBe(50);
});

test("several tokens of a row: greedy gives the most probable, a draw gives them without replacement (chi-square, 99.9 %)", async () => {
  const logits = Float32Array.from([0.3, 1.2, -0.4, 0.9]);
  const law = softmax(logits);
  const row = { row: 0, candidates: topCandidates(logits, 4), logits };
  const taking = { count: 3, isNormalized: false };
  const best = await StepSampler.start({ guides: [], shapes: [], choice: greedy, seed: 0 }, 4, [], run, taking);
  expect(best.several(row, { stream: 0, index: 0 })!.map(({ token }) => token)).toEqual([1, 3, 0]);
  const sampler = await StepSampler.start({ guides: [], shapes: [], choice: randomDraw, seed: 5 }, 4, [], run, taking);
  const counts = new Array<number>(16).fill(0);
  for (let index = 0; index < 8000; index++) {
    const several = sampler.several(row, { stream: 0, index })!;
    expect(new Set(several.map(({ token }) => token)).size).toBe(3);
    expect(several[0]!.token).toBe(sampler.choose(row, { stream: 0, index })!.token);
    expect(several[1]!.logprob).toBeCloseTo(Math.log(law[several[1]!.token]!), 6);
    counts[several[0]!.token * 4 + several[1]!.token]!++;
  }
  const pairs = counts.map((_, pair) => {
    const [first, second] = [Math.floor(pair / 4), pair % 4];
    return first === second ? 0 : (law[first]! * law[second]!) / (1 - law[first]!);
  });
  const { statistic, limit } = chiSquare(counts, pairs);
  expect(statistic).toBeLessThan(limit);
});
