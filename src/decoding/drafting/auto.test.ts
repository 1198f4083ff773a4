import { describe, expect, test } from "vitest";
import type { CostCurve } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import { type DecodingModel, decodingModel } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";
import { clairvoyantGain } from "./worth.ts";

const tokenizer = toyTokenizer(Array.from({ length: 200 }, (_, id) => String.fromCharCode(0x4e00 + id)));
const peak = (next: (tokens: readonly TokenId[]) => number) => (tokens: readonly TokenId[]) =>
  Array.from({ length: tokenizer.vocabSize }, (_, id) => (id === next(tokens) ? 6 : (id * 7) % 3));
const looping = peak((tokens) => (tokens.at(-1)! * 5 + tokens.at(-2)! + 1) % 13);
const wandering = peak((tokens) => (tokens.length * tokens.length * 17 + tokens.at(-1)!) % 200);

/** T(n)/T(1) = 1 + slope · (n - 1) */
function model(logits: (tokens: readonly TokenId[]) => number[], slope: number): DecodingModel {
  const curve: CostCurve = { singleRowMs: 1, points: [], ratio: (rows) => 1 + slope * (rows - 1) };
  return { ...toyModel(tokenizer, { logits }), costCurve: async () => curve };
}
const prompt = [1, 2, 3] as TokenId[];

describe.each([
  ["text that repeats, rows cheap", looping, 0.1],
  ["text that repeats, rows as dear as passes", looping, 1],
  ["text without repeats, rows cheap", wandering, 0.1],
  ["text without repeats, rows free", wandering, 0],
] as const)("%s", (_, logits, slope) => {
  test.each<GenerateOptions>([{}, { temperature: 0.7, seed: 3 }])(
    "the answer is the plain one, and no slower by the curve than 1.03 of its time: %o",
    async (options) => {
      const given = { ...options, maxTokens: 200, ignoreEndTokens: true };
      const plain = await generateText(model(logits, slope), prompt, given);
      const drafted = await generateText(model(logits, slope), prompt, { ...given, draft: "auto" });
      expect(drafted.tokens).toEqual(plain.tokens);
      const { passes, rows, drafts } = drafted.facts;
      const time = passes + slope * (rows - passes - (prompt.length - 1)); // the prompt's rows are no choice
      // the first token is the prompt's; a draw may ask for a row again, in full
      if (options.temperature === undefined) expect(drafts!.expectedGain).toBeCloseTo((given.maxTokens - 1) / (time - 1), 9);
      expect(time).toBeLessThanOrEqual(1.03 * plain.facts.passes);
      if (logits === looping && slope < 1 && options.temperature === undefined) expect(time).toBeLessThan(plain.facts.passes / 1.5);
      if (slope === 1) {
        expect(drafts).toMatchObject({
          drafted: 0,
          expectedGain: 1,
          offBecause: "no draft promised more tokens for its time than a pass alone",
        });
        expect(drafted.facts.choices).toContainEqual(expect.objectContaining({ what: "draft", chosen: "off" }));
      }
    },
  );
});

test("an answer that copies its prompt comes nearly as fast as if the draft knew it", async () => {
  // much as of a q4_0 file on two cores: four rows are cheap, sixteen cheaper still for their number
  const ratio = (rows: number) => (rows === 1 ? 1 : rows <= 4 ? 1.6 : rows <= 8 ? 2.6 : 0.26 * rows);
  const curve: CostCurve = { singleRowMs: 1, points: [], ratio };
  const original = Array.from({ length: 90 }, (_, at) => ((at * at * 7 + at * 31) % 199) as TokenId);
  const copying = peak((tokens) => original[tokens.length % original.length]!);
  const copyist: DecodingModel = { ...toyModel(tokenizer, { logits: copying }), costCurve: async () => curve };
  const { facts } = await generateText(copyist, original, { maxTokens: 65, ignoreEndTokens: true, draft: "auto" });
  expect(facts.drafts!.expectedGain).toBeGreaterThan(0.75 * clairvoyantGain(curve, 64, 15));
});

test("a model without a cost curve is refused, naming it", async () => {
  const bare = toyModel(tokenizer, { logits: looping });
  const error = await generateText(bare, prompt, { draft: "auto" }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OptionError);
  expect((error as Error).message).toBe("draft: auto needs the model's cost curve, and this model has none");
  expect(() => bare.sequences[0]!.fork()).toThrow(/disposed/);
});

describe("with a draft model", () => {
  const answer = async (
    law: (tokens: readonly TokenId[]) => number[],
    drafter: (tokens: readonly TokenId[]) => number[],
    price: number,
  ) => {
    const small = model(drafter, 0.1);
    const curve = { ...(await small.costCurve!({})), singleRowMs: price };
    const other = { ...small, costCurve: async () => curve };
    const options = { maxTokens: 60, ignoreEndTokens: true };
    const draft = { name: "auto", model: { [decodingModel]: other } };
    const [plain, drafted] = [
      await generateText(model(law, 0.1), prompt, options),
      await generateText(model(law, 0.1), prompt, { ...options, draft }),
    ];
    expect(drafted.tokens).toEqual(plain.tokens);
    return drafted.facts;
  };

  test("one that is right and cheap is taken", async () => {
    const facts = await answer(wandering, wandering, 0.05);
    expect(facts.choices.find(({ what }) => what === "draft")!.chosen).toMatch(/^model,nodes=/);
    expect(facts.tokensPerPass).toBeGreaterThan(1.5); // a draft must show its worth first, and its model is rarely sure
  });

  test.each([
    ["one that is always wrong", looping, 0.05],
    ["one that costs as much as what it saves", wandering, 1.5],
  ] as const)("%s leaves after its trials", async (_, drafter, price) => {
    const facts = await answer(wandering, drafter, price);
    expect(facts.drafts!.accepted).toBe(0);
    expect(facts.models![0]!.passes).toBeLessThanOrEqual(6 * 4);
  });
});
