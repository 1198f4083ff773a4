import { describe, expect, test } from "vitest";
import type { CostCurve } from "../../engine/index.ts";
import { OptionError } from "../../errors.ts";
import type { TokenId } from "../../token.ts";
import { generateText } from "../generate.ts";
import type { DecodingModel } from "../model.ts";
import type { GenerateOptions } from "../options.ts";
import { toyModel } from "../testing/toy-model.ts";
import { toyTokenizer } from "../testing/toy-tokenizer.ts";

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
      expect(time).toBeLessThanOrEqual(1.03 * plain.facts.passes);
      if (logits === looping && slope < 1 && options.temperature === undefined) expect(time).toBeLessThan(plain.facts.passes / 1.5);
      if (slope === 1) {
        expect(drafts).toMatchObject({ drafted: 0, offBecause: "no draft promised more tokens for its time than a pass alone" });
        expect(drafted.facts.choices).toContainEqual(expect.objectContaining({ what: "draft", chosen: "off" }));
      }
    },
  );
});

test("a model without a cost curve is refused, naming it", async () => {
  const bare = toyModel(tokenizer, { logits: looping });
  const error = await generateText(bare, prompt, { draft: "auto" }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OptionError);
  expect((error as Error).message).toBe("draft: auto needs the model's cost curve, and this model has none");
  expect(() => bare.sequences[0]!.fork()).toThrow(/disposed/);
});
