import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ContextOverflowError, DisposedError, FormatError, OptionError } from "../errors.ts";
import type { TokenId } from "../token.ts";
import { Chat, type ChatEvent } from "./chat.ts";
import { generateText } from "./generate.ts";
import { toyModel } from "./testing/toy-model.ts";
import { toyTokenizer } from "./testing/toy-tokenizer.ts";

const tokenizer = toyTokenizer([..."abcdefghijklmnopqrstuvwxyz|"], { addBos: true });
/** The next letter of the alphabet; now and then, as the whole past has it, the end of the turn. */
function logits(tokens: readonly TokenId[]): number[] {
  const hash = tokens.reduce((sum: number, token) => (sum * 31 + token) % 9973, 7);
  const next = hash % 4 === 0 ? tokenizer.end : (tokens.at(-1)! + 1) % 26;
  return Array.from({ length: tokenizer.vocabSize }, (_, id) => (id === next ? 1 : 0));
}
const model = (contextLength = 256) => toyModel(tokenizer, { contextLength, logits });
const inputs = (toy: ReturnType<typeof model>, sequence = 0) =>
  toy.sequences[sequence]!.log.map(({ input }) => (input as TokenId[]).length);
const collect = async (events: AsyncIterable<ChatEvent>) => {
  const all: ChatEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
};

