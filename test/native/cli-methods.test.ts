import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Command } from "commander";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { calibrate } from "../../src/cli/commands/calibrate.ts";
import { explain } from "../../src/cli/commands/explain.ts";
import { heatMap } from "../../src/cli/commands/explain-answer.ts";
import { inspect } from "../../src/cli/commands/inspect.ts";
import { runCommand } from "../../src/cli/run.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// The commands that report on a model, on a tiny one: what they print and what they keep.

const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
beforeAll(async () => {
  await writeTinyChatModel(path, { blocks: 3, seed: 3 });
  vi.stubEnv("CHAINRULE_HOME", `${folder.path}/home`);
});
afterEach(() => {
  process.exitCode = undefined;
});
afterAll(() => {
  vi.unstubAllEnvs();
  folder[Symbol.dispose]();
});

async function run(command: Command, ...args: string[]) {
  const output = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const errors = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    await runCommand(new Command("chainrule").option("--debug").addCommand(command), ["node", "chainrule", ...args]);
    const [out, err] = [output, errors].map((spy) => spy.mock.calls.map(([text]) => String(text)).join(""));
    return { output: out!, errors: err!, exitCode: process.exitCode };
  } finally {
    output.mockRestore();
    errors.mockRestore();
    for (const name of ["json", "html", "isotropy", "judges"]) command.setOptionValue(name, undefined);
  }
}
const escapeCode = "\u001b";
const model = ["--model", path, "--threads", "1", "--context", "256"];

test("explain prints the tokens that matter, the time that is expected and what was done; a page and JSON say the same", async () => {
  const html = `${folder.path}/why.html`;
  const args = ["explain", "the quick brown fox", ...model, "--max-tokens", "2", "--method", "reagent,replaced=12,tokens=1"];
  const text = await run(await explain(args.slice(1)), ...args, "--html", html);
  expect(text.exitCode).toBeUndefined();
  expect(text.errors).toMatch(/^reagent: 12 replaced prompts, about 13 passes, \d.* \(\d+ ms per prompt, .*\); it stops at 60 s\n/);
  expect(text.output).toMatch(/^".+" {2}.+\n/);
  expect(text.output).not.toContain(escapeCode); // no terminal, no colours
  expect(readFileSync(html, "utf8").replace(/<[^>]*>/g, "")).toContain("the quick brown fox");
  const { output } = await run(await explain(args.slice(1)), ...args, "--json");
  const { tokens, attribution } = JSON.parse(output);
  expect(attribution.effort).toMatchObject({ method: "reagent", done: 12, planned: 12 });
  expect(attribution.tokens[0].importance).toHaveLength(attribution.prompt.length);
  expect(tokens[attribution.tokens[0].index]).toBe(attribution.tokens[0].id);
});

test("on a terminal the whole prompt is coloured, warm by what matters; a line's end is not", () => {
  const token = {
    ...{ index: 0, id: 5, text: "Paris", probability: 0.5, information: 2, scores: [0, 2, -1, 0], importance: [0, 0.9, 0, 0.1] },
    ...{ rationale: [1], isSufficient: true },
  };
  const attribution = { method: "reagent", prompt: ["The ", "capital", "\n", " is"], tokens: [token] } as never;
  const coloured = heatMap({ attribution }, true);
  expect(coloured.replace(new RegExp(`${escapeCode}\\[[\\d;]*m`, "g"), "")).toContain("The capital\n is\n");
  const background = new RegExp(`${escapeCode}\\[48;2;20;\\d+;(\\d+)m${escapeCode}\\[97mcapital${escapeCode}\\[0m`).exec(coloured);
  expect(Number(background![1])).toBe(75 + 180); // the largest score has the full strength
  expect(coloured).toContain(`The ${escapeCode}`); // what does not matter has none
  const plain = heatMap({ attribution }, false);
  expect(plain).toContain("capital");
  expect(plain).not.toContain(escapeCode);
});

test("inspect --isotropy runs the model and says how alike its states are", async () => {
  const text = `${folder.path}/text.txt`;
  writeFileSync(text, "The quick brown fox jumps over the lazy dog. ".repeat(8));
  const { output, exitCode } = await run(inspect, "inspect", path, "--isotropy", "--text", text, "--json");
  expect(exitCode).toBeUndefined();
  const { isotropy, withoutFirst, windows, tokens } = JSON.parse(output);
  for (const share of [isotropy, withoutFirst]) expect(share > 0 && share < 2).toBe(true);
  expect(windows).toBe(Math.ceil(tokens / 128));
  const lines = await run(inspect, "inspect", path, "--isotropy", "--text", text);
  expect(lines.output).toContain(`isotropy ${isotropy.toFixed(3)}, ${withoutFirst.toFixed(3)} without each window's first token`);
});

test("calibrate measures both orders once and keeps them; judges are measured by themselves", async () => {
  const { output } = await run(calibrate, "calibrate", ...model, "--json");
  const { ffn, block } = JSON.parse(output);
  for (const order of [ffn, block]) {
    expect(order).toEqual({ blocks: [1], costs: [expect.any(Number)] }); // of three blocks the first and the last always run
    expect(order.costs[0]).toBeGreaterThan(0);
  }
  const kept = `${folder.path}/home/skip-orders`;
  expect(existsSync(kept) && readdirSync(kept).sort()).toEqual([
    expect.stringMatching(/-block\.json$/),
    expect.stringMatching(/-ffn\.json$/),
  ]);
  expect(
    readdirSync(kept)
      .sort()
      .map((name) => JSON.parse(readFileSync(`${kept}/${name}`, "utf8"))),
  ).toEqual([block, ffn]);
  const table = await run(calibrate, "calibrate", ...model);
  expect(table.output).toMatch(
    /^what it costs .*\n {3}1 {2}block {3}1 {2}\d+\.\d{4} nats.*\nwhole blocks .*\n {3}1 {2}block {3}1 {2}\d+\.\d{4} nats/,
  );
  const refused = await run(calibrate, "calibrate", ...model, "--judges", "--attribute", "fluent");
  expect(refused.exitCode).toBe(2);
  expect(refused.errors).toContain("--judges: is measured on pairs of ours, by itself");
});
