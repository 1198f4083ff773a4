// npm run bench:serving -- [--model smollm2:q4_0] [--pairs 15] [--threads 2] [--only throughput,arrivals] [--no-peer] [--quick] [--json]
// Sixteen answers at a time, 64 tokens each after prompts of 64 tokens, greedy: over HTTP from the server of the command line, inside one process,
// and from node-llama-cpp with sixteen sequences in one context, in alternating pairs, beside what the passes alone would allow. Then latencies on
// Poisson arrivals: fused, in static batches, one by one. Tokens are checked first: fused = alone, and over HTTP = inside the process.
import { type ChildProcess, spawn } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { Way } from "../src/cli/load-test/arrivals.ts";
import { complete, connectTo, promptOf, type Target } from "../src/cli/load-test/client.ts";
import { loadTest } from "../src/cli/load-test/run.ts";
import { OptionError } from "../src/errors.ts";
import { pin } from "../src/ggml/index.ts";
import { load } from "../src/index.ts";
import { type TokenId, tokenIds } from "../src/token.ts";
import { openPeer } from "./peer.ts";
import { median, summarize } from "./statistics.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2:q4_0" },
    pairs: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
    only: { type: "string", default: "throughput,arrivals" },
    peer: { type: "boolean", default: true },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
  allowNegative: true,
});
for (const part of options.only.split(","))
  if (!["throughput", "arrivals"].includes(part)) throw new OptionError("only", `no part "${part}"; parts are throughput, arrivals`);
const began = performance.now();
const streams = 16;
const promptTokens = 64;
const newTokens = options.quick ? 16 : 64;
const pairs = options.quick ? 2 : Number(options.pairs);
/** Inside one process it is timed in every second pair: it says where time goes, the bar is about the server. */
const insideEvery = options.quick ? 1 : 2;
const threads = Number(options.threads);
const context = 1024;
const say = (line: string) => options.json || process.stdout.write(`${line}\n`);

await using model = await load(options.model, { threads, context });
say(
  `${options.model} (${model.path.split("/").at(-1)}), ${threads} threads, ${cpus()[0]?.model.trim()}, ${cpus().length} cpus, Node ${process.version}, ggml ${pin.ggmlVersion} (${pin.ggmlCommit}), load ${loadavg()[0]!.toFixed(2)}`,
);
const signal = new AbortController().signal;
const { server, target } = await startServer();
process.on("exit", () => server.kill());
for (const end of ["SIGINT", "SIGTERM"] as const) process.once(end, () => process.exit(1)); // a killed bench leaves no server behind

interface Batch {
  readonly answers: readonly (readonly number[])[];
  readonly ms: number;
}
type Contender = (prompts: readonly (readonly TokenId[])[]) => Promise<Batch>;

/** Prompts no one has seen: the prefix cache is on, as it is by default. */
const promptsOf = (seed: number) =>
  Array.from({ length: streams }, (_, index) =>
    tokenIds(promptOf(target.vocabulary, promptTokens, seed * 1000 + index), model.config.vocabSize),
  );

const overHttp: Contender = async (prompts) => {
  const start = performance.now();
  const answers = await Promise.all(
    prompts.map(async (prompt) => {
      const tokens: number[] = [];
      await complete(target, prompt, newTokens, (id) => tokens.push(id), signal);
      return tokens;
    }),
  );
  return { answers, ms: performance.now() - start };
};

const inside: Contender = async (prompts) => {
  const start = performance.now();
  const answers = await Promise.all(prompts.map((prompt) => readStream(prompt)));
  return { answers, ms: performance.now() - start };
};

async function readStream(prompt: readonly TokenId[]): Promise<number[]> {
  const tokens: number[] = [];
  for await (const event of model.stream(prompt, { maxTokens: newTokens, ignoreEndTokens: true }))
    if (event.kind === "token") tokens.push(event.fact.id);
  return tokens;
}

/** The server of the command line, on a port of its own. */
async function startServer(): Promise<{ server: ChildProcess; target: Target }> {
  const settings = ["--model", options.model, "--threads", String(threads), "--context", String(context), "--port", "0", "--quiet"];
  const child = spawn(process.execPath, [resolve("dist/cli/main.js"), "serve", ...settings], { stdio: ["ignore", "pipe", "ignore"] });
  for await (const url of createInterface({ input: child.stdout! }))
    return { server: child, target: await connectTo(url, undefined, signal) };
  throw new Error("chainrule serve ended before it printed its URL");
}

