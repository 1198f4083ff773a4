import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { runCommand } from "../run.ts";
import { models } from "./models.ts";
import { pull } from "./pull.ts";

let home: string;
let path: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "chainrule-home-"));
  vi.stubEnv("CHAINRULE_HOME", home);
  const folder = join(home, "models", "smollm2");
  mkdirSync(folder, { recursive: true });
  path = join(folder, "s.gguf");
  writeFileSync(path, "GGUF");
  const manifest = { name: "smollm2", file: "s.gguf", sizeBytes: 4, sha256: "ab", source: "test", pulledAt: "2026-01-01T00:00:00.000Z" };
  writeFileSync(join(folder, "model.json"), JSON.stringify(manifest));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = 0;
  rmSync(home, { recursive: true });
});

/** What a command line writes, and its exit code. */
async function run(...args: string[]): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const written = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += text;
      return true;
    });
  }
  process.exitCode = 0;
  await runCommand(new Command("chainrule").addCommand(models).addCommand(pull), ["node", "chainrule", ...args]);
  return { ...written, exitCode: Number(process.exitCode) };
}

test("models lists what is there and what could be", async () => {
  const { stdout } = await run("models");
  expect(stdout.split("\n")).toEqual([
    `smollm2            0 kB  ${path}`,
    expect.stringMatching(/^tiny {13}[ \d]\.\d MB {2}.*tiny\.gguf$/),
    "gemma3-270m    253.1 MB  not pulled: Gemma 3 270M (pretrained), Q4_K_M",
    expect.stringMatching(/^smollm2-draft {12}not built: 5 M parameters/),
    "",
  ]);
  const { home: place, models: installed, available } = JSON.parse((await run("models", "--json")).stdout);
  expect(place).toBe(home);
  expect(installed).toEqual([
    { name: "smollm2", path, sizeBytes: 4, sha256: "ab", source: "test", pulledAt: "2026-01-01T00:00:00.000Z" },
    { name: "tiny", path: expect.stringMatching(/tiny\.gguf$/), sizeBytes: expect.any(Number), source: "the package" },
  ]);
  expect(available.map((entry: { name: string }) => entry.name)).toEqual(["gemma3-270m", "smollm2-draft"]);
});

test("models --path prints the path and nothing else, or says that the model isn't there", async () => {
  expect(await run("models", "--path", "smollm2")).toEqual({ stdout: `${path}\n`, stderr: "", exitCode: 0 });
  const absent = await run("models", "--path", "gemma3-270m");
  expect(absent).toMatchObject({ stdout: "", exitCode: 2 });
  expect(absent.stderr).toMatch(/^error: gemma3-270m is not in .*; pull it while online\n$/);
});

test("models --remove deletes; options that contradict each other are refused by name", async () => {
  expect((await run("models", "--remove", "smollm2", "--json")).stderr).toBe("error: --json: can't be combined with --remove\n");
  expect((await run("models", "--remove", "smollm2")).exitCode).toBe(0);
  expect((await run("models", "--path", "smollm2")).exitCode).toBe(2);
});

test("pull prints the path of a model that is there, or one object", async () => {
  expect(await run("pull", "smollm2")).toEqual({ stdout: `${path}\n`, stderr: "", exitCode: 0 });
  expect(JSON.parse((await run("pull", "smollm2", "--offline", "--json")).stdout)).toEqual({
    name: "smollm2",
    path,
    sizeBytes: 4,
    sha256: "ab",
    source: "test",
  });
});

test("pull refuses what can't be with one line and exit code 2", async () => {
  expect(await run("pull", "smollm2", "--offline", "--force")).toMatchObject({ stdout: "", exitCode: 2 });
  const unknown = await run("pull", "smollm9");
  expect(unknown.exitCode).toBe(2);
  expect(unknown.stderr).toMatch(/^error: "smollm9" is no model known here; there are smollm2, gemma3-270m, .*\n$/);
});

test.each(["pull", "models"])("%s --help has an example", async (command) => {
  const { stdout, exitCode } = await run(command, "--help");
  expect(stdout).toMatch(new RegExp(`Example:\n {2}\\$ chainrule ${command} `));
  expect(exitCode).toBe(0);
});
