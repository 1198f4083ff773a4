import { expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { RenderChat } from "./conversation.ts";
import { encodeSample, notLearned } from "./encode.ts";
import { PairSource } from "./pairs.ts";
import { readPreference } from "./preferences.ts";

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });

test("the common forms of preferences are read", () => {
  const chat = { form: "chat", messages: [user("q")], chosen: "a", rejected: "b" };
  expect(readPreference({ prompt: "q", chosen: "a", rejected: "b", score: 1 })).toEqual({
    form: "text",
    prompt: "q",
    chosen: "a",
    rejected: "b",
  });
  expect(readPreference({ prompt: [user("q")], chosen: "a", rejected: "b" })).toEqual(chat);
  expect(readPreference({ prompt: [user("q")], chosen: [assistant("a")], rejected: [assistant("b")] })).toEqual(chat);
  expect(readPreference({ prompt: "q", chosen: [assistant("a")], rejected: [assistant("b")] })).toEqual(chat);
  // whole conversations, with their question repeated or not
  expect(readPreference({ chosen: [user("q"), assistant("a")], rejected: [user("q"), assistant("b")] })).toEqual(chat);
  expect(readPreference({ prompt: "q", chosen: [user("q"), assistant("a")], rejected: [user("q"), assistant("b")], messages: [] })).toEqual(
    chat,
  );
  expect(readPreference({ system: "s", question: "q", chosen: "a", rejected: "b" })).toEqual({
    ...chat,
    messages: [{ role: "system", content: "s" }, user("q")],
  });
  const dialogue = "\n\nHuman: q\n\nAssistant: one\n\nHuman: more\n\nAssistant:";
  expect(readPreference({ chosen: `${dialogue} a`, rejected: `${dialogue} b` })).toEqual({
    ...{ form: "text", prompt: dialogue, chosen: " a", rejected: " b" },
  });
});

test.each([
  [{ prompt: "q", chosen: "a" }, /has no preference/],
  [{ prompt: "q", chosen: "a", rejected: "a" }, /the same answer/],
  [{ prompt: "q", chosen: " ", rejected: "b" }, /empty answer/],
  [{ prompt: "q", chosen: "a", rejected: 7 }, /no text as "rejected"/],
  [{ chosen: "a", rejected: "b" }, /no "prompt"/],
  [{ chosen: "\n\nAssistant: a", rejected: "\n\nHuman: x\n\nAssistant: b" }, /differ before/],
  [{ chosen: [user("q"), assistant("a")], rejected: [user("r"), assistant("b")] }, /differ before/],
  [{ chosen: [assistant("a")], rejected: [assistant("b")] }, /no question/],
  [{ prompt: "other", chosen: [user("q"), assistant("a")], rejected: [user("q"), assistant("b")] }, /not in its conversations/],
  [{ chosen: [user("q")], rejected: [user("r")] }, /without an answer/],
  [{ question: "q", prompt: "p", chosen: "a", rejected: "b" }, /mixes forms/],
  [{ prompt: 3, chosen: "a", rejected: "b" }, /no text as "prompt"/],
  [{ prompt: [{ role: "judge", content: "q" }], chosen: "a", rejected: "b" }, /prompt\[0\]\.role/],
])("a row that is no preference says why: %j", (row, reason) => {
  expect(readPreference(row)).toMatchObject({ reason: expect.stringMatching(reason) });
});

/** A character is the token of its code; 0 ends a text, "|" a turn. */
const characters: Tokenizer = {
  ...{ vocabSize: 1000, bos: 1 as TokenId, eos: 0 as TokenId, addBos: true, endTokens: new Set([0, 124] as TokenId[]) },
  encode: (text, { bos = false } = {}) => [...(bos ? [1 as TokenId] : []), ...Array.from(text, (one) => one.charCodeAt(0) as TokenId)],
  piece: (token) => Buffer.from(String.fromCharCode(token)),
  decode: (tokens) => String.fromCharCode(...tokens),
};
const chat: RenderChat = async (messages, addGenerationPrompt) =>
  messages.map(({ role, content }) => `${role[0]}:${content}|\n`).join("") + (addGenerationPrompt ? "a:" : "");
const codes = (text: string) => Array.from(text, (one) => one.charCodeAt(0));

test("a pair is its prompt, the chosen answer, the prompt's last token and the rejected answer, each answer with its end", async () => {
  const encoded = await encodeSample(
    { kind: "pair", line: 1, preference: { form: "chat", messages: [{ role: "user", content: "q" }], chosen: "yes", rejected: "n" } },
    { tokenizer: characters, chat, contextLength: 64 },
  );
  const read = (ids: number[]) => ids.map((id) => id + notLearned);
  expect([...(encoded as { ids: Uint32Array }).ids]).toEqual([
    ...read([1, ...codes("u:q|\na:")]),
    ...codes("yes|"),
    ...read(codes(":")),
    ...codes("n|"),
  ]);
  expect(
    await encodeSample(
      { kind: "pair", line: 1, preference: { form: "text", prompt: "ab", chosen: "c", rejected: "d" } },
      { tokenizer: characters, contextLength: 7 },
    ),
  ).toEqual({ reason: "has 8 tokens in its prompt and both answers, more than 7" });
});

test("in a batch the rejected answer goes on from the prompt and doesn't see the chosen one", () => {
  // prompt 5 6, chosen 7 8, again 6, rejected 9
  const ids = [5, 6, 7, 8, 6, 9];
  const learned = [0, 0, 1, 1, 0, 1];
  const documents = {
    lengths: Uint32Array.of(6),
    identity: {},
    read: (_: number, __: number, into: Int32Array, isLearned: Uint8Array) => {
      into.set(ids);
      isLearned.set(learned);
    },
  };
  const batch = new PairSource(documents, { sequences: 2, length: 8, seed: 1, validation: 0 }).read([0]);
  expect([...batch.positions.subarray(0, 6)]).toEqual([0, 1, 2, 3, 1, 2]);
  expect([...batch.side.subarray(0, 6)]).toEqual([0, 1, 1, 0, -1, 0]);
  expect([...batch.targets.subarray(0, 6)]).toEqual([0, 7, 8, 0, 9, 0]);
  expect([...batch.deletedAt.subarray(0, 6)]).toEqual([16, 4, 4, 4, 16, 16]);
  expect([...batch.pairs]).toEqual([0, -1]);
  expect(batch).toMatchObject({ targetCount: 1, tokenCount: 3 });
  expect(() => new PairSource(documents, { sequences: 2, length: 5, seed: 1, validation: 0 })).toThrow(
    "length: is 5, and a pair has 6 tokens",
  );
});

test("an epoch has every pair once, in another order than the next, and the same at any time", () => {
  const documents = {
    lengths: new Uint32Array(12).fill(4),
    identity: {},
    read: (_: number, __: number, into: Int32Array, isLearned: Uint8Array) => {
      into.set([1, 2, 1, 3]);
      isLearned.set([0, 1, 0, 1]);
    },
  };
  const source = () => new PairSource(documents, { sequences: 3, length: 4, seed: 4, validation: 0 });
  const epoch = (first: number) => Array.from({ length: 4 }, (_, i) => [...source().training(first + i).pairs]).flat();
  expect(epoch(0).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  expect(epoch(4)).not.toEqual(epoch(0));
  expect(epoch(4).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
});