test("every answer is that of the whole conversation evaluated afresh", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: fc.constantFrom("a", "b", "k"), minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 }),
      async (texts) => {
        using chat = new Chat(model(), { system: "hi", generate: { maxTokens: 6 } });
        for (const text of texts) {
          const expected = await generateText(model(), [...chat.messages, { role: "user", content: text }], { maxTokens: 6 });
          const result = await chat.ask(text);
          expect(result).toMatchObject({ text: expected.text, tokens: expected.tokens, usage: expected.usage });
          expect(chat.messages.slice(-2)).toEqual([
            { role: "user", content: text },
            { role: "assistant", content: expected.text },
          ]);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("a turn evaluates only what the sequence does not hold", async () => {
  const toy = model();
  using chat = new Chat(toy, { generate: { maxTokens: 4, ignoreEndTokens: true, bias: { [tokenizer.end]: -50 } } });
  await chat.ask("ab"); // <bos>uab|a, then four tokens, the last of which is not evaluated
  expect(inputs(toy)).toEqual([6, 1, 1, 1]);
  await chat.ask("c"); // the last token, then |uc|a
  expect(toy.sequences).toHaveLength(1);
  expect(inputs(toy).slice(4)).toEqual([1 + 5, 1, 1, 1]);
});

describe("when the conversation outgrows the context", () => {
  test("whole turns are dropped from the oldest, never the system message, and it is said", async () => {
    using chat = new Chat(model(32), { system: "s", generate: { maxTokens: 4 } });
    const dropped: ChatEvent[] = [];
    for (const text of ["aaaa", "bbbb", "cccc", "dddd"]) {
      const events = await collect(chat.send(text));
      dropped.push(...events.filter(({ kind }) => kind === "dropped"));
      const finish = events.at(-1)!;
      if (finish.kind !== "finish") throw new Error("no finish");
      expect(finish.result.usage.promptTokens + 4).toBeLessThanOrEqual(32);
      const said = finish.result.facts.choices.filter(({ what }) => what === "history");
      expect(said).toHaveLength(events.some(({ kind }) => kind === "dropped") ? 1 : 0);
    }
    expect(dropped.length).toBeGreaterThan(0);
    expect(dropped[0]).toMatchObject({ numTurns: 1, messages: [{ role: "user", content: "aaaa" }, { role: "assistant" }] });
    expect(chat.messages[0]).toEqual({ role: "system", content: "s" });
    expect(chat.messages[1]!.role).toBe("user");
    expect(chat.messages.at(-2)).toEqual({ role: "user", content: "dddd" });
  });
  test("a message that alone exceeds it is refused, and the conversation is as before", async () => {
    using chat = new Chat(model(16), { system: "s", generate: { maxTokens: 4 } });
    await chat.ask("a");
    const before = chat.messages;
    await expect(chat.ask("b".repeat(20))).rejects.toThrow(ContextOverflowError);
    expect(chat.messages).toEqual(before);
    expect((await chat.ask("a")).usage.completionTokens).toBeGreaterThan(0);
  });
});

test("a turn that fails, is aborted or left early is not part of the conversation, and the next one is right", async () => {
  const toy = model();
  using chat = new Chat(toy, { generate: { maxTokens: 5, ignoreEndTokens: true } });
  await chat.ask("ab");
  const before = chat.messages;
  for await (const event of chat.send("cc")) if (event.kind === "token" && event.index === 1) break;
  await expect(chat.ask("dd", { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
  await expect(chat.ask("ee", { temperature: -1 })).rejects.toThrow(OptionError);
  expect(chat.messages).toEqual(before);
  const expected = await generateText(model(), [...before, { role: "user", content: "k" }], { maxTokens: 5, ignoreEndTokens: true });
  expect((await chat.ask("k")).tokens).toEqual(expected.tokens);
});

test("log-probabilities of the prompt cover what was cached too; parseSpecial has no place here", async () => {
  using chat = new Chat(model());
  await chat.ask("ab");
  const result = await chat.ask("c", { promptLogprobs: 0 });
  expect(result.promptLogprobs).toHaveLength(result.usage.promptTokens - 1);
  await expect(chat.ask("c", { parseSpecial: true })).rejects.toThrow(OptionError);
});

test("a chat's priority is its sequence's, and no turn's", async () => {
  const toy = model();
  using chat = new Chat(toy, { generate: { priority: 5, maxTokens: 2 } });
  await chat.ask("a");
  expect(toy.asked[0]!.priority).toBe(5);
  await expect(chat.ask("b", { priority: 1 })).rejects.toThrow("priority: belongs to the whole chat");
});

test("one turn at a time", async () => {
  using chat = new Chat(model());
  const first = chat.send("a");
  await first.next();
  await expect(chat.ask("b")).rejects.toThrow(/one turn at a time/);
  expect(() => chat.save()).toThrow(OptionError);
  await first.return();
  expect((await chat.ask("b")).usage.promptTokens).toBe(5);
});

test("clear forgets the turns and keeps the system message", async () => {
  using chat = new Chat(model(), { system: "s" });
  await chat.ask("a");
  chat.clear();
  expect(chat.messages).toEqual([{ role: "system", content: "s" }]);
});

test("disposed during a turn, it ends the turn first", async () => {
  const toy = model();
  const chat = new Chat(toy, { generate: { maxTokens: 3, ignoreEndTokens: true } });
  const turn = chat.send("a");
  await turn.next();
  chat[Symbol.dispose]();
  for await (const _ of turn);
  expect(() => toy.sequences[0]!.fork()).toThrow(DisposedError);
  await expect(chat.ask("b")).rejects.toThrow(DisposedError);
});

describe("a saved chat", () => {
  const options = { generate: { maxTokens: 5 } };
  async function saved() {
    using chat = new Chat(model(), { system: "s", ...options });
    await chat.ask("ab");
    return { text: chat.save(), messages: chat.messages, next: await chat.ask("c") };
  }
  test("goes on as the original, and evaluates as little of the next turn", async () => {
    const { text, messages, next } = await saved();
    const toy = model();
    using chat = await Chat.restore(toy, text, options);
    expect(chat.messages).toEqual(messages);
    const result = await chat.ask("c");
    expect(result.tokens).toEqual(next.tokens);
    expect(inputs(toy)[1]).toBeLessThan(inputs(toy)[0]!);
  });
  test("is refused when anything in it was changed, cut or is another model's", async () => {
    const { text } = await saved();
    const container = JSON.parse(text);
    const changed = (changes: object) => JSON.stringify({ ...container, ...changes });
    const cases: [string, RegExp][] = [
      ["", /not JSON/],
      ["null", /not a saved chat/],
      ["{}", /not a saved chat/],
      [text.slice(0, -9), /not JSON/],
      [changed({ version: 2 }), /has version 2/],
      [changed({ content: container.content.replace('"ab"', '"ac"') }), /damaged/],
      [changed({ content: container.content.slice(0, -1) }), /damaged/],
      [changed({ length: container.length + 1 }), /damaged/],
      [changed({ model: "other" }), /belongs to another model/],
    ];
    for (const [bad, message] of cases) {
      const error = await Chat.restore(model(), bad).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(FormatError);
      expect((error as Error).message).toMatch(message);
    }
    await expect(Chat.restore(model(8), text)).rejects.toThrow(/more than the context/);
  });
});
