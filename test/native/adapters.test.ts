import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { type Adapter, adapterDeltas, readAdapter, writeGgufLora, writePeft } from "../../src/adapters/index.ts";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { familyOf } from "../../src/models/index.ts";
import { Program } from "../../src/tensor/index.ts";
import type { TokenId } from "../../src/token.ts";
import { AdapterTrainee, forward, setRows } from "../../src/training/index.ts";
import { FloatTensors, openGguf, openSafetensors, TrainingWeights } from "../../src/weights/index.ts";
import { baseOf, randomAdapter } from "../support/adapters.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { Llama } from "../support/llama.ts";
import { type TinyArchitecture, writeTinyModel } from "../support/tiny-model.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

const architectures = ["llama", "qwen2", "qwen3", "gemma3", "gpt2"] as const;
const tokens = Array.from({ length: 20 }, (_, i) => ((i * 37 + 5) % 300) as TokenId);
type Applied = readonly { readonly name: string; readonly scale: number }[];
type Opened = Awaited<ReturnType<typeof openEngine>>;

/** All rows' logits, [T, V] row after row. */
async function logitsOf({ engine }: Opened, adapters?: Applied, input: readonly TokenId[] = tokens): Promise<Float32Array> {
  using sequence = engine.sequence();
  const { rows } = await sequence.forward({
    input,
    want: { logits: "all", fullLogits: true },
    ...(adapters === undefined ? {} : { adapters }),
  });
  const result = new Float32Array(rows.length * rows[0]!.logits!.length);
  for (const [row, { logits }] of rows.entries()) result.set(logits!, row * logits!.length);
  return result;
}

const largestDifference = (a: Float32Array, b: Float32Array) => a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);

