import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import type { TokenId } from "../../src/token.ts";
import { LlamaVocabulary } from "../../src/tokenizer/index.ts";
import { trainFile } from "../../src/training/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const notLearned = 2 ** 31;
const conversations = [
  [
    { role: "system", content: "Bạn là một trợ lý hữu ích." },
    { role: "user", content: "Điều 1 nói gì về quyền của mọi người?" },
    { role: "assistant", content: "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi." },
    { role: "user", content: "Cảm ơn! Ở đâu, thưở nào, nghĩa là gì — “ữ”, ‘ằ’, ỹ?" },
    { role: "assistant", content: "Đó là những chữ có dấu: ữ ằ ỹ ợ ặ." },
  ],
  [
    // the same letters as base letters with combining marks: what was written is what is read
    { role: "user", content: "Tiếng Việt".normalize("NFD") },
    { role: "assistant", content: "được ạ".normalize("NFD") },
  ],
];

test("a Vietnamese conversation is learned from as the template writes it, every mark in its place", async () => {
  using folder = temporaryFolder();
  const base = join(folder.path, "chat.gguf");
  const data = join(folder.path, "data.jsonl");
  const out = join(folder.path, "run");
  await writeTinyChatModel(base, { contextLength: 1024 });
  writeFileSync(data, conversations.map((messages) => JSON.stringify({ messages })).join("\n"));
  await trainFile({ data, start: { kind: "model", path: base }, out, steps: 1, sequences: 1, length: 32, validation: 0 });

  const words = (name: string) => new Uint32Array(Uint8Array.from(readFileSync(join(out, "data", name))).buffer);
  const tokens = words("tokens.bin");
  using file = openGguf(base);
  using tokenizer = await LlamaVocabulary.load(file, { contextLength: 1024 });
  const decode = (ids: Uint32Array) =>
    tokenizer.decode(
      [...ids].map((id) => (id % notLearned) as TokenId),
      { special: true },
    );
  let at = 0;
  for (const [i, length] of words("documents.bin").entries()) {
    const ids = tokens.subarray(at, at + length);
    at += length;
    const turns = conversations[i]!.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
    expect(decode(ids)).toBe(turns.join(""));
    const answers = conversations[i]!.filter(({ role }) => role === "assistant").map(({ content }) => `${content}<|im_end|>`);
    expect(decode(ids.filter((id) => id < notLearned))).toBe(answers.join(""));
  }
  expect(at).toBe(tokens.length);
});
