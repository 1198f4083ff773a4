import { text as readAll } from "node:stream/consumers";
import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import type { GenerateOptions, GenerateResult, Model, Prompt } from "../../index.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, integer, loadModel, type ModelOptions, number } from "../load-model.ts";

interface Options extends ModelOptions {
  readonly chat?: boolean;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typical?: number;
  readonly seed?: number;
  readonly stop?: string[];
  readonly logprobs?: number;
  readonly sample?: string[];
  readonly guide?: string[];
  readonly search?: string;
  readonly json?: boolean;
  readonly stats: boolean;
}

const collect = (value: string, before: string[] = []): string[] => [...before, value];

export const generate = addModelOptions(
  new Command("generate")
    .description("continues a prompt: text on standard output, numbers on standard error")
    .argument("[prompt]", "the text to continue; standard input where it is left out or -"),
)
  .option("--chat", "put the prompt to the model as a user's message, through its chat template")
  .option("-n, --max-tokens <count>", "most tokens of the answer", integer)
  .option("--temperature <value>", "0 is greedy, the default without any sampling option", number)
  .option("--top-k <k>", "keep the k most probable tokens", integer)
  .option("--top-p <mass>", "keep the most probable tokens up to this mass", number)
  .option("--min-p <share>", "keep tokens at least so probable relative to the first", number)
  .option("--typical <mass>", "locally typical sampling", number)
  .option("--seed <seed>", "the same seed gives the same answer", integer)
  .option("--stop <text>", "end before this text; may be repeated", collect)
  .option("--logprobs <n>", "report log-probabilities and the n most probable tokens (with --json)", integer)
  .option("--sample <method>", "a sampler, such as temperature,value=0.7; may be repeated", collect)
  .option("--guide <method>", "a guide, such as repetition,penalty=1.1; may be repeated", collect)
  .option("--search <method>", "how branches live and die")
  .option("--json", "print one object and nothing else: text, tokens, finishReason, usage, timings, logprobs, facts")
  .option("--no-stats", "no line of numbers on standard error")
  .addHelpText("after", '\nExample:\n  $ chainrule generate "The three laws of robotics are" --max-tokens 64')
  .action(async (argument: string | undefined, options: Options) => {
    if (options.logprobs !== undefined && options.json !== true)
      throw new OptionError("--logprobs", "is part of the object that --json prints; add --json");
    const text = argument === undefined || argument === "-" ? await readAll(process.stdin) : argument;
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const prompt: Prompt = options.chat === true ? [{ role: "user", content: text }] : text;
      const result = await run(model, prompt, { ...generateOptions(options), signal }, options.json !== true);
      if (options.json === true) process.stdout.write(`${JSON.stringify(toJson(result, model))}\n`);
      else if (options.stats) process.stderr.write(`${statistics(result, model)}\n`);
    });
  });

/** The options of the library's call that the command line gives. */
function generateOptions(options: Options): GenerateOptions {
  const { maxTokens, temperature, topK, topP, minP, typical, seed, stop, logprobs, sample, guide, search } = options;
  const given = { maxTokens, temperature, topK, topP, minP, typical, seed, stop, logprobs, sample, guide, search };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as GenerateOptions;
}

async function run(model: Model, prompt: Prompt, options: GenerateOptions, isStreaming: boolean): Promise<GenerateResult> {
  if (isStreaming && typeof prompt === "string") process.stdout.write(prompt);
  for await (const event of model.stream(prompt, options)) {
    if (isStreaming && (event.kind === "token" || event.kind === "finish")) process.stdout.write(event.text);
    if (event.kind === "finish") {
      if (isStreaming) process.stdout.write("\n");
      return event.result;
    }
  }
  throw new Error("internal: a run ended without a finish event");
}

/** The object of --json; the load time stands with the other times. */
function toJson(result: GenerateResult, model: Model) {
  return { ...result, timings: { loadMs: model.loadMs, ...result.timings } };
}

/** One line: model, prompt and answer with their rates, and how it ended. */
function statistics({ usage, timings, finishReason, facts }: GenerateResult, model: Model): string {
  const rate = (count: number, perSecond: number) => `${count} tokens${perSecond > 0 ? `, ${perSecond.toFixed(1)}/s` : ""}`;
  return [
    `${model.name}, ${model.threads} threads`,
    `loaded in ${(model.loadMs / 1000).toFixed(2)} s`,
    `prompt ${rate(usage.promptTokens, timings.promptTokensPerSecond)}`,
    `answer ${rate(usage.completionTokens, timings.completionTokensPerSecond)}`,
    `first token after ${facts.times.firstTokenMs.toFixed(0)} ms`,
    `${facts.passes} passes`,
    `ended by ${finishReason}`,
  ].join(" · ");
}
