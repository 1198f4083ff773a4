import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors } from "../../src/weights/index.ts";
import { temporaryFolder } from "../support/engine.ts";
import { random } from "../support/tiny-model.ts";

// The program as it is shipped: dist/ is built before the tests run. Nothing is downloaded: models are made here.
const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

let folder: ReturnType<typeof temporaryFolder>;
const at = (...names: string[]) => join(folder.path, ...names);
function run(...args: string[]) {
  const env = { ...process.env, CHAINRULE_HOME: at("home") };
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env, timeout: 240_000 });
  return { status, stdout, stderr };
}
const scratch = ["train", "--scratch", "hidden=32,blocks=3,heads=2,context=256", "--vocabulary", "300"];

beforeAll(() => {
  folder = temporaryFolder();
  const next = random(5);
  const pick = (list: readonly string[]) => list[Math.floor(next() * list.length)]!;
  const sentence = () => `the ${pick(["cat", "dog", "bird"])} ${pick(["sees", "hears"])} the ${pick(["tree", "house", "river"])}.`;
  const rows = Array.from({ length: 120 }, () => JSON.stringify({ text: `${sentence()} ${sentence()}` }));
  writeFileSync(at("data.jsonl"), `${rows.join("\n")}\nno JSON\n`);
});
afterAll(() => folder[Symbol.dispose]());

test("train prints the lines of metrics.jsonl, refuses a folder that exists and goes on in it", () => {
  const args = [...scratch, "--data", at("data.jsonl"), "--out", at("run"), "--length", "32", "--sequences", "2", "--json"];
  const refused = run(...args, "--steps", "6");
  expect(refused).toMatchObject({ status: 2, stdout: "" });
  expect(refused.stderr).toMatch(/data\.jsonl: line 121 is not valid JSON/);
  expect(existsSync(at("run"))).toBe(false);
  mkdirSync(at("run"));
  const taken = run(...args, "--steps", "6", "--bad", "skip");
  expect(taken).toMatchObject({ status: 2, stdout: "" });
  expect(taken.stderr).toMatch(/out: .*run exists: resume it, or name another folder/);

  const others = args.map((arg) => (arg === at("run") ? at("other") : arg));
  const whole = run(...others, "--steps", "6", "--bad", "skip", "--checkpoint-every", "2");
  expect(whole.status).toBe(0);
  expect(whole.stderr).toMatch(/note: .*line 121 is not valid JSON.*; skipped/);
  expect(whole.stderr).toMatch(/parameters; memory: weights [\d.]+ \S+, passes [\d.]+ \S+, optimizer [\d.]+ \S+\n/);
  expect(whole.stdout).toBe(readFileSync(at("other", "metrics.jsonl"), "utf8"));
  expect(
    whole.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).step),
  ).toEqual([1, 2, 3, 4, 5, 6]);

  // as if it had been killed after its fourth step
  const [last] = readdirSync(at("other"))
    .filter((name) => name.startsWith("checkpoint-"))
    .reverse();
  rmSync(at("other", last!));
  const resumed = run(...others, "--steps", "6", "--bad", "skip", "--resume");
  expect(resumed.status).toBe(0);
  expect(resumed.stderr).toMatch(/going on after step 4\n/);
  expect(resumed.stdout).toBe(whole.stdout.split("\n").slice(4).join("\n"));
  expect(readFileSync(at("other", "metrics.jsonl"), "utf8")).toBe(whole.stdout);
  const other = run(...others, "--steps", "7", "--bad", "skip", "--resume");
  expect(other.stderr).toMatch(/steps: the run to be resumed has 6, not 7/);
});

test("an adapter that train makes is merged by merge, and the merged model answers as the model with it", () => {
  const model = at("other", "model.gguf");
  const out = at("tuned");
  const args = ["--model", model, "--adapter", "lora,rank=4,targets=all", "--learning-rate", "2e-2", "--length", "32", "--steps", "12"];
  const trained = run("train", ...args, "--data", at("data.jsonl"), "--bad", "skip", "--out", out);
  expect(trained).toMatchObject({ status: 0, stdout: `${out}/adapter\n` });
  expect(trained.stderr.indexOf("memory: weights")).toBeGreaterThan(-1);
  expect(trained.stderr.indexOf("memory: weights")).toBeLessThan(trained.stderr.indexOf("step 1 of 12"));
  const merged = run("merge", model, `${out}/adapter`, at("merged.gguf"));
  expect(merged).toMatchObject({ status: 0, stderr: "", stdout: `${at("merged.gguf")}: 21 matrices changed\n` });
  const write = (...more: string[]) => run("generate", "the cat", "-n", "12", "--threads", "1", "--no-stats", ...more).stdout;
  expect(write("--model", at("merged.gguf"))).toBe(write("--model", model, "--adapter", `${out}/adapter`));
  expect(write("--model", at("merged.gguf"))).not.toBe(write("--model", model));
  expect(run("merge", model, at("nowhere"), at("merged2.gguf")).status).not.toBe(0);
  expect(existsSync(at("merged2.gguf"))).toBe(false);
});

test("distill keeps maps of the layers it chooses beside the model, and those of others where it is told", () => {
  const model = at("other", "model.gguf");
  const maps = at("other", "model.hidden-transfer.safetensors");
  const args = ["distill", "--model", model, "--texts", "12", "--steps", "1", "--threads", "1", "--json"];
  const refused = run(...args, "--layers", "2");
  expect(refused).toMatchObject({ status: 2, stdout: "" });
  expect(refused.stderr).toMatch(/--out: name a file with --layers/);
  // what can't be is said before the model writes anything
  const unfit = run(...args, "--layers", "1,3", "--out", at("head.safetensors"));
  expect(unfit.status).toBe(2);
  expect(unfit.stderr).toMatch(/1 to 4 ascending block indices below 3, got 1,3/);
  expect(run(...args, "--out", at("nowhere", "maps.safetensors")).stderr).toMatch(/--out: .*nowhere does not exist/);
  expect(unfit.stderr).not.toMatch(/written/);
  const chosen = run(...args);
  expect(chosen.status).toBe(0);
  expect(chosen.stderr).toMatch(/^the model writes 12 texts, then 2 maps \(after block 1, 2\) learn from them in 1 steps: roughly \d+ min/);
  expect(chosen.stderr).toMatch(
    /written 12 of 12 texts, \d+ tokens; 0 min left for them\n[\d,]+ parameters; memory: weights .*\nstep 1 of 1, loss/,
  );
  const { path, layers, before, after, heldOutTokens } = JSON.parse(chosen.stdout);
  expect([path, layers, before.length, after.length, heldOutTokens.length]).toEqual([maps, [1, 2], 2, 2, 2]);
  expect(heldOutTokens[0]).toBeGreaterThan(heldOutTokens[1]);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const again = run(...args.slice(0, -1)); // finished already: the same figures, for a page
  expect(again.stdout).toContain(`| 2 | 2 | ${heldOutTokens[1]} | ${percent(before[1])} | ${percent(after[1])} |\n`);
  const bytes = readFileSync(maps);
  const head = JSON.parse(run(...args, "--layers", "2", "--out", at("head.safetensors")).stdout);
  expect([head.path, head.layers]).toEqual([at("head.safetensors"), [2]]);
  using file = openSafetensors(at("head.safetensors"));
  expect(file.metadata.get("layers")).toBe("2");
  expect(readFileSync(maps).equals(bytes)).toBe(true);
});
