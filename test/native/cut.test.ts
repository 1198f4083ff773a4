import { afterAll, describe, expect, test } from "vitest";
import { OptionError, UnsupportedError } from "../../src/errors.ts";
import { cutModel } from "../../src/models/index.ts";
import { openGguf } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { type TinyArchitecture, writeTinyModel } from "../support/tiny-model.ts";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
const at = (name: string) => `${folder.path}/${name}.gguf`;

describe.each(["llama", "qwen3", "gemma3", "gpt2"] as const)("%s", (architecture: TinyArchitecture) => {
  const whole = at(architecture);
  const cut = at(`${architecture}-cut`);
  test("a cut is the whole model without the other blocks", async () => {
    await writeTinyModel(whole, { architecture, blocks: 4, type: "q8_0" });
    expect(await cutModel(whole, cut, { blocks: 2 })).toEqual({ blocks: [0, 1], of: 4 });
    const logitsOf = async (path: string, blocks: Record<string, false>) => {
      await using opened = await openEngine(path, { contextLength: 64 });
      using sequence = opened.engine.sequence();
      const { rows } = await sequence.forward({ input: [5, 9, 2, 77] as never, blocks, want: { fullLogits: true } });
      return rows[0]!.logits!;
    };
    const skipped = Object.fromEntries(
      [2, 3].flatMap((block) => ["attn", "ffn"].map((half) => [`blocks.${block}.${half}`, false as const])),
    );
    expect(await logitsOf(cut, {})).toEqual(await logitsOf(whole, skipped));
  });

  test("its metadata say what it is, and its tensors are bytes of the whole model", () => {
    using from = openGguf(whole);
    using to = openGguf(cut);
    const { metadata } = to;
    expect(metadata.getString("general.name")).toBe(`tiny random ${architecture} (cut: the first 2 of 4 blocks)`);
    expect(metadata.getNumbers("chainrule.cut.blocks")).toEqual(Uint32Array.of(0, 1));
    expect(metadata.getInteger("chainrule.cut.of")).toBe(4);
    for (const { name, sizeBytes } of to.tensors.values()) {
      const [ours, theirs] = [new Uint8Array(sizeBytes), new Uint8Array(sizeBytes)];
      to.readInto(name, ours);
      from.readInto(name, theirs);
      expect(Buffer.compare(ours, theirs)).toBe(0); // a deep comparison takes seconds
    }
    expect(to.tensors.size).toBeLessThan(from.tensors.size);
  });
});

test("any blocks may stay, in their order", async () => {
  expect(await cutModel(at("llama"), at("picked"), { blocks: [0, 3] })).toEqual({ blocks: [0, 3], of: 4 });
  using whole = openGguf(at("llama"));
  using picked = openGguf(at("picked"));
  const bytes = (file: ReturnType<typeof openGguf>, name: string) => {
    const found = new Uint8Array(file.tensors.get(name)!.sizeBytes);
    file.readInto(name, found);
    return found;
  };
  expect(Buffer.compare(bytes(picked, "blk.1.attn_q.weight"), bytes(whole, "blk.3.attn_q.weight"))).toBe(0);
  expect(picked.metadata.getString("general.name")).toBe("tiny random llama (cut: blocks 0, 3 of 4 blocks)");
});

test("blocks that would attend otherwise in their new place are refused", async () => {
  await writeTinyModel(at("long"), { architecture: "gemma3", blocks: 8 });
  await expect(cutModel(at("long"), at("out"), { blocks: [0, 5] })).rejects.toThrow(UnsupportedError);
  await expect(cutModel(at("long"), at("out"), { blocks: [0, 5] })).rejects.toThrow(/block 5 attends with no window; as block 1 /);
});

test.each([
  [0, "must be a number of blocks in [1, 4] or a list of their indices, got 0"],
  [5, "must be a number of blocks in [1, 4] or a list of their indices, got 5"],
  [[0, 4], "there is no block 4: the model has blocks 0 to 3"],
  [[1, 1], "must ascend, each block once; 1 comes after 1"],
] as const)("blocks %j are refused", async (blocks, message) => {
  await expect(cutModel(at("llama"), at("out"), { blocks })).rejects.toThrow(new OptionError("blocks", message));
});
