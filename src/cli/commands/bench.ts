import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import type { Model } from "../../index.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, integer, loadModel, type ModelOptions } from "../load-model.ts";
import { showWork, type WorkLine } from "../work-line.ts";
import { benchServe } from "./bench-serve.ts";

interface BenchOptions extends ModelOptions {
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly rounds: number;
  readonly curve: boolean;
  readonly json?: boolean;
}

/** Tokens per second: the median of the rounds, the slowest and the fastest. */
interface Rate {
  readonly tokens: number;
  readonly median: number;
  readonly slowest: number;
  readonly fastest: number;
}

export const bench = addModelOptions(
  new Command("bench").description("how fast a model runs here: reading a prompt, writing, and what more rows in a pass cost"),
)
  .option("--prompt-tokens <count>", "tokens of the prompt that is read", integer, 512)
  .option("--new-tokens <count>", "tokens that are written", integer, 128)
  .option("--rounds <count>", "runs of each, one after the other in turn", integer, 7)
  .option("--no-curve", "leave the cost curve out")
  .option("--json", "print one object: prefill, decode, costCurve, threads …")
  .addHelpText("after", "\nExample:\n  $ chainrule bench --model smollm2 --threads 2")
  .enablePositionalOptions() // what follows `serve` is its own
  .addCommand(benchServe)
  .action(async (options: BenchOptions) => {
    for (const [name, value] of [
      ["prompt-tokens", options.promptTokens],
      ["new-tokens", options.newTokens],
      ["rounds", options.rounds],
    ] as const)
      if (value < 1) throw new OptionError(name, `must be >= 1, got ${value}`);
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const work = showWork();
      try {
        const measured = await measure(model, options, work, signal);
        process.stdout.write(options.json === true ? `${JSON.stringify(measured)}\n` : describe(measured));
      } finally {
        work.clear();
      }
    });
  });

type Measured = Awaited<ReturnType<typeof measure>>;

async function measure(model: Model, { promptTokens, newTokens, rounds, curve }: BenchOptions, work: WorkLine, signal: AbortSignal) {
  const words = model.tokenize("The quick brown fox jumps over the lazy dog. ");
  const prompt = Array.from({ length: promptTokens }, (_, index) => words[index % words.length]!);
  const prefill: number[] = [];
  const decode: number[] = [];
  for (let round = -1; round < rounds; round += 1) {
    work.update("reading and writing", round + 1, rounds + 1);
    const run = { maxTokens: newTokens + 1, ignoreEndTokens: true, signal };
    const { timings } = await model.generate(prompt, run);
    if (round < 0) continue; // the first compiles what it runs
    prefill.push(timings.promptTokensPerSecond);
    decode.push(timings.completionTokensPerSecond);
  }
  work.update("measuring the cost curve", rounds + 1, rounds + 1);
  const costCurve = curve ? (await model.costCurve({ remeasure: true, signal })).points : undefined;
  const { weightsBytes, cacheBytes } = model.memory();
  return {
    model: model.name,
    threads: model.threads,
    loadMs: model.loadMs,
    prefill: rate(promptTokens, prefill),
    decode: rate(newTokens, decode),
    ...(costCurve === undefined ? {} : { costCurve }),
    memory: { weightsBytes, cacheBytes },
  };
}

function rate(tokens: number, perSecond: readonly number[]): Rate {
  const sorted = [...perSecond].sort((a, b) => a - b);
  return { tokens, median: sorted[sorted.length >> 1]!, slowest: sorted[0]!, fastest: sorted.at(-1)! };
}

function describe({ model, threads, loadMs, prefill, decode, costCurve }: Measured): string {
  const show = (name: string, { tokens, median, slowest, fastest }: Rate) =>
    `${name.padEnd(8)} ${String(tokens).padStart(5)} tokens  ${median.toFixed(1).padStart(7)} tokens/s  (${slowest.toFixed(1)} to ${fastest.toFixed(1)})\n`;
  const curve =
    costCurve === undefined
      ? ""
      : `a pass over n rows against one: ${costCurve.map(({ rows, ratio }) => `${rows}: ${ratio.toFixed(2)}`).join("  ")}\n`;
  return `${model}, ${threads} threads, loaded in ${(loadMs / 1000).toFixed(2)} s\n${show("prefill", prefill)}${show("decode", decode)}${curve}`;
}
