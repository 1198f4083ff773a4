// npm run bench -- [--model NAME] [--pairs 15] [--threads 2] [--json] [--no-peer]
// Decode and prefill beside bare libllama (same build, same file, threads, prompt, flash attention) and node-llama-cpp, in alternating
// pairs, results checked equal first; then the TypeScript share of a step, the cost curves, and the prices of invariance and strict.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, homedir, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { pin } from "../src/ggml/index.ts";
import { load, type Model } from "../src/index.ts";
import { defaultHome } from "../src/models/index.ts";
import type { TokenId } from "../src/token.ts";
import { openEngine } from "../test/support/engine.ts";
import { argmax, Llama } from "../test/support/llama.ts";
import { median, summarize } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2" },
    pairs: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
    peer: { type: "boolean", default: true },
  },
  allowNegative: true,
});
const pairs = Number(options.pairs);
const threads = Number(options.threads);
const decodeTokens = 128;
const prefillTokens = 512;
const say = (line: string) => options.json || process.stdout.write(`${line}\n`);

await using model = await load(options.model, { threads, context: 1024 });
using llama = new Llama(model.path, { contextLength: 1024, microBatch: 512, threads });
const text = "The history of science is the study of the development of science, including both the natural and social sciences. ".repeat(
  40,
);
const prompt = model.tokenize(text).slice(0, 64);
const long = model.tokenize(text).slice(0, prefillTokens);
say(
  `${options.model} (${model.path.split("/").at(-1)}), ${threads} threads, ${cpus()[0]?.model.trim()}, ${cpus().length} cpus, Node ${process.version}, ggml ${pin.ggmlVersion} (${pin.ggmlCommit}), load ${loadavg()[0]!.toFixed(2)}`,
);

interface Contender {
  decode(): Promise<{ tokens: readonly number[]; ms: number }>;
  prefill(): Promise<{ tokens: readonly number[]; ms: number }>;
}

const ours: Contender = {
  async decode() {
    const tokens: number[] = [];
    let start = 0;
    for await (const event of model.stream(prompt, { maxTokens: decodeTokens + 1, ignoreEndTokens: true })) {
      if (event.kind !== "token") continue;
      if (tokens.length === 0) start = performance.now();
      tokens.push(event.fact.id);
    }
    return { tokens, ms: performance.now() - start };
  },
  async prefill() {
    using sequence = model.sequence();
    const start = performance.now();
    const { rows } = await sequence.forward({ input: long, want: { top: 1 } });
    return { tokens: [rows[0]!.candidates!.ids[0]!], ms: performance.now() - start };
  },
};

const bare: Contender = {
  async decode() {
    llama.clear();
    let { best } = argmax(llama.decode(prompt, 0));
    const tokens = [best];
    const start = performance.now();
    for (let i = 0; i < decodeTokens; i += 1) {
      best = argmaxOnly(llama.decode([best], prompt.length + i));
      tokens.push(best);
    }
    return { tokens, ms: performance.now() - start };
  },
  async prefill() {
    llama.clear();
    const start = performance.now();
    const best = argmaxOnly(llama.decode(long, 0));
    return { tokens: [best], ms: performance.now() - start };
  },
};

function argmaxOnly(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id += 1) if (logits[id]! > logits[best]!) best = id;
  return best;
}

