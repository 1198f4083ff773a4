// npm run bench -- [--model NAME] [--pairs 15] [--threads 2] [--json] [--no-peer] [--only decode,prefill,overhead,curves,prices,start,busy]
// Decode and prefill beside bare libllama (same build, same file, threads, prompt, flash attention) and node-llama-cpp, in alternating
// pairs, results checked equal first; then the TypeScript share of a step, the cost curves, the prices of invariance and strict, the time
// to the first token and the peak memory of the command line, and the speed beside a busy process.
import { type ChildProcess, spawn } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { BlockPlan } from "../src/engine/index.ts";
import { OptionError } from "../src/errors.ts";
import { pin } from "../src/ggml/index.ts";
import { load, type Model } from "../src/index.ts";
import { Program } from "../src/tensor/index.ts";
import type { TokenId } from "../src/token.ts";
import { argmax, Llama } from "../test/support/llama.ts";
import { openPeer } from "./peer.ts";
import { median, summarize } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2" },
    pairs: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
    peer: { type: "boolean", default: true },
    only: { type: "string", default: "decode,prefill,overhead,curves,prices,start,busy" },
  },
  allowNegative: true,
});
const began = performance.now();
const pairs = Number(options.pairs);
const threads = Number(options.threads);
const parts = options.only.split(",");
const allParts = ["decode", "prefill", "overhead", "curves", "prices", "start", "busy"];
for (const part of parts)
  if (!allParts.includes(part)) throw new OptionError("only", `no part "${part}"; parts are ${allParts.join(", ")}`);
/** A part of the bench, unless it is left out. */
const part = <T>(name: string, run: () => Promise<T>): Promise<T | undefined> =>
  parts.includes(name) ? run() : Promise.resolve(undefined);
const decodeTokens = 128;
const prefillTokens = 512;
const say = (line: string) => options.json || process.stdout.write(`${line}\n`);

await using model = await load(options.model, { threads, context: 1024, prefixCacheBytes: 0 });
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

/** The first greedy tokens after `prompt`, and the time between the first and the last of them. */
async function decodeWith(of: Model, count: number): Promise<{ tokens: readonly number[]; ms: number }> {
  const tokens: number[] = [];
  let start = 0;
  for await (const event of of.stream(prompt, { maxTokens: count + 1, ignoreEndTokens: true })) {
    if (event.kind !== "token") continue;
    if (tokens.length === 0) start = performance.now();
    tokens.push(event.fact.id);
  }
  return { tokens, ms: performance.now() - start };
}

