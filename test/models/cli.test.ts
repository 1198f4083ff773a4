import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../support/engine.ts";

// The program as it is shipped: dist/ is built before the tests run.
const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

function run(args: readonly string[], input = "", variables: Readonly<Record<string, string>> = {}) {
  const env = { ...process.env, ...variables };
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", input, env, timeout: 120_000 });
  return { status, stdout, stderr };
}

const prompt = "The three laws of robotics are";
let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
  run(["pull", "smollm2"]);
});
afterAll(() => folder[Symbol.dispose]());

test("generate --json prints one object and nothing else; a seed decides a drawn answer", () => {
  const args = ["generate", prompt, "-n", "4", "--threads", "1", "--json", "--temperature", "0.9", "--seed", "7", "--logprobs", "2"];
  const first = run(args);
  expect(first).toMatchObject({ status: 0, stderr: "" });
  const result = JSON.parse(first.stdout);
  expect(result).toMatchObject({ finishReason: "length", usage: { completionTokens: 4 }, facts: expect.anything() });
  expect(result.tokens).toHaveLength(4);
  expect(Object.keys(result.timings).sort()).toEqual(
    ["completionMs", "completionTokensPerSecond", "loadMs", "promptMs", "promptTokensPerSecond"].sort(),
  );
  for (const entry of result.logprobs) {
    expect(entry.logprob).toBeLessThanOrEqual(0);
    expect(entry.top).toHaveLength(2);
    expect(entry.top[0].logprob).toBeGreaterThanOrEqual(entry.logprob);
  }
  const again = JSON.parse(run(args).stdout);
  expect([again.text, again.tokens, again.logprobs]).toEqual([result.text, result.tokens, result.logprobs]);
});

test("generate streams prompt and answer, and numbers on standard error; --stop ends before its text", () => {
  const plain = run(["generate", prompt, "-n", "6", "--threads", "1"]);
  expect(plain.status).toBe(0);
  expect(plain.stdout.startsWith(prompt)).toBe(true);
  expect(plain.stderr).toMatch(/^smollm2, 1 thread · .* · answer 6 tokens.* · ended by length\n$/);
  const answer = plain.stdout.slice(prompt.length, -1);
  const stop = answer.trim().split(" ").at(-1)!;
  const stopped = run(["generate", prompt, "-n", "6", "--threads", "1", "--no-stats", "--stop", stop]);
  expect(stopped).toEqual({ status: 0, stdout: `${prompt}${answer.slice(0, answer.indexOf(stop))}\n`, stderr: "" });
});

/** A machine that has no model and reaches nobody. */
const alone = () => ({
  ...{ CHAINRULE_HOME: folder.path, HF_ENDPOINT: "http://127.0.0.1:9", PIP_INDEX_URL: "http://127.0.0.1:9", PIP_RETRIES: "0" },
  ...{ PIP_EXTRA_INDEX_URL: "", npm_config_registry: "http://127.0.0.1:9" },
});

test("the package's own model needs no download; it stands in, in one line, where the default one can't be had", () => {
  const args = [prompt, "-n", "6", "--threads", "1", "--no-stats"];
  const named = run(["generate", ...args, "--model", "tiny", "--offline"], "", alone());
  expect(named).toMatchObject({ status: 0, stderr: "" });
  expect(named.stdout.startsWith(prompt)).toBe(true);
  const unnamed = run(["generate", ...args], "", alone());
  expect(unnamed).toMatchObject({ status: 0, stdout: named.stdout });
  const lines = unnamed.stderr.trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^smollm2 can't be had, so this is the package's own small model, tiny \(.*\)$/);
  expect(lines.filter((line) => line.includes("tiny"))).toHaveLength(1);
  expect(run(["generate", ...args, "--model", "smollm2"], "", alone())).toMatchObject({ status: 1, stdout: "" });
});

test("tokenize and score agree on what a text is", () => {
  const { tokens, pieces } = JSON.parse(run(["tokenize", prompt, "--json"]).stdout);
  expect(pieces.join("")).toBe(prompt);
  const score = JSON.parse(run(["score", "-", "--json", "--threads", "1"], prompt).stdout);
  expect(score.tokens).toEqual(tokens);
  expect(score.perplexity).toBeCloseTo(Math.exp(-score.total / score.numScored), 6);
});

