import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import { interruptible } from "../interrupt.ts";
import { integer, number } from "../load-model.ts";
import { type ArrivalOptions, planArrivals, type Way } from "../load-test/arrivals.ts";
import { connectTo, type Target } from "../load-test/client.ts";
import { type Goodput, type Measures, percentile } from "../load-test/measures.ts";
import { loadTest } from "../load-test/run.ts";
import { showWork } from "../work-line.ts";

interface Options {
  readonly numPrompts: number;
  readonly requestRate: number;
  readonly maxConcurrency?: number;
  readonly inputLen: number;
  readonly outputLen: number;
  readonly rangeRatio: number;
  readonly seed: number;
  readonly goodput?: Goodput;
  readonly compare?: boolean;
  readonly batchSize: number;
  readonly rounds: number;
  readonly apiKey?: string;
  readonly json?: boolean;
}

export const benchServe = new Command("serve")
  .description("how a running server does under load: latencies, throughput and goodput, with the names of vllm bench serve")
  .argument("<url>", "what chainrule serve printed")
  .option("--num-prompts <count>", "requests", integer, 100)
  .option("--request-rate <rate>", "arrivals per second, Poisson; inf: all at once", rate, Number.POSITIVE_INFINITY)
  .option("--max-concurrency <count>", "requests under way at the same time; others wait at the client", integer)
  .option("--input-len <tokens>", "tokens of a prompt", integer, 64)
  .option("--output-len <tokens>", "tokens of an answer", integer, 64)
  .option("--range-ratio <ratio>", "lengths are drawn from len · (1 ± ratio), ratio in [0, 1)", number, 0)
  .option("--seed <seed>", "of arrivals, lengths and prompts", integer, 0)
  .option("--goodput <limits>", "milliseconds within which an answer is a good one, such as ttft:500,tpot:50,e2el:5000", goodput)
  .option("--compare", "the same arrivals served fused, in static batches and one by one, in turn")
  .option("--batch-size <count>", "of a static batch", integer, 16)
  .option("--rounds <count>", "rounds of --compare", integer, 3)
  .option("--api-key <key>", "also from CHAINRULE_API_KEY")
  .option("--json", "print one object")
  .addHelpText("after", "\nExample:\n  $ chainrule bench serve http://127.0.0.1:8080 --request-rate 2 --range-ratio 0.5 --compare")
  .action(async (url: string, options: Options) => {
    check(options);
    await interruptible(async (signal) => {
      const target = await connectTo(url, options.apiKey ?? process.env.CHAINRULE_API_KEY?.split(",")[0], signal);
      const result = options.compare === true ? await compare(target, options, signal) : await once(target, options, signal);
      process.stdout.write(options.json === true ? `${JSON.stringify(result.json)}\n` : result.text);
    });
  });

async function once(target: Target, options: Options, signal: AbortSignal) {
  const way: Way = { kind: "fused", maxConcurrency: options.maxConcurrency ?? Number.POSITIVE_INFINITY };
  const work = showWork();
  let done = 0;
  const measures = await loadTest(target, options, way, options.goodput ?? {}, signal, () =>
    work.update("requests", ++done, options.numPrompts),
  ).finally(() => work.clear());
  const { model } = target;
  const text = `${model}, ${describe(options)}\n${Object.entries(measures)
    .map(([name, value]) => line(name, [value]))
    .join("")}`;
  return { json: { model, ...settings(options), ...measures }, text };
}

