import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { afterEach, expect, test, vi } from "vitest";
import { runCommand } from "../run.ts";
import { inspect } from "./inspect.ts";

const fixture = (name: string) => fileURLToPath(new URL(`../../weights/fixtures/${name}`, import.meta.url));

async function run(...args: string[]) {
  const output = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const errors = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const program = new Command("chainrule").option("--debug").addCommand(inspect);
  try {
    await runCommand(program, ["node", "chainrule", "inspect", ...args]);
    const joined = (spy: typeof output | typeof errors) => spy.mock.calls.map(([text]) => String(text)).join("");
    return { output: joined(output), errors: joined(errors), exitCode: process.exitCode };
  } finally {
    output.mockRestore();
    errors.mockRestore();
  }
}

afterEach(() => {
  process.exitCode = undefined;
  for (const option of ["memory", "context", "json"]) inspect.setOptionValue(option, undefined);
});

test("a file is described in lines of a type, a key or a tensor each", async () => {
  const { output, errors, exitCode } = await run(fixture("small.fixture.gguf"));
  expect(output).toMatch(/small\.fixture\.gguf: GGUF 3, alignment 32, 3552 B, 9 tensors, 1,560 values\n/);
  expect(output).toMatch(/^ {2}q4_0 +1 tensor +192 values +108 B$/m);
  expect(output).toMatch(/^ {2}test\.four_axes +i32 +\[2, 3, 1, 4\] +96 B$/m);
  expect(output).toMatch(/^ {2}test\.strings +array of string +3: "", "a", "ä\\u0000b"$/m);
  expect([errors, exitCode]).toEqual(["", undefined]);
});

test("--json prints one object and nothing else", async () => {
  const { output } = await run(fixture("small.fixture.safetensors"), "--json");
  expect(JSON.parse(output)).toMatchObject({ format: "safetensors", elementCount: 11 });
});

test.each([
  ["a file of another kind", [fileURLToPath(import.meta.url)], /is not a GGUF file/],
  ["a missing file", ["/nowhere.gguf"], /there is no such file/],
  ["a context without a plan", [fixture("small.fixture.gguf"), "--context", "5"], /--context: is for --memory only/],
  ["a context that is no number", [fixture("small.fixture.gguf"), "--memory", "--context", "many"], /expected a number of tokens/],
  ["a plan for a file without an architecture's sizes", [fixture("small.fixture.gguf"), "--memory"], /lack the key llama\.context_length/],
])("%s ends in exit code 2 and one line", async (_name, args, message) => {
  const { output, errors, exitCode } = await run(...args);
  expect(output).toBe("");
  expect(errors).toMatch(message);
  expect(exitCode).toBe(2);
});
