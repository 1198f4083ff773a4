import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { type DecodingModel, type GenerateOptions, generateText } from "../../src/decoding/index.ts";
import type { Sequence } from "../../src/engine/index.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { load } from "../../src/index.ts";
import type { TokenId } from "../../src/token.ts";
import { LlamaVocabulary } from "../../src/tokenizer/index.ts";
import { ActionSource, type Documents, type TrainFileOptions, trainFile, writeModelWithBackspace } from "../../src/training/index.ts";
import { openGguf, readRows } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { ReencodingSequence } from "../support/reencoding-sequence.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const tiny = fileURLToPath(new URL("../../assets/tiny.gguf", import.meta.url));

test("on a real file a text that went back and on has the tokens and log-probabilities of every state read anew", async () => {
  using file = openGguf(tiny);
  using tokenizer = await LlamaVocabulary.load(file, { contextLength: 256 });
  await using opened = await openEngine(tiny, { contextLength: 256, strict: true });
  const fresh = (): Sequence => opened.engine.sequence();
  const { vocabSize } = tokenizer;
  const contextLength = 256;
  const model: DecodingModel = { hash: "tiny", vocabSize, contextLength, tokenizer, sequence: fresh };
  const anew: DecodingModel = { ...model, sequence: () => new ReencodingSequence(fresh) };
  const prompt = tokenizer.encode("And the king said unto");
  const [comma] = tokenizer.encode(",", { bos: false }); // stands for the backspace in a model that has none: frequent enough
  let taken = 0;
  for (const more of [
    {},
    { temperature: 1, seed: 3 },
    { repetitionPenalty: 1.3, temperature: 0.8, topP: 0.9, seed: 4 },
  ] as GenerateOptions[]) {
    const options = { maxTokens: 24, logprobs: 2, ignoreEndTokens: true, search: { name: "backspace", token: comma, back: 4 }, ...more };
    const [cached, reread] = [await generateText(model, prompt, options), await generateText(anew, prompt, options)];
    expect(cached.tokens).toEqual(reread.tokens);
    expect(cached.logprobs).toEqual(reread.logprobs);
    expect(cached.facts.branches).toEqual(reread.facts.branches);
    taken += Number(cached.facts.choices.find(({ what }) => what === "backspaces")!.chosen);
    // a backspace costs no pass: the prompt's gives the first token, and every token but the last that was ever written has one
    const writtenOnce = cached.facts.rows - prompt.length;
    expect(writtenOnce).toBeLessThanOrEqual(
      cached.tokens.length - 1 + Number(cached.facts.choices.find(({ what }) => what === "backspaces")!.chosen),
    );
  }
  expect(taken).toBeGreaterThan(3);
});

test("a model file gets a backspace token, and keeps its tokens and what it says of them", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "longer.gguf");
  using base = openGguf(tiny);
  await writeModelWithBackspace(path, base);
  using longer = openGguf(path);
  using before = await LlamaVocabulary.load(base, { contextLength: 256 });
  using after = await LlamaVocabulary.load(longer, { contextLength: 256 }); // libllama reads it
  expect([after.vocabSize, after.backspace, before.backspace]).toEqual([before.vocabSize + 1, before.vocabSize, undefined]);
  const text = "In the beginning <|backspace|> God created";
  expect(after.encode(text)).toEqual(before.encode(text)); // written in a text it is text
  expect(after.encode("<|backspace|>", { special: true, bos: false })).toEqual([after.backspace]);
  expect(after.decode([after.backspace!])).toBe("");
  const [old, now] = [readRows(base, "token_embd.weight"), readRows(longer, "token_embd.weight")];
  expect(now.subarray(0, old.length)).toEqual(old);
  const columns = old.length / before.vocabSize;
  for (let column = 0; column < columns; column += 17) {
    let mean = 0;
    for (let row = 0; row < before.vocabSize; row += 1) mean += old[row * columns + column]! / before.vocabSize;
    expect(now[old.length + column]).toBeCloseTo(mean, 6);
  }
});

/** Documents in memory. */
function documentsOf(lists: readonly (readonly number[])[]): Documents {
  return {
    lengths: Uint32Array.from(lists, (tokens) => tokens.length),
    identity: {},
    read(document, from, ids, isLearned) {
      for (let i = 0; i < ids.length; i += 1) ids[i] = lists[document]![from + i]!;
      isLearned.forEach((_, i) => {
        isLearned[i] = from + i > 2 ? 1 : 0; // a prompt of three tokens is read only
      });
    },
  };
}