test("chat: a saved conversation goes on as if it had not been interrupted", () => {
  const options = ["chat", "--threads", "1", "-n", "6", "--no-stats", "--strict"];
  const file = `${folder.path}/saved.chat`;
  const [hello, question] = ["Hi, I am Bo.", "What is my name?"];
  const whole = run(options, `${hello}\n${question}\n`);
  expect(whole.status).toBe(0);
  const first = run(options, `${hello}\n/save ${file}\n`);
  const second = run(options, `/load ${file}\n${question}\n/exit\nnever read\n`);
  expect([second.status, second.stderr]).toEqual([0, `2 messages loaded from ${file}\n`]);
  expect(first.stdout + second.stdout).toBe(whole.stdout);
});

test("doctor finds nothing wrong here", () => {
  const { status, stdout } = run(["doctor", "--json"]);
  const found = JSON.parse(stdout);
  expect(found.problems).toEqual([]);
  expect(status).toBe(0);
  expect(found.products[0]).toMatchObject({ threads: 1 });
  expect(found.handshake.checks).toContain("tensor layout");
  expect(found.cpuVariant).toMatch(/ggml-cpu/);
});

test("bench prints one object with the rates of prompt and answer", () => {
  const { status, stdout } = run([
    "bench",
    "--threads",
    "1",
    "--rounds",
    "1",
    "--prompt-tokens",
    "8",
    "--new-tokens",
    "4",
    "--no-curve",
    "--json",
  ]);
  expect(status).toBe(0);
  const measured = JSON.parse(stdout);
  expect(measured).toMatchObject({ threads: 1, prefill: { tokens: 8 }, decode: { tokens: 4 } });
  for (const { slowest, median, fastest } of [measured.prefill, measured.decode]) {
    expect(slowest).toBeGreaterThan(0);
    expect(median).toBeGreaterThanOrEqual(slowest);
    expect(fastest).toBeGreaterThanOrEqual(median);
  }
});

test.each([
  ["an unknown option", ["generate", "x", "--temprature", "1"], /unknown option '--temprature'/],
  ["a method that is none", ["generate", "x", "--sample", "top-kk"], /^error: sample: no method "top-kk"; there are /],
  ["a value out of range", ["generate", "x", "--temperature", "-1"], /^error: temperature: must be a number/],
  ["log-probabilities without --json", ["generate", "x", "--logprobs", "1"], /^error: --logprobs: .*add --json\n$/],
  ["a missing file", ["generate", "x", "-m", "/nowhere.gguf"], /^error: \/nowhere\.gguf: there is no such file\n$/],
  ["a bench of no rounds", ["bench", "--rounds", "0"], /^error: rounds: must be >= 1, got 0\n$/],
  ["a bench of a server without requests", ["bench", "serve", "http://127.0.0.1:9", "--num-prompts", "x"], /"x" is not a whole number/],
  ["a port that is none", ["serve", "--port", "80808"], /^error: port: must be an integer in \[0, 65535\], got 80808; .*\n$/],
  ["a server that lets nobody in", ["serve", "--max-requests", "0"], /^error: maxRequests: must be an integer >= 1, got 0\n$/],
  ["a server's key of nothing", ["serve", "--api-key", ""], /^error: apiKeys: .*not empty\n$/],
  ["an empty prompt", ["generate", ""], /^error: prompt: is empty/],
  ["a prompt beyond the context", ["generate", prompt, "--context", "4"], /^error: .*context/],
  ["special tokens with --chat", ["tokenize", "x", "--chat", "--special"], /^error: --special: /],
  ["a command that is none, not even by a name that every object has", ["toString"], /^error: unknown command 'toString'/],
  ["an unknown command of a chat", ["chat"], /^error: \/nope: there is no such command/, "/nope\n"],
])("%s: exit code 2 and one line", (_name, args, message, input = "") => {
  const result = run(args as string[], input as string);
  expect(result.stderr).toMatch(message as RegExp);
  expect([result.status, result.stdout]).toEqual([2, ""]);
});