/** As transformers' classes name them: LlamaForCausalLM and its kin (Qwen2, Qwen3, Gemma3), GPT2LMHeadModel. */
const sides = { lora: ["lora_A", "lora_B"], series: ["adapter_down", "adapter_up"] };
const peftNames = {
  llama: {
    ...{ sides, block: "model.layers", halves: ["self_attn", "mlp"] },
    layers: [
      ...["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
      ...["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    ],
  },
  gpt2: { sides, block: "transformer.h", halves: ["attn", "mlp"], layers: ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"] },
};

describe.each(architectures)("%s", (architecture) => {
  test("a LoRA on every layer gives libllama's logits, at any scale, from its file format", async () => {
    using folder = temporaryFolder();
    const path = `${folder.path}/base.gguf`;
    await writeTinyModel(path, { architecture, hiddenSize: 128, blocks: 2 });
    const adapter = randomAdapter(path, { form: "lora", rank: 5, alpha: 8, targets: ["all"] }, 3);
    const lora = `${folder.path}/lora.gguf`;
    {
      using file = openGguf(path);
      await writeGgufLora(lora, baseOf(file), adapter);
      expect(readAdapter(lora, baseOf(file))).toEqual(adapter);
    }
    using llama = new Llama(path, { contextLength: 64, microBatch: 64, threads: 1, repack: false });
    await using opened = await openEngine(path, { repack: false });
    await opened.engine.addAdapter("lora", adapter);
    const base = await logitsOf(opened);
    for (const scale of [1, 0.5, -1.25]) {
      llama.clear();
      llama.setAdapters([{ path: lora, scale }]);
      const theirs = llama.decode(tokens, 0, true);
      const ours = await logitsOf(opened, [{ name: "lora", scale }]);
      // the same products in another order of adding: what is left is float32's rounding and the cache's f16
      if (process.env.CHAINRULE_SHOW_ERRORS) console.log(`${architecture}, scale ${scale}: ${largestDifference(ours, theirs)}`);
      expect(largestDifference(ours, theirs)).toBeLessThan(1e-2);
      expect(largestDifference(ours, base)).toBeGreaterThan(0.5);
    }
  });

  test.each(["lora", "series"] as const)(
    "a %s adapter in PEFT's layout has the names of Hugging Face's modules, and is read again",
    async (form) => {
      using folder = temporaryFolder();
      const path = `${folder.path}/base.gguf`;
      await writeTinyModel(path, { architecture, hiddenSize: 64, blocks: 2 });
      const adapter = randomAdapter(path, { form, rank: 3, targets: ["all"] }, 5);
      using file = openGguf(path);
      writePeft(folder.path, baseOf(file), adapter);
      const { sides, block, layers, halves } = peftNames[architecture === "gpt2" ? "gpt2" : "llama"];
      const names = [0, 1].flatMap((index) =>
        (form === "lora" ? layers : halves).flatMap((layer) =>
          sides[form].map((side) => `base_model.model.${block}.${index}.${layer}.${side}.weight`),
        ),
      );
      {
        using written = openSafetensors(`${folder.path}/adapter_model.safetensors`);
        expect([...written.tensors.keys()].sort()).toEqual(names.sort());
        for (const [name, { shape }] of written.tensors) expect(shape[/lora_A|adapter_down/.test(name) ? 0 : 1]).toBe(3);
      }
      const config = JSON.parse(readFileSync(`${folder.path}/adapter_config.json`, "utf8"));
      const modules = (form === "lora" ? layers : halves).map((layer) => layer.split(".").at(-1)!);
      expect(config.target_modules).toEqual([...new Set(modules)].sort());
      expect(readAdapter(folder.path, baseOf(file))).toEqual(adapter);
      if (form === "series") return;

      // PEFT takes names for ends of paths: where another module ends in the same one, the name is longer
      const down = randomAdapter(path, { form, rank: 3, targets: ["down"] }, 5);
      writePeft(folder.path, baseOf(file), down);
      const configPath = `${folder.path}/adapter_config.json`;
      const short = JSON.parse(readFileSync(configPath, "utf8"));
      expect(short.target_modules).toEqual([architecture === "gpt2" ? "mlp.c_proj" : "down_proj"]);
      for (const target_modules of [`.*\\.${architecture === "gpt2" ? "c" : "down"}_proj`, ["mlp"].concat(short.target_modules)]) {
        writeFileSync(configPath, JSON.stringify({ ...short, target_modules }));
        expect(readAdapter(folder.path, baseOf(file))).toEqual(down);
      }
      for (const target_modules of ["down_proj", ["q_proj"], ["proj"]]) {
        writeFileSync(configPath, JSON.stringify({ ...short, target_modules }));
        expect(() => readAdapter(folder.path, baseOf(file))).toThrow(/which adapter_config.json leaves out: PEFT would not use/);
      }
    },
  );

  test.each([
    ["series", ["attn", "ffn"]],
    ["parallel", ["attn", "ffn"]],
  ] as const)("a %s adapter gives the training graph's logits", async (form, targets) => {
    using folder = temporaryFolder();
    const path = `${folder.path}/base.gguf`;
    await writeTinyModel(path, { architecture, hiddenSize: 64, blocks: 2 });
    const adapter = randomAdapter(path, { form, rank: 12, scaling: 0.7, targets, activation: "silu" }, 4);
    await using opened = await openEngine(path, { repack: false, cacheType: "f32" });
    await opened.engine.addAdapter("narrow", adapter);
    const ours = await logitsOf(opened, [{ name: "narrow", scale: 1 }]);
    expect(largestDifference(ours, await trainingLogits(path, architecture, adapter))).toBeLessThan(2e-3);
    expect(largestDifference(ours, await logitsOf(opened))).toBeGreaterThan(0.1);
  });
});

/** The same by the graph that training differentiates, whose products are plain ones. */
async function trainingLogits(path: string, architecture: TinyArchitecture, adapter: Adapter): Promise<Float32Array> {
  using device = Device.create("cpu", 1);
  using file = openGguf(path);
  using weights = TrainingWeights.open(device, file);
  const model = familyOf(architecture).build(file.metadata, weights);
  await weights.load();
  using matrices = FloatTensors.create(
    device,
    adapter.parts.flatMap(({ target, rank, inputs, outputs, down, up }) => [
      { name: `${target}.down`, shape: [rank, inputs], values: down },
      { name: `${target}.up`, shape: [outputs, rank], values: up },
    ]),
  );
  const shape = { sequences: 1, length: tokens.length };
  const { hidden } = forward(model, { ...shape, deltas: adapterDeltas(adapter, (name) => matrices.tensor(name)) });
  using program = Program.compile(device, { logits: model.head(hidden) });
  setRows(program, model.config, shape, { ids: tokens });
  program.runSync();
  return program.read("logits");
}

describe.each(["f32", "q8_0"] as const)("adapters of %s weights in one engine", (type) => {
  async function withAdapters(use: (opened: Opened & { path: string }) => Promise<void>): Promise<void> {
    using folder = temporaryFolder();
    const path = `${folder.path}/base.gguf`;
    await writeTinyModel(path, { type });
    await using opened = await openEngine(path);
    const { engine } = opened;
    await engine.addAdapter("a", randomAdapter(path, { form: "lora", rank: 4 }, 11));
    await engine.addAdapter("b", randomAdapter(path, { form: "lora", rank: 4, targets: ["all"] }, 12));
    await engine.addAdapter("wide", randomAdapter(path, { form: "lora", rank: 24, targets: ["v", "down"] }, 13));
    await engine.addAdapter("series", randomAdapter(path, { form: "series", rank: 8, targets: ["attn", "ffn"] }, 14));
    await engine.addAdapter("parallel", randomAdapter(path, { form: "parallel", rank: 8 }, 15));
    await use({ ...opened, path });
  }

  test("scale 0 is the base, bit for bit", async () => {
    await withAdapters(async (opened) => {
      const base = await logitsOf(opened);
      const names = opened.engine.adapters;
      expect(names).toEqual(["a", "b", "wide", "series", "parallel"]);
      for (const name of names) expect(await logitsOf(opened, [{ name, scale: 0 }])).toEqual(base);
      expect(
        await logitsOf(
          opened,
          names.map((name) => ({ name, scale: 0 })),
        ),
      ).toEqual(base);
    });
  });

  test.each([
    { form: "lora", rank: 4, targets: ["all"] },
    { form: "series", rank: 8, targets: ["attn", "ffn"] },
    { form: "parallel", rank: 8, targets: ["attn", "ffn"] },
  ] as const)("a new $form adapter, before it has learned anything, is the base, bit for bit, at scale 1", async (options) => {
    await withAdapters(async (opened) => {
      using file = openGguf(opened.path);
      using trainee = AdapterTrainee.create(opened.device, baseOf(file), options, 3);
      const fresh = trainee.adapter();
      expect(fresh.parts.every(({ down }) => down.some((value) => value !== 0))).toBe(true);
      await opened.engine.addAdapter("new", fresh);
      expect(await logitsOf(opened, [{ name: "new", scale: 1 }])).toEqual(await logitsOf(opened));
    });
  });

  const mixes: readonly Applied[] = [
    [],
    [{ name: "a", scale: 1 }],
    [{ name: "b", scale: 0.5 }],
    [
      { name: "a", scale: 1 },
      { name: "b", scale: -0.25 },
    ],
    [{ name: "wide", scale: 1 }],
    [{ name: "series", scale: 1 }],
    [{ name: "parallel", scale: 2 }],
    [
      { name: "parallel", scale: 1 },
      { name: "wide", scale: 0.5 },
      { name: "a", scale: 1 },
      { name: "b", scale: 1 },
    ],
  ];

  test("requests with different adapters share passes and have the bits that each has alone", async () => {
    await withAdapters(async (opened) => {
      const prompt = tokens.slice(0, 7);
      const steps = tokens.slice(7, 12);
      const run = async (adapters: Applied) => {
        using sequence = opened.engine.sequence();
        await sequence.forward({ input: prompt, adapters });
        const seen: Float32Array[] = [];
        for (const token of steps) {
          const { rows } = await sequence.forward({ input: [token], want: { fullLogits: true }, adapters });
          seen.push(rows[0]!.logits!);
        }
        return seen;
      };
      const alone: Float32Array[][] = [];
      for (const mix of mixes) alone.push(await run(mix));
      for (const [i, one] of alone.entries()) for (const other of alone.slice(0, i)) expect(one.at(-1)).not.toEqual(other.at(-1));
      const before = opened.engine.passCount;
      const fused = await Promise.all(mixes.map(run));
      expect(opened.engine.passCount - before).toBe(1 + steps.length);
      expect(fused).toEqual(alone);
    });
  });

  test("what else is loaded, and in what order, changes no bits; a name that was unloaded is refused", async () => {
    await withAdapters(async (opened) => {
      const mix = [
        { name: "b", scale: 1 },
        { name: "a", scale: 0.5 },
      ];
      const before = await logitsOf(opened, mix);
      expect(await logitsOf(opened, [...mix].reverse())).toEqual(before);
      const waiting = expect(logitsOf(opened, [{ name: "series", scale: 1 }])).rejects.toThrow('adapters: "series" was unloaded');
      await opened.engine.removeAdapter("series");
      await waiting;
      await opened.engine.removeAdapter("wide");
      expect(await logitsOf(opened, mix)).toEqual(before);
      await expect(logitsOf(opened, [{ name: "wide", scale: 1 }])).rejects.toThrow(
        'adapters: no adapter "wide" is loaded; loaded: a, b, parallel',
      );
      await expect(logitsOf(opened, [...mix, mix[0]!])).rejects.toThrow("adapters: names an adapter twice");
      await expect(logitsOf(opened, [{ name: "a", scale: Number.NaN }])).rejects.toThrow(
        "adapters: the scale of a must be a finite number, got NaN",
      );
    });
  });

  test("a rule that skips nothing gives the plain bits, beside a row that skips all it may", async () => {
    await withAdapters(async (opened) => {
      const rule = (name: string, answer: "run" | "skip") => ({
        ...{ name, decides: ["blocks.1.ffn", "blocks.2.attn"], start: () => undefined, next: () => answer },
      });
      const adapters = mixes.at(-1)!;
      const run = async (blocks?: ReturnType<typeof rule>, mix = adapters) => {
        using sequence = opened.engine.sequence();
        await sequence.forward({ input: tokens.slice(0, 5), adapters: mix });
        const { rows } = await sequence.forward({
          input: [tokens[5]!],
          want: { fullLogits: true },
          adapters: mix,
          ...(blocks === undefined ? {} : { blocks }),
        });
        // reading on fills the hole that a skipped attention half left, with the adapters of its entry
        const next = await sequence.forward({ input: [tokens[6]!], want: { fullLogits: true }, adapters: mix });
        return [rows[0]!.logits!, next.rows[0]!.logits!];
      };
      const plain = await run();
      const [asked, skipped, other] = await Promise.all([
        run(rule("runs", "run")),
        run(rule("skips", "skip")),
        run(rule("runs", "run"), mixes[1]!),
      ]);
      expect(asked).toEqual(plain);
      expect(skipped[0]).not.toEqual(plain[0]);
      expect(skipped[1]).toEqual(plain[1]);
      expect(other).toEqual(await run(undefined, mixes[1]!));
    });
  });
});
