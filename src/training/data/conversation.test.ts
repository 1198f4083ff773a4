import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { TokenId } from "../../token.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { RenderChat } from "./conversation.ts";
import { TokenFile } from "./token-file.ts";

const root = mkdtempSync(join(tmpdir(), "chainrule-conversation-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;

const end = "|".charCodeAt(0) as TokenId;
/** A character is the token of its code; `|` ends a turn, token 0 a text. */
const characters: Tokenizer = {
  ...{ vocabSize: 1000, bos: undefined, eos: 0 as TokenId, addBos: false, endTokens: new Set([0 as TokenId, end]) },
  encode: (text) => Array.from(text, (one) => one.charCodeAt(0) as TokenId),
  piece: (token) => Buffer.from(String.fromCharCode(token)),
  decode: (tokens) => String.fromCharCode(...tokens),
};
const chat: RenderChat = async (messages, addGenerationPrompt) =>
  messages.map(({ role, content }) => `${role[0]}:${content}|\n`).join("") + (addGenerationPrompt ? "a:" : "");

/** The document of each row, with what is learned in brackets. */
async function learned(rows: readonly unknown[], render: RenderChat | undefined = chat, bad: "stop" | "skip" = "stop"): Promise<string[]> {
  count += 1;
  const path = join(root, `${count}.jsonl`);
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  const folder = mkdtempSync(join(root, "tokens-"));
  const options = { format: "jsonl" as const, tokenizer: characters, vocabulary: "characters", contextLength: 64, bad, chat: render };
  using file = await TokenFile.prepare(path, folder, options);
  return Array.from(file.lengths, (length, document) => {
    const ids = new Int32Array(length);
    const isLearned = new Uint8Array(length);
    file.read(document, 0, ids, isLearned);
    const text = Array.from(ids, (id, i) => (isLearned[i] === 1 ? `[${String.fromCharCode(id)}]` : String.fromCharCode(id))).join("");
    return text.replaceAll("][", "").replaceAll("\0", "END");
  });
}

const turn = (role: string, content: string) => ({ role, content });

test("of every form the answers and what ends them are learned, nothing else", async () => {
  expect(
    await learned([
      { instruction: "add", input: "1 2", output: "3" },
      { instruction: "hi", input: "", output: "yo", id: 7 },
      { instruction: "who", context: "it is I", response: "you", category: "open_qa" },
      { messages: [turn("system", "S"), turn("user", "q"), turn("assistant", "r"), turn("user", "t"), turn("assistant", "v")] },
      {
        conversations: [
          { from: "human", value: "q" },
          { from: "gpt", value: "r" },
        ],
      },
      { prompt: "ab", completion: "cd" },
    ]),
  ).toEqual([
    "u:add\n\n1 2|\na:[3|]\n",
    "u:hi|\na:[yo|]\n",
    "u:who\n\nit is I|\na:[you|]\n",
    "s:S|\nu:q|\na:[r|]\nu:t|\na:[v|]\n",
    "u:q|\na:[r|]\n",
    "ab[cdEND]",
  ]);
});

test("where the template writes no end, the end of the text is learned", async () => {
  const open: RenderChat = async (messages, ask) => messages.map(({ content }) => `<${content}`).join("") + (ask ? "<" : "");
  expect(await learned([{ instruction: "q", output: "r" }], open)).toEqual(["<q<[rEND]"]);
});

test.each([
  [{ instruction: "q", output: "r", response: "r" }, /mixes forms \(instruction and output; instruction and response\)/],
  [{ instruction: "q", context: "c", output: "r" }, /mixes forms/],
  [{ messages: [turn("user", "q"), turn("assistant", "r")], text: "q r" }, /mixes forms \(messages; text\)/],
  [{ instruction: "q", output: "" }, /has an empty "output"/],
  [{ instruction: "q", output: "r", system: "s" }, /has "system"/],
  [{ instruction: "q", input: "i" }, /has no text as "output"/],
  [{ messages: [turn("user", "q")] }, /without an answer/],
  [{ messages: [turn("assistant", "r")] }, /messages\[0\] before any question/],
  [{ messages: [turn("robot", "r")] }, /messages\[0\]\.role that is none of/],
  [{ messages: [turn("user", "q"), { ...turn("assistant", "r"), weight: 1 }] }, /messages\[1\]\.weight/],
  [{ instruction: "q" }, /has neither/],
])("row %j is an error with its line, or is skipped", async (row, reason) => {
  const good = { instruction: "q", output: "r" };
  await expect(learned([good, row])).rejects.toThrow(reason);
  await expect(learned([good, row])).rejects.toThrow(/jsonl: line 2 /);
  expect(await learned([good, row, good], chat, "skip")).toEqual(["u:q|\na:[r|]\n", "u:q|\na:[r|]\n"]);
});

test("a template that changes earlier turns is refused", async () => {
  const forgetful: RenderChat = async (messages, ask) => chat(messages.slice(-2), ask);
  const messages = [turn("user", "q"), turn("assistant", "r"), turn("user", "t"), turn("assistant", "v")];
  await expect(learned([{ messages }], forgetful)).rejects.toThrow(/line 1 can't be learned turn by turn.*message 4/);
});
