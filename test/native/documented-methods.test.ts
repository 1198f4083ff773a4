import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Command } from "commander";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addDecodingOptions, type DecodingOptions, decodingOptions } from "../../src/cli/decoding-options.ts";
import { addLayoutOptions, type LayoutOptions, laidOut } from "../../src/cli/layout-options.ts";
import { registry } from "../../src/decoding/index.ts";
import { judgePairs } from "../../src/decoding/search/judge-pairs.ts";
import { load, type Model } from "../../src/index.ts";
import { backspaceKey } from "../../src/tokenizer/index.ts";
import { writeRandomParts } from "../support/composition.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// What docs/decoding.md shows of each method, with the command line's own options, on a tiny model.

const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
const lines = /<!-- every method -->\n+```sh\n([\s\S]*?)```/
  .exec(readFileSync("docs/decoding.md", "utf8"))![1]!
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => line.replace(/ +#.*/, ""));
let model: Model;
let files: Readonly<Record<string, string>>;
beforeAll(async () => {
  const vocabulary = "The quick brown fox jumps over the lazy dog. No. Yes. (A) (B) "; // a judge's answers are told apart by a token
  await writeTinyChatModel(path, { blocks: 4, hiddenSize: 32, vocabulary, metadata: { [backspaceKey]: { type: "uint32", value: 9 } } });
  const { home, adapters } = await writeRandomParts(path, folder.path);
  const capitals = `${folder.path}/capitals.jsonl`;
  writeFileSync(capitals, '{"input": "France", "output": "Paris"}\n{"input": "Peru", "output": "Lima"}\n');
  const schema = `${folder.path}/person.json`;
  writeFileSync(schema, '{ "type": "object", "properties": { "age": { "type": "integer" } }, "additionalProperties": false }\n');
  files = {
    "capitals.jsonl": capitals,
    "person.json": schema,
    "smollm2-draft": path,
    "moves/model.gguf": path,
    "liking/adapter": adapters.random!,
  };
  model = await load(path, { threads: 1, context: 512, home, adapters });
  // measured on next to nothing, or not at all: what it comes to is not looked at
  for (const part of ["ffn", "block"] as const) await model.skipOrder(part, { text: "the quick brown fox" });
  for (const judge of ["restart", "options"]) {
    const quality = { judge, numPairs: judgePairs.length, share: 0.5, isAtChance: true, meanGood: 0.5, meanBad: 0.5 };
    mkdirSync(`${home}/judges`, { recursive: true });
    writeFileSync(`${home}/judges/${model.hash.slice(0, 16)}-${judge}.json`, JSON.stringify(quality));
  }
});
afterAll(async () => {
  expect(model.memory().streamsUsed).toBe(0);
  await model[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

test("every method of the registry has a line", () => {
  const shown = Object.entries(registry).map(([axis, methods]) => [
    axis,
    methods.filter(({ name }) => !lines.some((line) => new RegExp(`--${axis === "explain" ? "method" : axis} "?${name}[, "]`).test(line))),
  ]);
  expect(shown).toEqual(Object.keys(registry).map((axis) => [axis, []]));
  expect(lines.some((line) => line.includes("--adapter "))).toBe(true);
});

test.each(lines)("%s", async (line) => {
  const [program, name, ...words] = [...line.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);
  expect([program, ["generate", "explain"].includes(name!)]).toEqual(["chainrule", true]);
  const args = words.map((word) => Object.entries(files).reduce((text, [from, to]) => text.replaceAll(from, to), word));
  const command = addLayoutOptions(addDecodingOptions(new Command(name).exitOverride().argument("[prompt]")))
    .option("--method <method>")
    .option("--model <path>");
  command.parse(args, { from: "user" });
  const options = command.opts<DecodingOptions & LayoutOptions & { method?: string }>();
  const prompt = await laidOut(command.args[0]!, options);
  const given = { maxTokens: 3, ...(await decodingOptions(options)) };
  if (name === "explain") {
    const { attribution } = await model.explain(prompt, { ...given, method: options.method! });
    expect(attribution.effort.done).toBe(100);
  } else expect((await model.generate(prompt, given)).tokens.length).toBeGreaterThan(0);
});