/** Three ways of serving the same arrivals, in turn, in an order that turns round by round. */
async function compare(target: Target, options: Options, signal: AbortSignal) {
  const { batchSize } = options;
  const ways = [
    ["fused", { kind: "fused", maxConcurrency: options.maxConcurrency ?? Number.POSITIVE_INFINITY }],
    ["static", { kind: "static", batchSize }],
    ["one by one", { kind: "fused", maxConcurrency: 1 }],
  ] as const satisfies readonly (readonly [string, Way])[];
  const measured = new Map<string, Measures[]>(ways.map(([name]) => [name, []]));
  const work = showWork();
  const all = options.numPrompts * options.rounds * ways.length;
  let done = 0;
  try {
    for (let round = 0; round < options.rounds; round++) {
      const order = ways.map((_, index) => ways[(index + round) % ways.length]!);
      for (const [name, way] of order) {
        const seeded = { ...options, seed: options.seed + round };
        measured
          .get(name)!
          .push(await loadTest(target, seeded, way, options.goodput ?? {}, signal, () => work.update("requests", ++done, all)));
      }
    }
  } finally {
    work.clear();
  }
  const median = (name: string, key: string) =>
    percentile(
      measured.get(name)!.map((one) => one[key] ?? 0),
      50,
    );
  const keys = Object.keys(measured.get("fused")![0]!);
  const ratios = (key: string, other: string) => measured.get("fused")!.map((one, round) => one[key]! / measured.get(other)![round]![key]!);
  const latency = ratios("mean_e2el_ms", "static");
  const throughput = ratios("output_throughput", "static");
  const text = [
    `${target.model}, ${describe(options)}, batches of ${batchSize}, medians of ${options.rounds} rounds\n`,
    `${"".padEnd(24)}${ways.map(([name]) => name.padStart(14)).join("")}\n`,
    ...keys.map((key) =>
      line(
        key,
        ways.map(([name]) => median(name, key)),
      ),
    ),
    `mean_e2el_ms, fused / static: ${spread(latency)}\noutput_throughput, fused / static: ${spread(throughput)}\n`,
  ].join("");
  const json = { model: target.model, ...settings(options), batch_size: batchSize, ways: Object.fromEntries(measured) };
  return { json, text };
}

const spread = (values: readonly number[]) =>
  `${percentile(values, 50).toFixed(3)} (${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)})`;

const line = (name: string, values: readonly number[]) =>
  `${name.padEnd(24)}${values.map((value) => (Number.isInteger(value) ? String(value) : value.toFixed(2)).padStart(14)).join("")}\n`;

function describe(options: Options): string {
  const { numPrompts, requestRate, inputLen, outputLen, rangeRatio } = options;
  const lengths = planArrivals(options as ArrivalOptions);
  const total = lengths.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  const span = rangeRatio === 0 ? "" : ` ± ${rangeRatio * 100} %`;
  const arrivals = Number.isFinite(requestRate) ? `${requestRate}/s, Poisson` : "all at once";
  return `${numPrompts} requests, ${arrivals}, ${inputLen} + ${outputLen} tokens${span} (${total} to write)`;
}

const settings = ({ numPrompts, requestRate, maxConcurrency, inputLen, outputLen, rangeRatio, seed }: Options) => ({
  num_prompts: numPrompts,
  request_rate: Number.isFinite(requestRate) ? requestRate : "inf",
  max_concurrency: maxConcurrency ?? null,
  input_len: inputLen,
  output_len: outputLen,
  range_ratio: rangeRatio,
  seed,
});

function check(options: Options): void {
  for (const name of ["numPrompts", "inputLen", "outputLen", "batchSize", "rounds", "maxConcurrency"] as const) {
    const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (options[name] !== undefined && options[name] < 1) throw new OptionError(option, `must be >= 1, got ${options[name]}`);
  }
  const { rangeRatio } = options;
  if (!(rangeRatio >= 0 && rangeRatio < 1)) throw new OptionError("range-ratio", `must be in [0, 1), got ${rangeRatio}`);
}

function rate(text: string): number {
  const value = text === "inf" ? Number.POSITIVE_INFINITY : Number(text);
  if (!(value > 0)) throw new OptionError("request-rate", `must be a number > 0 or inf, got ${JSON.stringify(text)}`);
  return value;
}

function goodput(text: string): Goodput {
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [name, ms] = part.split(":");
      if (!["ttft", "tpot", "e2el"].includes(name!) || !(Number(ms) > 0))
        throw new OptionError("goodput", `must be ttft:MS, tpot:MS or e2el:MS, separated by commas; got ${JSON.stringify(part)}`);
      return [name, Number(ms)];
    }),
  );
}