/** node-llama-cpp of the version whose libraries we drive, installed on demand beside the models; never a dependency. */
async function openPeer(): Promise<(Contender & { process: ChildProcess }) | undefined> {
  const folder = join(defaultHome(process.env, process.platform, homedir()), "bench", `node-llama-cpp-${pin.packageVersion}`);
  if (!existsSync(join(folder, "node_modules/node-llama-cpp"))) {
    say("fetching node-llama-cpp (once) …");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{"private":true,"type":"module"}');
    const platform = `@node-llama-cpp/${process.platform === "darwin" ? "mac" : process.platform === "win32" ? "win" : process.platform}-${process.arch}@${pin.packageVersion}`;
    execFileSync("npm", ["install", `node-llama-cpp@${pin.packageVersion}`, platform, "--ignore-scripts", "--omit=optional", "--no-save"], {
      cwd: folder,
      stdio: "ignore",
    });
  }
  const child = spawn(process.execPath, [resolve("bench/node-llama-cpp.mjs"), folder, model.path, String(threads)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("node-llama-cpp ended");
    return JSON.parse(value);
  };
  await answer();
  const ask = async (job: object) => {
    child.stdin!.write(`${JSON.stringify(job)}\n`);
    return answer();
  };
  return {
    process: child,
    decode: () => ask({ kind: "decode", prompt, count: decodeTokens }),
    prefill: () => ask({ kind: "prefill", prompt: long }),
  };
}

const peer = options.peer ? await openPeer() : undefined;

async function compare(kind: "decode" | "prefill", count: number) {
  const contenders = [ours, bare, ...(peer ? [peer] : [])];
  const first: string[] = [];
  for (const one of contenders) first.push((await one[kind]()).tokens.join(","));
  const equal = first.map((tokens) => tokens === first[0]);
  if (!equal[1]) throw new Error(`${kind}: libllama's greedy tokens differ from ours; nothing is timed`);
  const times = contenders.map((): number[] => []);
  for (let pair = 0; pair < pairs; pair += 1) {
    const order = pair % 2 === 0 ? [0, 1, 2] : [2, 1, 0];
    for (const index of order) if (contenders[index]) times[index]!.push((await contenders[index][kind]()).ms);
  }
  const rate = (ms: readonly number[]) => (count / median(ms)) * 1000;
  const ratio = (index: number) => summarize(times[index]!.map((ms, pair) => ms / times[0]![pair]!));
  return {
    ours: rate(times[0]!),
    libllama: rate(times[1]!),
    ratioLibllama: ratio(1),
    ...(peer ? { nodeLlamaCpp: rate(times[2]!), ratio: ratio(2), peerTokensEqual: equal[2] } : {}),
  };
}

const show = (r: { median: number; low: number; high: number } | undefined) =>
  r ? `${r.median.toFixed(3)} [${r.low.toFixed(3)}, ${r.high.toFixed(3)}]` : "-";
const decode = await compare("decode", decodeTokens);
say(
  `decode ${decodeTokens}: ours ${decode.ours.toFixed(1)} tok/s, libllama ${decode.libllama.toFixed(1)} (ratio ${show(decode.ratioLibllama)}), node-llama-cpp ${decode.nodeLlamaCpp?.toFixed(1)} (ratio ${show(decode.ratio)})`,
);
const prefill = await compare("prefill", prefillTokens);
say(
  `prefill ${prefillTokens}: ours ${prefill.ours.toFixed(1)} tok/s, libllama ${prefill.libllama.toFixed(1)} (ratio ${show(prefill.ratioLibllama)}), node-llama-cpp ${prefill.nodeLlamaCpp?.toFixed(1)} (ratio ${show(prefill.ratio)})`,
);
peer?.process.kill();

/** Share of a decode step that is not the native pass: wall time of generate() per token against the same pass run in a row. */
async function overhead(of: Model): Promise<number> {
  await using opened = await openEngine(of.path, { threads, contextLength: 1024 });
  const { engine } = opened;
  using sequence = engine.sequence();
  await sequence.forward({ input: prompt });
  await sequence.forward({ input: [prompt[0]!], want: { top: 1 } });
  const program = engine.programs.pass({
    backend: "invariant",
    streams: 1,
    rows: 1,
    cells: 256,
    outputs: 1,
    head: true,
    input: "tokens",
    skipped: [],
    decides: [],
    taps: [],
    exits: [],
    injections: [],
  });
  const native: number[] = [];
  const shares: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    for (let i = 0; i < 20; i += 1) {
      program.input<"i32">("ids")[0] = 1;
      program.input<"i32">("positions")[0] = 64;
      program.input<"i64">("cells")[0] = BigInt(engine.cache.scratchRow);
      program.input<"f16">("mask").fill(0xfc00).fill(0, 0, 128);
      if (program.hasInput("outputs")) program.input<"i32">("outputs")[0] = 0;
      const start = performance.now();
      program.runSync();
      native.push(performance.now() - start);
    }
    const { ms } = await ours.decode();
    shares.push(1 - median(native.splice(0)) / (ms / decodeTokens));
  }
  return median(shares);
}
const overheadShare = await overhead(model);
say(`TypeScript's share of a decode step: ${(100 * overheadShare).toFixed(1)} %`);

