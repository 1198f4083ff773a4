import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { load } from "../../src/index.ts";
import { crossEntropy, targetIndices } from "../../src/nn/index.ts";
import { input, Program } from "../../src/tensor/index.ts";
import type { TokenId } from "../../src/token.ts";
import { type Documents, splitDocuments } from "../../src/training/data/batches.ts";
import { buildDraftModel, type DraftModelOptions, readTexts } from "../../src/training/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { Llama } from "../support/llama.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";
import { random } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const options: DraftModelOptions = {
  name: "a draft",
  shape: { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 256 },
  ...{ texts: 40, maxTokens: 12, candidates: 4, steps: 12, sequences: 4, length: 96, threads: 1, seed: 18 },
};

test("a draft model is built from what its base writes, goes on where it was stopped, and speaks the base's vocabulary", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "base.gguf");
  await writeTinyChatModel(path, { contextLength: 256 });
  await using writer = await load(path, { threads: 1, home: folder.path });
  using base = openGguf(path);

  const controller = new AbortController();
  const onTexts = ({ texts }: { texts: number }) => texts === 32 && controller.abort(new Error("stopped"));
  await expect(buildDraftModel(writer, base, folder.path, options, { onTexts, signal: controller.signal })).rejects.toThrow("stopped");
  const before = readFileSync(join(folder.path, "texts.jsonl"), "utf8");

  const losses: number[] = [];
  const {
    path: built,
    facts,
    beside,
  } = await buildDraftModel(writer, base, folder.path, options, { onTrain: ({ loss }) => losses.push(loss) });
  expect(readFileSync(join(folder.path, "texts.jsonl"), "utf8").startsWith(before)).toBe(true);
  const texts = readTexts(join(folder.path, "texts.jsonl"));
  expect(texts).toHaveLength(40);
  for (const { tokens, top } of texts) {
    expect(top).toHaveLength(tokens.length);
    for (const pairs of top!)
      expect(pairs.map(([, logprob]) => logprob)).toEqual(pairs.map(([, logprob]) => logprob).toSorted((a, b) => b - a));
  }
  expect(losses).toHaveLength(12);
  expect(losses.at(-1)!).toBeLessThan(losses[0]!);
  expect(existsSync(built)).toBe(true);

  // what is measured on held-out texts, as the engine scores them with the weights before they were quantized
  const isHeldOut = splitDocuments({ lengths: new Uint32Array(40) } as Documents, { validation: 0.02, seed: options.seed }).validation;
  expect(isHeldOut.length).toBeGreaterThan(0);
  {
    await using whole = await load(join(folder.path, "draft.f32.gguf"), { threads: 1, home: folder.path });
    let [nats, count, agreed] = [0, 0, 0];
    for (const { promptTokens, tokens, top } of [...isHeldOut].map((place) => texts[place]!)) {
      const { logprobs } = await whole.score([...promptTokens, ...tokens] as TokenId[]);
      for (const one of logprobs.slice(promptTokens.length)) nats -= one!;
      count += tokens.length;
      for (const [i, [best]] of top!.entries()) {
        const guess = await whole.generate([...promptTokens, ...tokens.slice(0, i)] as TokenId[], {
          maxTokens: 1,
          ignoreEndTokens: true,
        });
        if (guess.tokens[0] === best![0]) agreed += 1;
      }
    }
    expect(facts).toMatchObject({ texts: 40, steps: 12, heldOutTexts: isHeldOut.length, heldOutTokens: count });
    expect(facts.perplexity! / Math.exp(nats / count)).toBeCloseTo(1, 3);
    expect(facts.agreement).toBeCloseTo(agreed / count, 6);
    expect(beside.map((file) => basename(file))).toEqual(["training.json", "metrics.jsonl"]);
    expect(JSON.parse(readFileSync(beside[0]!, "utf8"))).toEqual(facts);
    expect(readFileSync(beside[1]!, "utf8").split("\n")).toHaveLength(13);
  }

  await using draft = await load(built, { threads: 1, home: folder.path });
  expect(draft.tokenize("The quick brown fox")).toEqual(writer.tokenize("The quick brown fox"));
  const prompt = draft.tokenize("The quick");
  const { tokens } = await draft.generate(prompt, { maxTokens: 12, ignoreEndTokens: true });
  using llama = new Llama(built, { contextLength: 64, microBatch: 64, threads: 1 });
  expect(tokens).toEqual(llama.greedy(prompt, 12).tokens);
});

test("the cross-entropy with several weighted targets a row is the formula's", async () => {
  const [rows, vocabSize, count] = [5, 11, 3];
  const next = random(8);
  const logits = Float32Array.from({ length: rows * vocabSize }, () => 6 * next() - 3);
  const ids = Array.from({ length: rows * count }, () => Math.floor(next() * vocabSize));
  const weights = Float32Array.from(ids, () => next());
  let expected = 0;
  for (const [i, id] of ids.entries()) {
    const row = logits.subarray(Math.floor(i / count) * vocabSize, (Math.floor(i / count) + 1) * vocabSize);
    expected -= weights[i]! * (row[id]! - Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)));
  }
  using device = Device.create("cpu", 1);
  const loss = crossEntropy(
    input("logits", "f32", [rows, vocabSize]),
    input("targets", "i32", [rows * count]),
    input("weights", "f32", [rows * count]),
  );
  using program = Program.compile(device, { loss });
  program.input("logits").set(logits);
  const places = ids.map((id, i) => targetIndices(new Array(rows).fill(id), vocabSize)[Math.floor(i / count)]!);
  program.input<"i32">("targets").set(places);
  program.input("weights").set(weights);
  await program.run();
  expect(program.peek("loss")[0]).toBeCloseTo(expected, 4);
});
