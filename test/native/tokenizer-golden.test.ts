import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { LlamaVocabulary } from "../../src/tokenizer/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { llamaModelsFolder } from "./support/llama-sources.ts";

const sources = llamaModelsFolder();
const vocabularies = "missing" in sources ? [] : vocabulariesIn(sources.folder);

function vocabulariesIn(folder: string): { name: string; path: string }[] {
  const names = readdirSync(folder).map((file) => /^ggml-vocab-(.*)\.gguf$/.exec(file)?.[1]);
  return names.flatMap((name) => (name === undefined ? [] : [{ name, path: join(folder, `ggml-vocab-${name}.gguf`) }]));
}

async function load(path: string): Promise<LlamaVocabulary> {
  using file = openGguf(path);
  return await LlamaVocabulary.load(file, { contextLength: 1_000_000 });
}

describe.skipIf("missing" in sources)(`golden cases of llama.cpp${"missing" in sources ? `: ${sources.missing}` : ""}`, () => {
  afterAll(() => expect(liveOwnerCount()).toBe(0));

  test.each(vocabularies)("$name: the same tokens as llama.cpp expects", async ({ path }) => {
    using vocabulary = await load(path);
    if (!existsSync(`${path}.inp`)) return; // five vocabularies have no cases: that they load is what is tested
    const texts = readFileSync(`${path}.inp`, "utf8").split("\n__ggml_vocab_test__\n");
    const tokens = readFileSync(`${path}.out`, "utf8").split("\n");
    expect(texts.length).toBeGreaterThan(40);
    for (const [index, text] of texts.entries()) {
      const expected = tokens[index]!.trim();
      expect([text, vocabulary.encode(text, { bos: false }).join(" ")]).toEqual([text, expected.split(/\s+/).join(" ")]);
    }
  });
});
