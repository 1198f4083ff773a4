import { symlinkSync } from "node:fs";
import { homedir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DecodingModel, decodingModel, type GenerateOptions, generateText, type Prompt } from "../../src/decoding/index.ts";
import { planWithout } from "../../src/decoding/skipping/skip.ts";
import type { Sequence } from "../../src/engine/index.ts";
import { load, type Model } from "../../src/index.ts";
import { shippedSkipOrders } from "../../src/load/skip-orders.ts";
import { defaultHome, hubFromEnvironment, resolveModel } from "../../src/models/index.ts";
import { quantize } from "../../src/weights/index.ts";
import { writeRandomParts } from "../support/composition.ts";
import { temporaryFolder } from "../support/engine.ts";
import { ReencodingSequence } from "../support/reencoding-sequence.ts";

// The methods' exact laws on a real quantized file, as equality of tokens and of log-probabilities to the bit. What must be trained is random.

const home = defaultHome(process.env, process.platform, homedir());
const folder = temporaryFolder();
let model: Model;
beforeAll(async () => {
  const { path } = await resolveModel("smollm2:q4_0", { home, hub: hubFromEnvironment(process.env), quantize });
  const linked = `${folder.path}/smollm2.gguf`; // maps lie beside the file: random ones must not lie beside the user's
  symlinkSync(path, linked);
  const { adapters } = await writeRandomParts(linked, folder.path);
  model = await load(linked, { threads: 1, context: 512, strict: true, home, adapters });
}, 600_000);
afterAll(async () => {
  expect(model.memory().streamsUsed).toBe(0);
  await model[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const prompt = "one two three four one two three four one two";
const given = { maxTokens: 12, ignoreEndTokens: true, logprobs: 2 } satisfies GenerateOptions;
const known = new Map<string, Promise<unknown>>();
async function run(options: GenerateOptions, text: Prompt = prompt) {
  const { tokens, logprobs, finishReason, facts } = await model.generate(text, { ...given, ...options });
  return { said: { tokens, logprobs, finishReason }, facts };
}
/** What a run without the method in question says; computed once. */
function plain(options: GenerateOptions = {}): Promise<unknown> {
  const key = JSON.stringify(options);
  if (!known.has(key))
    known.set(
      key,
      run(options).then(({ said }) => said),
    );
  return known.get(key)!;
}

describe("a draft gives the plain answer", () => {
  const drafts = ["off", "ngram,shortest=1", "adaptive,iterations=20", "nested,exits=8;20,confidence=0", "hidden-transfer", "auto"];
  test.each([...drafts, "model"])("%s", async (draft) => {
    const spec = draft === "model" ? { name: "model", model, depth: 3, confidence: 0 } : draft;
    for (const options of [{}, { temperature: 0.9, topK: 40, seed: 3 }]) {
      const { said, facts } = await run({ ...options, draft: spec });
      expect(said).toEqual(await plain(options));
      if (draft === "model") expect(facts.drafts!.accepted).toBe(facts.drafts!.drafted); // it is the target itself
    }
  });
});

describe("a neutral value gives the plain answer", () => {
  test.each<GenerateOptions>([
    { skip: "ffn,budget=0" },
    { skip: "layers,to=1" },
    { guide: "reward,adapter=random,weight=0" },
    { guide: ["bias", "presence"].map((name) => ({ name, ...(name === "bias" ? { values: {} } : { penalty: 0 }) })) },
    { sample: "momentum,alpha=0" },
    { adapter: "random,scale=0" },
    { search: "contrastive,k=1" },
    { search: "contrastive,k=3,alpha=0" },
    { search: "beam,width=1" },
    { search: "conditional-beam,width=1,weight=0" },
  ])("%j", async (options) => {
    expect((await run(options)).said).toEqual(await plain());
  });

  test.each(["best-of,n=1", "rewind,iterations=0"])("%s, of a draw", async (search) => {
    expect((await run({ search, seed: 5 })).said).toEqual(await plain({ seed: 5 }));
  });
});

test("a set says the same in all six orders of its members, and plain text does not", async () => {
  const members = [" red apples", " a green pear", " blue plums"];
  const orders = [
    ...[[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]], // biome-ignore format: orders
  ].map((order) => order.map((index) => members[index]!));
  const answers = [];
  for (const order of orders)
    answers.push((await run({ maxTokens: 4 }, { kind: "set", prompt: ["In the bowl are", order, ". The colour of the pear is"] })).said);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  const asText = (order: readonly string[]) => run({ maxTokens: 4 }, `In the bowl are${order.join("")}. The colour of the pear is`);
  expect((await asText(orders[0]!)).said).not.toEqual((await asText(orders[5]!)).said);
});

describe("a search is what it is when every step evaluates the whole text anew", () => {
  test.each([
    ["beam,width=3,best=2", 4],
    ["conditional-beam,width=2,ngram=2,look=3", 4],
    ["contrastive,k=3", 4],
    ["best-of,n=2,check=2,judge=options", 3],
    ["rewind,iterations=2,children=2,judge=options", 2],
    ["backspace,token=28", 4],
  ])("%s", async (search, maxTokens) => {
    const options = { ...given, maxTokens, search, ...(/^(best-of|rewind)/.test(search) ? { seed: 5 } : {}) };
    const own: DecodingModel = model[decodingModel];
    const fresh = () => own.sequence({ maxLength: 256 }) as Sequence;
    const anew = await generateText({ ...own, sequence: () => new ReencodingSequence(fresh) }, "one two three four one", options);
    const kept = await generateText(own, "one two three four one", options);
    expect(anew.tokens).toEqual(kept.tokens);
    expect(anew.logprobs).toEqual(kept.logprobs);
    expect(anew.facts.branches).toEqual(kept.facts.branches);
  });
});

describe("the order in which it does without its parts comes with the package", () => {
  const text = `The lighthouse stood at the end of a long spit of sand, and for two hundred years its keepers had written down every ship that
passed. When the last of them retired, the books were brought to the library of the nearest town, where a student began to read them.`;

  test.each(["ffn", "block"] as const)("%s: what is left out first is missed least", async (part) => {
    const { blocks } = shippedSkipOrders[model.hash.slice(0, 16)]![part];
    const tokens = model.tokenize(text);
    const lossWithout = async (left: readonly number[]) => {
      using sequence = model.sequence();
      const want = { logits: "all", top: 1, scores: tokens.slice(1).map((token) => [token]) } as const;
      const { rows } = await sequence.forward({ input: tokens.slice(0, -1), want, blocks: planWithout(left, part) });
      return rows.reduce((sum, { candidates, scores }) => sum + candidates!.logSumExp - scores![0]!, 0) / rows.length;
    };
    const [whole, first, last] = [await lossWithout([]), await lossWithout(blocks.slice(0, 3)), await lossWithout(blocks.slice(-3))];
    expect(whole).toBeLessThan(first);
    expect(first).toBeLessThan(last);
  });
});