const costCurve = (await model.costCurve({ remeasure: true })).points;
say(`cost curve (rows of one sequence): ${costCurve.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join("  ")}`);

/** T(n) of n separate sequences, one row each, against one. */
async function separateCurve() {
  const counts = [1, 2, 4, 8, 16];
  const sequences = counts.length > 0 ? Array.from({ length: 16 }, () => model.sequence()) : [];
  for (const [index, sequence] of sequences.entries()) await sequence.forward({ input: long.slice(0, 40 + index * 10) });
  const times = new Map<number, number[]>(counts.map((count) => [count, []]));
  for (let round = 0; round < 8; round += 1) {
    for (const count of counts) {
      const start = performance.now();
      await Promise.all(
        sequences.slice(0, count).map((sequence) => sequence.forward({ input: [long[round] as TokenId], want: { top: 1 } })),
      );
      if (round > 0) times.get(count)!.push(performance.now() - start);
    }
  }
  for (const sequence of sequences) sequence[Symbol.dispose]();
  return counts.map((rows) => ({ rows, ratio: median(times.get(rows)!.map((ms, round) => ms / times.get(1)![round]!)) }));
}
const separate = await separateCurve();
say(`cost curve (separate sequences): ${separate.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join("  ")}`);

/** What strict costs a prompt, and what fifty idle sequences cost a running one. */
async function prices() {
  await using strict = await load(options.model, { threads, context: 1024, strict: true });
  const run = async (of: Model, input: readonly TokenId[]) => {
    using sequence = of.sequence();
    const start = performance.now();
    await sequence.forward({ input, want: { top: 1 } });
    return performance.now() - start;
  };
  const prompts: number[] = [];
  for (let pair = 0; pair < 7; pair += 1) prompts.push((await run(strict, long)) / (await run(model, long)));
  const idle = Array.from({ length: 50 }, () => model.sequence());
  const alone: number[] = [];
  const beside: number[] = [];
  for (let pair = 0; pair < 5; pair += 1) alone.push((await ours.decode()).ms);
  for (const sequence of idle) await sequence.forward({ input: [...long, ...long].slice(0, 1000) });
  for (let pair = 0; pair < 5; pair += 1) beside.push((await ours.decode()).ms);
  for (const sequence of idle) sequence[Symbol.dispose]();
  return { strictPrompt: summarize(prompts), fiftyIdle: median(beside) / median(alone) };
}
const price = await prices();
say(
  `strict: a prompt of ${prefillTokens} takes ${show(price.strictPrompt)} times as long; fifty idle sequences of 1,000 tokens: ${price.fiftyIdle.toFixed(3)} times`,
);

if (options.json) {
  const machine = {
    cpu: cpus()[0]?.model.trim(),
    cpus: cpus().length,
    threads,
    node: process.version,
    ggml: `${pin.ggmlVersion} (${pin.ggmlCommit})`,
    load: loadavg()[0],
  };
  process.stdout.write(
    `${JSON.stringify({ model: options.model, decode, prefill, overheadShare, costCurve, separate, price, machine })}\n`,
  );
}
