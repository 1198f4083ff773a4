import { afterAll, expect, test } from "vitest";
import { Device, liveOwnerCount } from "../../src/ggml/index.ts";
import { add, input, linear, Program, reshape, rmsNorm } from "../../src/tensor/index.ts";

afterAll(() => expect(liveOwnerCount()).toBe(0));

test("a program computes, and computes again with other inputs", async () => {
  using device = Device.create("cpu", 2);
  const x = input("x", "f32", [2, 3]);
  const w = input("w", "f32", [2, 3]);
  using program = Program.compile(device, { y: linear(x, w) });
  program.input("x").set([1, 2, 3, 4, 5, 6]);
  program.input("w").set([1, 0, 0, 0, 1, 1]);
  expect(await program.run()).toBe("done");
  expect([...program.read("y")]).toEqual([1, 5, 4, 11]);
  program.input("x").set([0, 0, 1, 1, 0, 0]);
  program.input("w");
  await program.run();
  expect([...program.read("y")]).toEqual([0, 1, 1, 0]);
});

test("running with an input not set since the last run names it", async () => {
  using device = Device.create();
  using program = Program.compile(device, { y: add(input("a", "f32", [1]), input("b", "f32", [1])) });
  program.input("a").set([1]);
  await expect(program.run()).rejects.toThrow("b: this input was not set since the last run");
});

test("a wrong shape is an error in TypeScript, before anything native", () => {
  expect(() => linear(input("x", "f32", [2, 3]), input("w", "f32", [2, 4]))).toThrow("linear: w has shape [2, 4], expected [..., N, 3]");
  expect(() => add(input("a", "f32", [2, 3]), input("b", "f32", [2]))).toThrow("add: the second operand has shape [2]");
  expect(() => reshape(input("a", "f32", [2, 3]), [7])).toThrow("reshape: the operand has shape [2, 3], expected 7 elements for [7]");
});

test("the event loop stays free while a pass computes", async () => {
  using device = Device.create("cpu", 1);
  const n = 1536;
  let y = input("x", "f32", [n, n]);
  const x = y;
  for (let i = 0; i < 4; i += 1) y = rmsNorm(linear(y, x), 1e-6);
  using program = Program.compile(device, { y });
  program.input("x").fill(0.01);
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 2);
  await program.run();
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(3);
});

test("a pass can be cancelled and the program runs again", async () => {
  using device = Device.create("cpu", 1);
  const n = 1024;
  let y = input("x", "f32", [n, n]);
  const x = y;
  for (let i = 0; i < 40; i += 1) y = rmsNorm(linear(y, x), 1e-6);
  using program = Program.compile(device, { y });
  program.input("x").fill(0.01);
  setTimeout(() => program.cancel(), 20);
  expect(await program.run()).toBe("cancelled");
  program.input("x").fill(0.01);
  expect(await program.run()).toBe("done");
});

test("cancelling a program leaves another's pass on the same device alone", async () => {
  using device = Device.create("cpu", 1);
  const x = input("x", "f32", [64, 64]);
  using one = Program.compile(device, { y: linear(x, x) });
  using other = Program.compile(device, { y: linear(x, x) });
  one.input("x").fill(0.01);
  const running = one.run();
  other.cancel();
  expect(await running).toBe("done");
});