const ours: Contender = {
  decode: () => decodeWith(model, decodeTokens),
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

/** node-llama-cpp as a contender. */
async function startPeer(): Promise<Contender & { process: ChildProcess }> {
  const { process: child, ask } = await openPeer(model.path, threads, 1, say);
  return {
    process: child,
    decode: () => ask({ kind: "decode", prompt, count: decodeTokens }),
    prefill: () => ask({ kind: "prefill", prompt: long }),
  };
}

const peer = options.peer ? await startPeer() : undefined;

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
type Compared = Awaited<ReturnType<typeof compare>>;
const sayCompared = (name: string, r: Compared) =>
  say(
    `${name}: ours ${r.ours.toFixed(1)} tok/s, libllama ${r.libllama.toFixed(1)} (ratio ${show(r.ratioLibllama)}), node-llama-cpp ${r.nodeLlamaCpp?.toFixed(1) ?? "-"} (ratio ${show(r.ratio)})`,
  );
const decode = await part("decode", () => compare("decode", decodeTokens));
if (decode !== undefined) sayCompared(`decode ${decodeTokens}`, decode);
const prefill = await part("prefill", () => compare("prefill", prefillTokens));
if (prefill !== undefined) sayCompared(`prefill ${prefillTokens}`, prefill);
peer?.process.kill();

/**
 * Where a decode step's wall time goes, as shares: `typescript`, everything outside the native pass; `hop`, what a pass costs beyond the
 * same pass called synchronously (waking a thread and coming back). Sync and async runs alternate in one process.
 */
async function overhead(): Promise<{ typescript: number; hop: number }> {
  const run = Program.prototype.run;
  let nativeMs = 0;
  let isSync = false;
  Program.prototype.run = async function (this: Program) {
    const start = performance.now();
    const outcome = isSync ? this.runSync() : await run.call(this);
    nativeMs += performance.now() - start;
    return outcome;
  };
  const walls: number[] = [];
  const natives: [sync: number[], async: number[]] = [[], []];
  const shares: number[] = [];
  try {
    for (let round = 0; round < 10; round += 1) {
      isSync = round % 2 === 0;
      let before = 0;
      let start = 0;
      let count = 0;
      for await (const event of model.stream(prompt, { maxTokens: decodeTokens / 2 + 1, ignoreEndTokens: true })) {
        if (event.kind !== "token") continue;
        if (count === 0) [start, before] = [performance.now(), nativeMs];
        count += 1;
      }
      const wall = performance.now() - start;
      natives[isSync ? 0 : 1].push(nativeMs - before);
      if (isSync) continue;
      walls.push(wall);
      shares.push(1 - (nativeMs - before) / wall);
    }
  } finally {
    Program.prototype.run = run;
  }
  return { typescript: median(shares), hop: median(natives[1].map((ms, pair) => (ms - natives[0][pair]!) / walls[pair]!)) };
}
const steps = await part("overhead", overhead);
const overheadShare = steps?.typescript;
if (steps !== undefined)
  say(
    `of a decode step outside the native pass: ${(100 * steps.typescript).toFixed(1)} %; hop to another thread: ${(100 * steps.hop).toFixed(1)} %`,
  );

/** T(n) of n separate sequences, one row each, against one. */
async function separateCurve() {
  const counts = [1, 2, 4, 8, 16];
  const sequences = Array.from({ length: 16 }, () => model.sequence());
  for (const [index, sequence] of sequences.entries()) await sequence.forward({ input: long.slice(0, 40 + index) });
  const times = new Map<number, number[]>(counts.map((count) => [count, []]));
  for (let round = 0; round < 6; round += 1) {
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

/** T(n) of one sequence with n rows, against one row, behind caches of several lengths. */
async function cachedCurve() {
  const counts = [1, 2, 4, 8, 16, 32];
  const curve: { cached: number; points: { rows: number; ratio: number }[] }[] = [];
  for (const cached of [64, 448, 900]) {
    using sequence = model.sequence();
    await sequence.forward({ input: [...long, ...long].slice(0, cached) });
    const times = new Map<number, number[]>(counts.map((count) => [count, []]));
    for (let round = 0; round < 6; round += 1) {
      for (const count of counts) {
        const start = performance.now();
        await sequence.forward({ input: long.slice(0, count), want: { logits: "all", top: 1 } });
        if (round > 0) times.get(count)!.push(performance.now() - start);
        sequence.rewind(cached);
      }
    }
    const ratio = (rows: number) => median(times.get(rows)!.map((ms, round) => ms / times.get(1)![round]!));
    curve.push({ cached, points: counts.map((rows) => ({ rows, ratio: ratio(rows) })) });
  }
  return curve;
}
const sayCurve = (name: string, points: readonly { rows: number; ratio: number }[]) =>
  say(`cost curve (${name}): ${points.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join("  ")}`);
const curves = await part("curves", async () => ({
  tree: (await model.costCurve({ remeasure: true })).points,
  cached: await cachedCurve(),
  separate: await separateCurve(),
}));
if (curves !== undefined) {
  sayCurve("rows of one sequence", curves.tree);
  for (const { cached, points } of curves.cached) sayCurve(`behind ${cached} cells`, points);
  sayCurve("separate sequences", curves.separate);
}

/** What strict costs a prompt, and what fifty idle sequences cost a running one. */
async function prices() {
  await using strict = await load(options.model, { threads, context: 1024, prefixCacheBytes: 0, strict: true });
  const run = async (of: Model, input: readonly TokenId[]) => {
    using sequence = of.sequence();
    const start = performance.now();
    await sequence.forward({ input, want: { top: 1 } });
    return performance.now() - start;
  };
  const prompts: number[] = [];
  const short = long.slice(0, prefillTokens / 4);
  for (let pair = 0; pair < pairs; pair += 1) prompts.push((await run(strict, short)) / (await run(model, short)));
  await using crowded = await load(options.model, { threads, context: 1024, prefixCacheBytes: 0 });
  // idle sequences hold their cells; that these were never computed changes nothing for those who don't read them
  const nothing = Object.fromEntries(model.config.blocks.flatMap((_, i) => ["attn", "ffn"].map((half) => [`blocks.${i}.${half}`, false])));
  const idle = Array.from({ length: 50 }, () => crowded.sequence());
  for (const sequence of idle) await sequence.forward({ input: [...long, ...long].slice(0, 1000), blocks: nothing as BlockPlan });
  const ratios: number[] = [];
  for (let pair = -1; pair < pairs; pair += 1) {
    const [alone, among] = [await decodeWith(model, 32), await decodeWith(crowded, 32)];
    if (pair >= 0) ratios.push(among.ms / alone.ms);
  }
  for (const sequence of idle) sequence[Symbol.dispose]();
  return { strictPrompt: summarize(prompts), fiftyIdle: summarize(ratios) };
}
const price = await part("prices", prices);
if (price !== undefined)
  say(
    `strict: a prompt of ${prefillTokens / 4} takes ${show(price.strictPrompt)} times as long; fifty idle sequences of 1,000 tokens: ${show(price.fiftyIdle)} times`,
  );

// maxRSS also counts what the parent held when it forked; Linux tells the process's own peak elsewhere
/** The command line from the start of its process to the first text, files in the page cache, and the most memory it held. */
async function start() {
  const seconds: number[] = [];
  const peaks: number[] = [];
  const args = [
    "--import",
    `data:text/javascript,import{readFileSync}from"node:fs";process.on("exit",()=>{let peak;try{peak=/VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status","utf8"))[1]}catch{peak=process.resourceUsage().maxRSS}process.stderr.write("peak "+peak+"\\n")})`,
  ];
  for (let round = 0; round < 6; round += 1) {
    const began = performance.now();
    const command = [resolve("dist/cli/main.js"), "generate", "The capital of France is", "--model", options.model, "--max-tokens", "8"];
    const child = spawn(process.execPath, [...args, ...command, "--threads", String(threads), "--context", "1024"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let first: number | undefined;
    let errors = "";
    child.stdout.on("data", () => {
      first ??= performance.now() - began;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk;
    });
    const code = await new Promise((done) => child.on("close", done));
    if (code !== 0 || first === undefined) throw new Error(`the command line failed: ${errors}`);
    if (round === 0) continue; // reads the files
    seconds.push(first / 1000);
    peaks.push(Number(/^peak (\d+)$/m.exec(errors)![1]) / 1024);
  }
  const { weightsBytes, cacheBytes } = model.memory();
  return {
    firstTokenSeconds: summarize(seconds),
    peakMiB: median(peaks),
    weightsMiB: weightsBytes / 2 ** 20,
    cacheMiB: cacheBytes / 2 ** 20,
  };
}
const begun = await part("start", start);
if (begun !== undefined)
  say(
    `process start to first text ${show(begun.firstTokenSeconds)} s; peak memory ${begun.peakMiB.toFixed(0)} MiB, weights ${begun.weightsMiB.toFixed(0)} MiB`,
  );

/** Decode beside a process that keeps one processor busy: automatic threads against one thread. */
async function beside() {
  await using one = await load(options.model, { threads: 1, context: 1024, prefixCacheBytes: 0 });
  await using auto = await load(options.model, { context: 1024, prefixCacheBytes: 0 });
  const busy = spawn(process.execPath, ["-e", "for(;;);"]);
  try {
    const ratios: number[] = [];
    for (let pair = 0; pair < pairs; pair += 1) ratios.push((await decodeWith(one, 32)).ms / (await decodeWith(auto, 32)).ms);
    return summarize(ratios);
  } finally {
    busy.kill();
  }
}
const busyRatio = await part("busy", beside);
if (busyRatio !== undefined) say(`beside one busy process: automatic threads ${show(busyRatio)} of the speed of one thread`);

say(`the bench took ${((performance.now() - began) / 1000).toFixed(0)} s`);

if (options.json) {
  const machine = {
    cpu: cpus()[0]?.model.trim(),
    cpus: cpus().length,
    threads,
    node: process.version,
    ggml: `${pin.ggmlVersion} (${pin.ggmlCommit})`,
    load: loadavg()[0],
  };
  const results = { decode, prefill, overheadShare, hopShare: steps?.hop, costCurve: curves?.tree, curves, price, start: begun, busyRatio };
  process.stdout.write(`${JSON.stringify({ model: options.model, ...results, machine })}\n`);
}