/** Milliseconds of a prompt of 64 tokens alone, and of a pass of sixteen sequences with one row each. */
async function passes(prompts: readonly (readonly TokenId[])[]): Promise<{ promptMs: number; stepMs: number }> {
  const promptMs: number[] = [];
  const stepMs: number[] = [];
  const sequences = prompts.map(() => model.sequence());
  try {
    for (const [index, sequence] of sequences.entries()) {
      const start = performance.now();
      await sequence.forward({ input: prompts[index]!, want: { top: 1 } });
      promptMs.push(performance.now() - start);
    }
    for (let step = 0; step < 9; step += 1) {
      const start = performance.now();
      await Promise.all(sequences.map((sequence, index) => sequence.forward({ input: [prompts[index]![step]!], want: { top: 1 } })));
      if (step > 0) stepMs.push(performance.now() - start); // before the first their streams are brought together
    }
  } finally {
    for (const sequence of sequences) sequence[Symbol.dispose]();
  }
  return { promptMs: median(promptMs), stepMs: median(stepMs) };
}

/** Milliseconds that the passes of sixteen answers alone take, all in step. */
const boundMs = ({ promptMs, stepMs }: { promptMs: number; stepMs: number }) => streams * promptMs + (newTokens - 1) * stepMs;
const rate = (ms: number) => ((streams * newTokens) / ms) * 1000;
const show = ({ median: middle, low, high }: { median: number; low: number; high: number }) =>
  `${middle.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
const row = (...cells: readonly string[]) => say(cells.map((cell, index) => (index === 0 ? cell.padEnd(52) : cell.padStart(26))).join(""));

async function throughput() {
  const peer = options.peer ? await openPeer(model.path, threads, streams, say) : undefined;
  const viaPeer: Contender = (prompts) => peer!.ask<Batch>({ kind: "together", prompts, count: newTokens });
  const contenders = { overHttp, ...(peer === undefined ? {} : { nodeLlamaCpp: viaPeer }), inside };
  type Name = keyof typeof contenders;
  try {
    const first = promptsOf(1);
    const alone: number[][] = [];
    for (const prompt of first) alone.push(await readStream(prompt));
    const equal: Partial<Record<Name, number>> = {};
    for (const [name, contender] of Object.entries(contenders) as [Name, Contender][]) {
      const { answers } = await contender(first);
      if (answers.some(({ length }) => length !== newTokens)) throw new Error(`${name} gave answers of another length; nothing is timed`);
      equal[name] = answers.filter((tokens, index) => tokens.join() === alone[index]!.join()).length;
    }
    for (const name of ["overHttp", "inside"] as const)
      if (equal[name] !== streams) throw new Error(`${name}: ${equal[name]} of ${streams} answers are those given alone; nothing is timed`);
    const times: Record<Name, Map<number, number>> = { overHttp: new Map(), nodeLlamaCpp: new Map(), inside: new Map() };
    const bounds: { promptMs: number; stepMs: number }[] = [];
    for (let pair = 0; pair < pairs; pair += 1) {
      const prompts = promptsOf(pair + 2);
      const names = (Object.keys(contenders) as Name[]).filter((name) => name !== "inside" || pair % insideEvery === 0);
      bounds.push(await passes(prompts));
      for (const name of pair % 2 === 0 ? names : names.reverse()) times[name].set(pair, (await contenders[name]!(prompts)).ms);
    }
    /** The bound's time over a contender's, or one contender's over another's, pair by pair. */
    const ratio = (of: Name, to?: Name) =>
      summarize([...times[of]].map(([pair, ms]) => (to === undefined ? boundMs(bounds[pair]!) : times[to].get(pair)!) / ms));
    const rates = (name: Name) => summarize([...times[name].values()].map(rate));
    const result = {
      equal,
      ...{ promptMs: summarize(bounds.map(({ promptMs }) => promptMs)), stepMs: summarize(bounds.map(({ stepMs }) => stepMs)) },
      bound: summarize(bounds.map((one) => rate(boundMs(one)))),
      overHttp: { tokensPerSecond: rates("overHttp"), ofBound: ratio("overHttp") },
      inside: { tokensPerSecond: rates("inside"), ofBound: ratio("inside") },
      ...(peer === undefined
        ? {}
        : { nodeLlamaCpp: { tokensPerSecond: rates("nodeLlamaCpp"), overHttp: ratio("overHttp", "nodeLlamaCpp") }, version: peer.version }),
    };
    row(`${streams} streams, ${promptTokens} + ${newTokens} tokens, ${pairs} pairs`, "tokens/s", "of the bound", "over node-llama-cpp");
    row(
      `bound: ${streams} prompts of ${result.promptMs.median.toFixed(1)} ms, ${newTokens - 1} passes of ${result.stepMs.median.toFixed(1)} ms`,
      show(result.bound),
    );
    const { overHttp: http, inside: within, nodeLlamaCpp: theirs } = result;
    row("the server over loopback", show(http.tokensPerSecond), show(http.ofBound), theirs === undefined ? "-" : show(theirs.overHttp));
    row("the engine inside one process", show(within.tokensPerSecond), show(within.ofBound));
    if (theirs !== undefined)
      row(`node-llama-cpp ${peer!.version} (${equal.nodeLlamaCpp} of ${streams} answers equal)`, show(theirs.tokensPerSecond));
    return result;
  } finally {
    peer?.process.kill();
  }
}

/** Mean latencies of the same Poisson arrivals, served in three ways by the server. */
async function arrivals() {
  const { promptMs, stepMs } = await passes(promptsOf(900));
  const start = performance.now();
  await readStream(promptsOf(901)[0]!);
  const aloneMs = performance.now() - start;
  const numPrompts = options.quick ? 4 : 20;
  const rounds = options.quick ? 1 : 3;
  // as fast as a server could keep up with that answers one by one: nobody may be left behind for good, and nobody idle
  const requestRate = 1000 / aloneMs;
  const ways = {
    fused: { kind: "fused", maxConcurrency: Number.POSITIVE_INFINITY },
    static: { kind: "static", batchSize: streams },
    oneByOne: { kind: "fused", maxConcurrency: 1 },
  } as const satisfies Record<string, Way>;
  type Name = keyof typeof ways;
  const measured: Record<Name, Awaited<ReturnType<typeof loadTest>>[]> = { fused: [], static: [], oneByOne: [] };
  const names = Object.keys(ways) as Name[];
  for (let round = 0; round < rounds; round += 1) {
    const plan = { ...{ numPrompts, requestRate, inputLen: promptTokens, outputLen: newTokens, rangeRatio: 0.5 }, seed: 7000 + round };
    for (const name of names.map((_, index) => names[(index + round) % names.length]!)) {
      const one = await loadTest(target, plan, ways[name], {}, signal);
      if (one.failed !== 0) throw new Error(`${name}: ${one.failed} requests failed`);
      measured[name].push(one);
    }
  }
  const of = (name: Name, key: string) => median(measured[name].map((one) => one[key]!));
  const ratio = (key: string, other: Name) => summarize(measured.fused.map((one, index) => one[key]! / measured[other][index]![key]!));
  say(
    `\nPoisson arrivals, ${requestRate.toFixed(2)} per second (one answer alone: ${aloneMs.toFixed(0)} ms), ${numPrompts} requests of ${promptTokens} + ${newTokens} tokens ± 50 %, medians of ${rounds} rounds`,
  );
  row("", ...names);
  for (const key of ["mean_e2el_ms", "p99_e2el_ms", "mean_ttft_ms", "mean_tpot_ms", "output_throughput"])
    row(key, ...names.map((name) => of(name, key).toFixed(1)));
  const latency = { static: ratio("mean_e2el_ms", "static"), oneByOne: ratio("mean_e2el_ms", "oneByOne") };
  row("mean latency, fused / other", "", show(latency.static), show(latency.oneByOne));
  return { requestRate, aloneMs, promptMs, stepMs, measured, latency };
}

const parts = options.only.split(",");
const results = {
  throughput: parts.includes("throughput") ? await throughput() : undefined,
  arrivals: parts.includes("arrivals") ? await arrivals() : undefined,
};
server.kill();
const seconds = (performance.now() - began) / 1000;
say(`\nthe bench took ${seconds.toFixed(0)} s, load ${loadavg()[0]!.toFixed(2)}`);
if (options.json) {
  const machine = { cpu: cpus()[0]?.model.trim(), cpus: cpus().length, threads, node: process.version, load: loadavg()[0] };
  process.stdout.write(`${JSON.stringify({ model: options.model, ...results, seconds, machine })}\n`);
}
