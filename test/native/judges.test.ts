import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { load, TemplateError } from "../../src/index.ts";
import type { TokenId } from "../../src/token.ts";
import { trainBpe } from "../../src/tokenizer/index.ts";
import { vocabularyMetadata, writeRandomModel } from "../../src/training/from-scratch.ts";
import { temporaryFolder } from "../support/engine.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

test("a model that is no chat model refuses messages, and asks itself in text what its answers are worth", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "base.gguf");
  const tokenizer = vocabularyMetadata(await trainBpe(["a Yes Yes Yes No No No"], { vocabSize: 270 })); // one token each, with its space
  await writeRandomModel(path, { name: "base", shape: { hiddenSize: 32, blocks: 2, heads: 2, contextLength: 512 }, tokenizer, seed: 3 });
  await using model = await load(path, { threads: 1, home: folder.path });
  const messages = [{ role: "user", content: "What is the capital of France?" }] as const;
  await expect(model.generate(messages)).rejects.toThrow(TemplateError);
  await expect(model.render(messages)).rejects.toThrow(/no chat template: give the prompt as text/);
  for (const judge of ["restart", "options"]) {
    const { facts } = await model.generate("Question: Why?", { maxTokens: 4, seed: 1, search: `best-of,n=2,judge=${judge}` });
    expect(facts.choices.find(({ what }) => what === "judge")).toMatchObject({
      chosen: judge,
      because: expect.stringMatching(/of 32 labelled pairs/),
    });
    if (judge === "restart") for (const { tokens, score } of facts.branches!) expect(score).toBeCloseTo(await restartScore(tokens), 4);
  }

  /** P(No) of the two replies, of the whole text read anew. */
  async function restartScore(answer: readonly number[]): Promise<number> {
    const plain = (text: string) => model.tokenize(text, { bos: false });
    const question = plain('\n\nQuestion: Would you do better if you started over? ("Yes." or "No.")\nAnswer:');
    const input = [...model.tokenize("Question: Why?", { bos: true }), ...(answer as TokenId[]), ...question];
    using sequence = model.sequence();
    const { rows } = await sequence.forward({ input, want: { logits: "last", scores: [[plain(" No")[0]!, plain(" Yes")[0]!]] } });
    const [no, yes] = rows.at(-1)!.scores!;
    return 1 / (1 + Math.exp(yes! - no!));
  }
});
