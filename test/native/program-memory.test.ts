import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import {
  add,
  affine,
  attention,
  cast,
  gather,
  input,
  linear,
  mul,
  narrow,
  Program,
  permute,
  reshape,
  rmsNorm,
  setRows,
  softmax,
  type Tensor,
  unary,
  window,
} from "../../src/tensor/index.ts";
import { Leaves } from "../../src/tensor/testing/leaves.ts";
import { uniform } from "../../src/tensor/testing/random-case.ts";
import { setInput } from "../../src/tensor/testing/run-program.ts";

const device = Device.create("cpu", 1); // thousands of tiny passes: a second thread would mostly be waited for
afterAll(() => {
  device[Symbol.dispose]();
  expect(liveOwnerCount()).toBe(0);
});

/** A small attention block over `rows` rows. */
function block(rows: number): { outputs: Record<string, Tensor>; inputs: Record<string, Tensor> } {
  const [heads, headDim, cells] = [2, 8, 16];
  const width = heads * headDim;
  const x = input("x", "f32", [rows, width]);
  const w = input("w", "f32", [3 * width, width]);
  const mask = input("mask", "f16", [1, 1, rows, cells]);
  const kv = input("kv", "f32", [1, heads, cells, headDim]);
  const projected = linear(rmsNorm(x, 1e-5), w);
  const q = permute(reshape(narrow(projected, 1, 0, width), [1, rows, heads, headDim]), [0, 2, 1, 3]);
  const mixed = reshape(attention(q, kv, kv, mask, 0.3), [rows, width]);
  const y = add(x, mul(mixed, unary("silu", narrow(projected, 1, width, width))));
  return { outputs: { y, p: softmax(y) }, inputs: { x, w, mask, kv } };
}

function fill(program: Program, inputs: Record<string, Tensor>, random: () => number): void {
  for (const [name, { dtype, shape }] of Object.entries(inputs)) {
    const count = shape.reduce((a, b) => a * b, 1);
    setInput(
      program,
      name,
      dtype,
      Float32Array.from({ length: count }, () => random() - 0.5),
    );
  }
}

test("two programs run alternately 1,000 times with random inputs equal fresh ones, bit for bit", () => {
  const graphs = [block(1), block(5)];
  const kept = graphs.map(({ outputs }) => Program.compile(device, outputs));
  const random = uniform(1);
  for (let run = 0; run < 1000; run += 1) {
    const i = run % 2;
    const { outputs, inputs } = graphs[i]!;
    const seed = Math.floor(random() * 2 ** 31);
    using fresh = Program.compile(device, outputs);
    for (const program of [kept[i]!, fresh]) {
      fill(program, inputs, uniform(seed));
      program.runSync();
    }
    for (const name of ["y", "p"]) {
      const [a, b] = [kept[i]!.read(name), fresh.read(name)];
      if (Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)) !== 0) throw new Error(`run ${run}: ${name} differs`);
    }
  }
  for (const program of kept) program[Symbol.dispose]();
});

test("inputs and outputs by copies, as on devices whose memory can't be seen, give the same bits", async () => {
  const { outputs, inputs } = block(5);
  using seen = Program.compile(device, outputs);
  using copied = Program.compile(device, outputs, { staging: true });
  for (const seed of [1, 2]) {
    for (const program of [seen, copied]) {
      fill(program, inputs, uniform(seed));
      await program.run();
    }
    for (const name of ["y", "p"]) expect(copied.read(name)).toEqual(seen.read(name));
  }
});

test("an output seen through a view is not overwritten by what is computed after it", () => {
  const x = input("x", "f32", [4, 64]);
  const doubled = add(x, x);
  const shown = reshape(doubled, [8, 32]);
  const identity = input("identity", "f32", [32, 32]);
  let later: Tensor = shown;
  for (let i = 0; i < 4; i += 1) later = linear(affine(later, 3), identity); // products take new memory, where there is some free
  using program = Program.compile(device, { shown, turned: permute(doubled, [1, 0]), later });
  program.input("x").fill(1).set([5], 1);
  program.input("identity").set(Array.from({ length: 1024 }, (_, i) => (i % 33 === 0 ? 1 : 0)));
  program.runSync();
  expect([...program.read("shown").slice(0, 3)]).toEqual([2, 10, 2]);
  expect([...program.read("turned").slice(0, 5)]).toEqual([2, 2, 2, 2, 10]);
  expect(program.read("later")[0]).toBe(2 * 3 ** 4);
});

test("an output of another type than f32 or i32 is refused", () => {
  const half = cast(input("x", "f32", [4]), "f16");
  expect(() => Program.compile(device, { half })).toThrow("compile: output half is type f16, expected type f32 or i32");
});

test("windows move within their cache only", () => {
  using leaves = new Leaves(device, { cache: { dtype: "f32", shape: [8, 2], data: Float32Array.from({ length: 16 }, (_, i) => i) } });
  const seen = window(leaves.get("cache"), { streams: 2, cells: 1, heads: 1, headDim: 2, rowsPerStream: 2 });
  using program = Program.compile(device, { seen });
  program.setWindow(4);
  program.runSync();
  expect([...program.read("seen")]).toEqual([8, 9, 12, 13]);
  program.setWindow(5);
  program.runSync();
  expect([...program.read("seen")]).toEqual([10, 11, 14, 15]);
  for (const row of [6, -1, 0.5]) expect(() => program.setWindow(row)).toThrow("a window may begin at rows 0 to 5");
});

test("a cache that is read beside its write is refused, by whatever node", () => {
  using leaves = new Leaves(device, { cache: { dtype: "f32", shape: [4, 2], data: new Float32Array(8) } });
  const rows = input("rows", "f32", [1, 2]);
  const at = input("at", "i64", [1]);
  const ids = input("ids", "i32", [1]);
  const written = setRows(leaves.get("cache"), rows, at);
  const message = "cache: this cache is written and read side by side";
  expect(() => Program.compile(device, { written, old: gather(leaves.get("cache"), ids) })).toThrow(message);
  expect(() => Program.compile(device, { twice: setRows(written, rows, at), between: gather(written, ids) })).toThrow(message);
  using fine = Program.compile(device, { after: gather(setRows(written, rows, at), ids) });
  expect(fine.inputNames.sort()).toEqual(["at", "ids", "rows"]);
});

test("a program disposed of while it runs is freed when the pass has ended", async () => {
  const n = 512;
  const x = input("x", "f32", [n, n]);
  let y = x;
  for (let i = 0; i < 4; i += 1) y = rmsNorm(linear(y, x), 1e-6);
  const program = Program.compile(device, { y });
  program.input("x").fill(0.01);
  const pass = program.run();
  program[Symbol.dispose]();
  expect(await pass).toBe("done");
  expect(() => program.read("y")).toThrow("a compiled program was used after it had been disposed of");
});
