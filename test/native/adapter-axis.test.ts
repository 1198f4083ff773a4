import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Adapter, writeGgufLora, writePeft } from "../../src/adapters/index.ts";
import type { Message } from "../../src/chat/index.ts";
import { FormatError, NotFoundError, OptionError, UnsupportedError } from "../../src/errors.ts";
import { liveOwnerCount } from "../../src/ggml/index.ts";
import { load, type Model } from "../../src/index.ts";
import { type MetadataValue, openGguf, openSafetensors, writeGguf, writeSafetensors } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

const folder = temporaryFolder();
const at = (name: string) => join(folder.path, name);
let model: Model;
beforeAll(async () => {
  await writeTinyChatModel(at("model.gguf"), { type: "q8_0", seed: 3 });
  using file = openGguf(at("model.gguf"));
  const save = async (name: string, adapter: Adapter) => {
    mkdirSync(at(name));
    writePeft(at(name), baseOf(file), adapter);
    if (adapter.form === "lora") await writeGgufLora(at(`${name}.gguf`), baseOf(file), adapter);
  };
  await save("first", randomAdapter(at("model.gguf"), { form: "lora", rank: 4, targets: ["all"] }, 1));
  await save("second", randomAdapter(at("model.gguf"), { form: "lora", rank: 4 }, 2));
  await save("series", randomAdapter(at("model.gguf"), { form: "series", rank: 6, targets: ["attn", "ffn"] }, 3));
  const adapters = { first: at("first"), second: at("second.gguf"), series: at("series") };
  model = await load(at("model.gguf"), { threads: 1, context: 256, cacheBytes: 2 ** 26, adapters, home: at("home") });
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

const prompt = "the quick brown fox asks the lazy dog ";
const given = { maxTokens: 12, ignoreEndTokens: true, logprobs: 2 };

test("a run with an adapter is another run, and one of scale 0 the plain one, to the bit; facts name it", async () => {
  const plain = await model.generate(prompt, given);
  expect(plain.facts.adapters).toBeUndefined();
  const adapted = await model.generate(prompt, { ...given, adapter: "first,scale=1" });
  expect(adapted.logprobs).not.toEqual(plain.logprobs);
  expect(adapted.facts.adapters).toEqual([{ name: "first", scale: 1 }]);
  const none = await model.generate(prompt, { ...given, adapter: ["first,scale=0", { name: "series", scale: 0 }] });
  expect(none.logprobs).toEqual(plain.logprobs);
});

test("runs of different adapters at once are as alone, drafts and searches included", async () => {
  const runs = [
    {},
    { adapter: "first" },
    { adapter: ["first,scale=0.5", "second"] },
    { adapter: "series", draft: "ngram,nodes=4" },
    { adapter: "second", search: "beam,width=3" },
    { adapter: "first", skip: "layers,from=1,to=0.5" },
  ];
  const alone = [];
  for (const options of runs) alone.push(await model.generate(prompt, { ...given, ...options }));
  const together = await Promise.all(runs.map((options) => model.generate(prompt, { ...given, ...options })));
  for (const [i, result] of together.entries()) {
    expect(result.tokens).toEqual(alone[i]!.tokens);
    expect(result.logprobs).toEqual(alone[i]!.logprobs);
  }
  const drafted = await model.generate(prompt, { ...given, adapter: "series" });
  expect(together[3]!.logprobs).toEqual(drafted.logprobs); // a draft is lossless here too
});

test("a chat that changes its adapter computes the conversation anew, as a chat that had it from the start", async () => {
  const options = { maxTokens: 6, ignoreEndTokens: true, logprobs: 0 };
  using chat = model.chat({ generate: options });
  const first = await chat.ask("hello", { adapter: "first" });
  const second = await chat.ask("again", { adapter: "second" });
  using saved = await model.restoreChat(chat.save(), { generate: { ...options, adapter: "second" } });
  expect(await saved.ask("more").then(({ tokens }) => tokens)).toEqual((await chat.ask("more", { adapter: "second" })).tokens);
  const messages: Message[] = [
    { role: "user", content: "hello" },
    { role: "assistant", content: first.text },
    { role: "user", content: "again" },
  ];
  const fresh = await model.generate(messages, { ...options, adapter: "second" });
  expect(second.tokens).toEqual(fresh.tokens);
});

test("a score with an adapter; the model with an adapter as the reward model of a run", async () => {
  const [plain, adapted, none] = [
    await model.score(prompt),
    await model.score(prompt, { adapter: "first" }),
    await model.score(prompt, { adapter: "first,scale=0" }),
  ];
  expect(adapted.total).not.toBe(plain.total);
  expect(none.logprobs).toEqual(plain.logprobs);
  const byName = await model.generate(prompt, { ...given, guide: "reward,model=adapter:second,weight=0.7" });
  const byObject = await model.generate(prompt, {
    ...given,
    guide: { name: "reward", model: model.withAdapters("second"), weight: 0.7 },
  });
  expect(byObject.logprobs).toEqual(byName.logprobs);
  expect(byName.tokens).not.toEqual((await model.generate(prompt, given)).tokens);
});

test("adapters come and go by name; what is not loaded is refused", async () => {
  const facts = await model.loadAdapter(at("first.gguf"), { name: "again" });
  expect(facts).toMatchObject({ name: "again", form: "lora", rank: 4 });
  const [one, same] = [
    await model.generate(prompt, { ...given, adapter: "again" }),
    await model.generate(prompt, { ...given, adapter: "first" }),
  ];
  expect(one.logprobs).toEqual(same.logprobs);
  await expect(model.loadAdapter(at("second"), { name: "again" })).rejects.toThrow('name: an adapter named "again" is loaded already');
  await expect(model.loadAdapter(at("second"), { name: "a b" })).rejects.toThrow(OptionError);
  await model.unloadAdapter("again");
  expect(model.adapters.map(({ name }) => name)).toEqual(["first", "second", "series"]);
  await expect(model.generate(prompt, { adapter: "again" })).rejects.toThrow('adapter: no method "again"; there are first, second, series');
});

test("files that are no adapters of this model are refused before anything is made of them", async () => {
  await expect(model.loadAdapter(at("nothing"))).rejects.toThrow(NotFoundError);
  await expect(model.loadAdapter(at("model.gguf"))).rejects.toThrow(FormatError); // a model
  await writeTinyChatModel(at("wider.gguf"), { hiddenSize: 128 });
  await using wider = await load(at("wider.gguf"), { threads: 1, context: 256, cacheBytes: 2 ** 26 });
  for (const name of ["first", "first.gguf", "series"])
    await expect(wider.loadAdapter(at(name))).rejects.toThrow(/goes from \d+ to \d+ features, in .*wider.gguf from \d+ to \d+/);

  const config = JSON.parse(readFileSync(at("first/adapter_config.json"), "utf8")) as Record<string, unknown>;
  const broken = async (name: string, changes: Record<string, unknown>, change?: (tensors: Tensors) => Tensors) => {
    mkdirSync(at(name));
    writeFileSync(at(`${name}/adapter_config.json`), JSON.stringify({ ...config, ...changes }));
    const tensors = readTensors(at("first/adapter_model.safetensors"));
    writeSafetensors(at(`${name}/adapter_model.safetensors`), { tensors: change?.(tensors) ?? tensors });
    return expect(model.loadAdapter(at(name))).rejects;
  };
  await (await broken("dora", { use_dora: true })).toThrow(UnsupportedError);
  await (await broken("ia3", { peft_type: "IA3" })).toThrow("LORA and BOTTLENECK are");
  await (await broken("alpha", { lora_alpha: "16" })).toThrow("lora_alpha must be a number");
  await (await broken("pattern", { alpha_pattern: { "(a+)+$": 1 } })).toThrow(UnsupportedError);
  await (await broken("half", {}, (tensors) => tensors.slice(1))).toThrow("has one of its two matrices only");
  await (await broken("empty", {}, () => [])).toThrow("has no adapter tensors");
  await (await broken("elsewhere", {}, ([a, ...rest]) => [{ ...a!, name: "base_model.model.lm_head.lora_A.weight" }, ...rest])).toThrow(
    FormatError,
  );
  await (await broken("ranks", {}, ([a, ...rest]) => [{ ...a!, shape: [a!.shape[0]! / 2, a!.shape[1]! * 2] }, ...rest])).toThrow(
    /ranks 2 and 4/,
  );
  await (await broken("nan", {}, ([a, ...rest]) => [{ ...a!, data: a!.data.map(() => Number.NaN) }, ...rest])).toThrow("has the value NaN");
  writeFileSync(at("half/adapter_config.json"), "{");
  await expect(model.loadAdapter(at("half"))).rejects.toThrow("is not valid JSON");

  const text = (value: string): MetadataValue => ({ type: "string", value });
  const metadata = (over: Record<string, MetadataValue>): [string, MetadataValue][] =>
    Object.entries({
      "general.type": text("adapter"),
      "adapter.type": text("lora"),
      "general.architecture": text("llama"),
      "adapter.lora.alpha": { type: "float32", value: 8 } as MetadataValue,
      ...over,
    });
  for (const [name, over] of [
    ["other", { "general.architecture": text("qwen2") }],
    ["control", { "adapter.type": text("control_vector") }],
    ["alora", { "adapter.alora.invocation_tokens": { type: "array", of: "int32", value: Int32Array.of(1) } as MetadataValue }],
    ["infinite", { "adapter.lora.alpha": { type: "float32", value: Number.POSITIVE_INFINITY } as MetadataValue }],
  ] as const) {
    await writeGguf(at(`${name}.gguf`), { metadata: metadata(over), tensors: [] });
    await expect(model.loadAdapter(at(`${name}.gguf`))).rejects.toThrow(/general\.architecture|adapter\./i);
  }
  expect(model.adapters.map(({ name }) => name)).toEqual(["first", "second", "series"]);
});

type Tensors = { name: string; type: "F32"; shape: readonly number[]; data: Float32Array }[];

function readTensors(path: string): Tensors {
  using file = openSafetensors(path);
  return [...file.tensors.values()].map(({ name, shape, sizeBytes }) => {
    const data = new Float32Array(sizeBytes / 4);
    file.readInto(name, data);
    return { name, type: "F32", shape, data };
  });
}
