import { readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChainruleError } from "../../src/errors.ts";
import { openGguf } from "../../src/weights/index.ts";
import { openEngine, temporaryFolder } from "../support/engine.ts";
import { type TinyArchitecture, type TinyOptions, writeTinyModel } from "../support/tiny-model.ts";

// A changed header gives a typed error, or a model that runs: a prompt, a step and a tree. An abort of native code would end this process.
// The readers alone are tried on many more changes in src/weights/gguf-hostile.test.ts.

let folder: ReturnType<typeof temporaryFolder>;
const originals: Buffer[] = [];
const headers: number[] = [];
const kinds: TinyOptions[] = (["llama", "qwen2", "qwen3", "gemma3", "gpt2"] as TinyArchitecture[]).flatMap((architecture) =>
  (["f32", "q4_0", "q8_0"] as const).map((type) => ({ architecture, type, hiddenSize: 128, blocks: 1, vocabSize: 64 })),
);
beforeAll(async () => {
  folder = temporaryFolder();
  for (const [index, options] of kinds.entries()) {
    const path = `${folder.path}/${index}.gguf`;
    await writeTinyModel(path, options);
    originals.push(readFileSync(path));
    using file = openGguf(path);
    headers.push(file.headerBytes);
  }
});
afterAll(() => folder[Symbol.dispose]());

/** Runs what the bytes hold. */
async function run(bytes: Uint8Array): Promise<"ran" | ChainruleError> {
  const path = `${folder.path}/changed.gguf`;
  writeFileSync(path, bytes);
  try {
    await using opened = await openEngine(path, { contextLength: 16, cacheBytes: 2 ** 24 });
    using sequence = opened.engine.sequence();
    await sequence.forward({ input: [1, 2, 3] as never, want: { top: 4 } });
    await sequence.forward({ input: [0] as never, want: { fullLogits: true } });
    await sequence.forward({ input: [1, 2] as never, parents: [-1, -1], want: { logits: "all", top: 1 } });
    return "ran";
  } catch (error) {
    if (!(error instanceof ChainruleError || error instanceof RangeError)) throw error;
    return error as ChainruleError;
  }
}

const change = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({
    kind: fc.constant("u32" as const),
    at: fc.nat(),
    value: fc.constantFrom(0, 1, 2, 3, 7, 31, 33, 64, 127, 1000, 65_536, 0x7fffffff, 0xffffffff),
  }),
  fc.record({ kind: fc.constant("digit" as const), at: fc.nat(), bit: fc.nat(5) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
);

test("a model with a changed header is refused by a typed error, or runs", async () => {
  for (const original of originals) expect(await run(original)).toBe("ran");
  const counts = { ran: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(kinds.length - 1), fc.array(change, { minLength: 1, maxLength: 2 }), async (index, changes) => {
      let bytes: Uint8Array = Buffer.from(originals[index]!);
      const header = headers[index]!;
      for (const one of changes) {
        const at = one.at % header;
        if (one.kind === "flip") bytes[at]! ^= 1 << one.bit;
        else if (one.kind === "u32")
          new DataView(bytes.buffer, bytes.byteOffset).setUint32(Math.min(at, bytes.length - 4), one.value, true);
        else if (one.kind === "digit") bytes[at] = 48 + one.bit;
        else bytes = bytes.subarray(0, one.at % bytes.length);
        if (bytes.length < header) break;
      }
      const outcome = await run(bytes);
      counts[outcome === "ran" ? "ran" : "refused"] += 1;
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 100_000 : 2000 },
  );
  expect(counts.ran).toBeGreaterThan(10); // the property is about both
  expect(counts.refused).toBeGreaterThan(10);
}, 3_600_000);

test.each(["blk.0.attn_q.weight", "token_embd.weight", "output_norm.weight"])(
  "%s of a type that no weight may have is refused",
  async (name) => {
    const bytes = Buffer.from(originals[0]!); // llama, f32
    const end = bytes.indexOf(name) + name.length;
    const type = end + 4 + 8 * bytes.readUInt32LE(end); // after the number of axes and their sizes
    expect(bytes.readUInt32LE(type)).toBe(0);
    bytes.writeUInt32LE(26, type); // i32: as many bytes, and what ggml would call a null pointer for
    expect(await run(bytes)).toMatchObject({
      name: "FormatError",
      message: expect.stringContaining(`${name} has type i32, which no weight may have`),
    });
  },
);