test("a web page in place of a model: exit code 2, and the line names the file", () => {
  const page = `${folder.path}/page.gguf`;
  writeFileSync(page, "<!DOCTYPE html><html><body>Not found</body></html>");
  for (const args of [
    ["generate", "x", "-m", page],
    ["inspect", page],
    ["tokenize", "x", "-m", page],
    ["serve", "-m", page, "--port", "0"],
  ]) {
    const { status, stdout, stderr } = run(args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr.replace(/^loading .* …\n/, "")).toMatch(/^error: .*page\.gguf: .*\n$/);
  }
});

test.each(["SIGTERM", "SIGINT"] as const)("serve that gets %s while the model loads ends with exit code 0", async (signal) => {
  const args = ["serve", "--model", "tiny", "--port", "0", "--threads", "1"];
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...alone() }, stdio: ["ignore", "ignore", "pipe"] });
  try {
    const ended = new Promise((resolve) => child.once("exit", (code, by) => resolve(code ?? by)));
    await new Promise<void>((resolve) => {
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        if (text.includes("loading")) resolve();
      });
    });
    child.kill(signal);
    expect(await ended).toBe(0);
  } finally {
    child.kill("SIGKILL");
  }
});

test("serve prints its URL when it is ready; SIGTERM: the answer under way is finished, nothing new is taken, the exit code is 0", async () => {
  const key = "a-key-that-no-log-shows";
  const args = ["serve", "--model", "tiny", "--port", "0", "--threads", "1", "--api-key", key];
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...alone() }, stdio: ["ignore", "pipe", "pipe"] });
  try {
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
    const { value: url } = (await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()) as { value: string };
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${url}/ready`)).status).toBe(200);
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}`, "x-request-id": key },
      body: JSON.stringify({ prompt, max_tokens: 200, temperature: 0, stream: true, chainrule: { ignoreEndTokens: true } }),
    });
    const reader = response.body!.getReader();
    const chunks = [(await reader.read()).value!];
    child.kill("SIGTERM");
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
    const answer = Buffer.concat(chunks).toString();
    expect(answer.match(/"token":/g)).toHaveLength(200);
    expect(answer.trimEnd().endsWith("data: [DONE]")).toBe(true);
    expect(await ended).toBe(0);
    await expect(fetch(`${url}/health`)).rejects.toThrow();
    const lines = log.split("\n").filter((line) => line.startsWith("{"));
    expect(lines.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({ id: "[redacted]", path: "/v1/completions", status: 200, completionTokens: 200 }),
    );
    expect(log).not.toContain(key);
  } finally {
    child.kill("SIGKILL");
  }
});

test("forecast of many series in workers prints what one thread prints; what a worker refuses is bad input", () => {
  const lines = Array.from({ length: 6 }, (_, shop) =>
    Array.from(
      { length: 30 },
      (_, day) => `2024-${day < 29 ? "02" : "03"}-${String((day % 29) + 1).padStart(2, "0")},s${shop},${(day * (shop + 3)) % 11}`,
    ),
  );
  const path = `${folder.path}/shops.csv`;
  writeFileSync(path, `date,shop,sold\n${lines.flat().join("\n")}\n`);
  const args = ["forecast", path, "--horizon", "3", "--json", "--model", "naive,seasonal-naive,drift"];
  const [alone, shared] = ["0", "2"].map((count) => run([...args, "--workers", count]));
  expect([shared!.status, shared!.stdout]).toEqual([0, alone!.stdout]);
  expect(JSON.parse(shared!.stdout).forecasts).toHaveLength(6);
  const refused = run(["forecast", path, "--horizon", "3", "--model", "ar-net", "--parameter", "order=500", "--workers", "2"]);
  expect([refused.status, refused.stderr.split("\n").filter((line) => line.startsWith("error"))[0]]).toEqual([
    2,
    expect.stringMatching(/^error: order: 500 lags need 502 values, the history has \d+$/),
  ]);
});
