import { expect, test } from "vitest";
import { ContextOverflowError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { scoreChoices } from "./score-choices.ts";
import { softmax } from "./testing/reference.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abcdefg:"]);
const { vocabSize } = tokenizer;
const letters = [..."abcdefg:"];
/** Every token of the path matters. */
const logits = (tokens: readonly TokenId[]) => {
  const hash = tokens.reduce((sum: number, token) => (sum * 31 + token * 7) % 9973, 5);
  return Array.from({ length: vocabSize }, (_, id) => ((hash * (id + 3)) % 41) / 8);
};

test("the probabilities of all strings of two tokens sum to 1, where the others have none", async () => {
  const law = (tokens: readonly TokenId[]) => logits(tokens).map((logit, id) => (id < letters.length ? logit : Number.NEGATIVE_INFINITY));
  const model = toyModel(tokenizer, { logits: law });
  const strings = letters.flatMap((a) => letters.map((b) => a + b));
  const { choices, best } = await scoreChoices(model, "abc", strings);
  expect(choices.reduce((sum, { total }) => sum + Math.exp(total), 0)).toBeCloseTo(1, 5); // rows are float32
  // by the law itself
  const totals = strings.map((text) => {
    const [first, second] = tokenizer.encode(text) as [TokenId, TokenId];
    const start = tokenizer.encode("abc");
    return Math.log(softmax(law(start))[first]!) + Math.log(softmax(law([...start, first]))[second]!);
  });
  expect(choices.map(({ total }) => total)).toEqual(totals.map((total) => expect.closeTo(total, 4)));
  expect(best).toBe(totals.indexOf(Math.max(...totals)));
});

test("the rules: total, mean and the total less that without the question; the prompt is read once", async () => {
  const model = toyModel(tokenizer, { logits });
  const texts = ["a", "bcd", "ef"];
  const by = async (rule: "total" | "mean" | "unconditional", prompt = "abc") =>
    (await scoreChoices(model, prompt, texts, { rule, ...(rule === "unconditional" ? { without: "g:" } : {}) })).choices;
  const [total, mean, unconditional, alone] = [await by("total"), await by("mean"), await by("unconditional"), await by("total", "g:")];
  for (const [index, choice] of total.entries()) {
    expect(choice.score).toBe(choice.total);
    expect(mean[index]!.score).toBeCloseTo(choice.total / texts[index]!.length, 12);
    expect(unconditional[index]!.score).toBeCloseTo(choice.total - alone[index]!.total, 12);
  }
  expect(model.sequences[0]!.log.map(({ input }) => (input as readonly TokenId[]).length)).toEqual([3]); // the choices in forks
});

test("the unconditional score does not change when a choice is made more probable everywhere", async () => {
  const share = [0.05, 0.02, 0.08]; // what the question makes of each, and twice that of the second without it
  const scores = async (prior: readonly number[]) => {
    const law = (tokens: readonly TokenId[]) => {
      const own = prior.map((p, id) => p * share[id]! * (tokens.at(-1) === 7 && id === 1 ? 2 : 1));
      const rest = 1 - own.reduce((sum, p) => sum + p, 0);
      return Array.from({ length: vocabSize }, (_, id) => Math.log(own[id] ?? (id === 3 ? rest : 0)));
    };
    const { choices } = await scoreChoices(toyModel(tokenizer, { logits: law }), "de", ["a", "b", "c"], {
      rule: "unconditional",
      without: "g:",
    });
    return choices.map(({ score }) => score);
  };
  const plain = await scores([1, 1, 1]);
  expect(plain).toEqual([0, -Math.LN2, 0].map((score) => expect.closeTo(score, 5)));
  expect(await scores([1, 4, 0.3])).toEqual(plain.map((score) => expect.closeTo(score, 5)));
});

test("what can't be scored is refused by name", async () => {
  const model = toyModel(tokenizer, { logits, contextLength: 6 });
  const refuse = (choices: readonly string[], options: object, message: string) =>
    expect(scoreChoices(model, "abc", choices, options)).rejects.toThrow(message);
  await refuse([], {}, "choices: must be a list of at least one text");
  await refuse(["a", ""], {}, 'choices: must be texts that are not empty, got ""');
  await refuse(["a"], { rule: "best" }, 'rule: must be one of total, mean, unconditional, got "best"');
  await refuse(["a"], { without: "x" }, 'without: belongs to rule "unconditional", the rule is "total"');
  await refuse(["a"], { temperature: 1 }, "temperature: is no option; the options are rule");
  await expect(scoreChoices(model, "abc", ["abcde"])).rejects.toBeInstanceOf(ContextOverflowError);
  await expect(scoreChoices(model, "abc", ["abcd"])).resolves.toMatchObject({ best: 0 });
  const merging = toyTokenizer([" ", "a", " a", "b"]);
  const spaced = toyModel(merging, { logits: () => [0, 0, 0, 0, 0, 0] });
  await expect(scoreChoices(spaced, "b ", ["a"])).rejects.toThrow(OptionError);
  await expect(scoreChoices(spaced, "b ", ["a"])).rejects.toThrow('"a" can\'t be scored after a prompt that ends with "b "');
  for (const { sequences } of [model, spaced]) for (const sequence of sequences) expect(() => sequence.fork()).toThrow();
});