test("an epoch of actions holds every learned token once, wrong ones are read only, and each backspace takes the right one back", () => {
  const next = random(8);
  const [backspace, end] = [50, 49];
  const lists = Array.from({ length: 12 }, () => [
    ...Array.from({ length: 6 + Math.floor(next() * 30) }, () => Math.floor(next() * 48)),
    end,
  ]);
  const settings = { sequences: 2, length: 24, seed: 3, validation: 0, rate: 0.3, backspace, endTokens: new Set([end]), vocabSize: 51 };
  const source = new ActionSource(documentsOf(lists), settings);
  const window = Math.floor(23 / 1.6);
  const windows = Math.ceil(lists.flat().length / window);
  const learned: number[] = [];
  let backspaces = 0;
  for (let number = 0; number < windows / 2; number += 1) {
    const batch = source.training(number);
    expect(source.training(number)).toEqual(batch);
    for (const [row, one] of batch.isTarget.entries()) {
      const action = batch.targets[row]!;
      if (batch.nextRow[row]! >= 0) expect(batch.documents[batch.nextRow[row]!]).toBe(batch.documents[row]);
      else if (one === 1) expect(action).toBe(end);
      if (one === 1 && action === backspace) {
        backspaces += 1;
        const after = row + 1; // the state before the wrong token, once more
        expect(batch.positions![after]).toBe(batch.positions![row]! - 1);
        expect(batch.deletedAt![row]).toBe(after);
        expect(batch.isTarget[row - 1]).toBe(0); // the wrong token is not learned
        expect(batch.ids[after]).toBe(batch.ids[row - 1]);
        expect(batch.deletedAt![row - 1]).toBe(after);
      } else if (one === 1) learned.push(action);
    }
  }
  expect(backspaces).toBeGreaterThan(20);
  const count = (list: readonly number[]) => [...list].sort((a, b) => a - b);
  const expected = count(lists.flatMap((tokens) => tokens.slice(3)));
  // the last batch may have a window of the next epoch
  if (windows % 2 === 0) expect(count(learned)).toEqual(expected);
  else
    for (const id of new Set(expected))
      expect(learned.filter((one) => one === id).length).toBeGreaterThanOrEqual(expected.filter((one) => one === id).length);
});

test("trained by sequence-match, a model takes wrong tokens back; stopped, the run goes on to the same bytes", async () => {
  using folder = temporaryFolder();
  const letters = "abcdefghijkl";
  writeFileSync(
    join(folder.path, "data.jsonl"),
    Array.from({ length: 60 }, (_, i) => JSON.stringify({ text: (letters + letters + letters).slice(i % 12, (i % 12) + 20) })).join("\n"),
  );
  const options = (name: string): TrainFileOptions => ({
    data: join(folder.path, "data.jsonl"),
    start: { kind: "scratch", shape: { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 64 }, vocabulary: { size: 258 } },
    objective: "sequence-match,rate=0.2,likelihood=0.9",
    ...{ steps: 80, sequences: 4, length: 64, learningRate: 1e-2, validation: 0.1, seed: 2, out: join(folder.path, name) },
  });
  await trainFile(options("whole"));
  const metrics = readFileSync(join(folder.path, "whole/metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(metrics.at(-1).loss).toBeLessThan(0.5 * metrics[0].loss);
  const controller = new AbortController();
  await trainFile(options("parts"), { signal: controller.signal, onProgress: ({ step }) => step === 33 && controller.abort() });
  await trainFile({ ...options("parts"), resume: true });
  expect(readFileSync(join(folder.path, "parts/model.gguf")).equals(readFileSync(join(folder.path, "whole/model.gguf")))).toBe(true);

  await using model = await load(join(folder.path, "whole/model.gguf"), { threads: 1 });
  const backspace = model.tokenizer.backspace!;
  expect(backspace).toBe(model.tokenizer.vocabSize - 1);
  const probabilityOf = async (text: string, id: TokenId) => {
    const { logprobs } = await model.generate(text, { maxTokens: 1, logprobs: 64, ignoreEndTokens: true });
    return Math.exp(logprobs![0]!.top.find((one) => one.id === id)?.logprob ?? Number.NEGATIVE_INFINITY);
  };
  expect(await probabilityOf("abcdefx", backspace)).toBeGreaterThan(0.5);
  expect(await probabilityOf("abcdefg", backspace)).toBeLessThan(0.1);
  const { text } = await model.generate("cde", {
    maxTokens: 4,
    search: "backspace",
    bias: { [model.tokenizer.encode("z", { bos: false })[0]!]: 4 },
  });
  expect(text.startsWith("f")).toBe(true);
  await expect(trainFile({ ...options("adapter"), adapter: "lora", start: { kind: "model", path: tiny } })).rejects.toThrow(
    /^objective: sequence-match and an adapter can't be combined: the backspace is a new token/,
  );
});
