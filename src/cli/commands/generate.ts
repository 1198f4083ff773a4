import { text as readAll } from "node:stream/consumers";
import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import type { GenerateOptions, GenerateResult, Model, Prompt } from "../../index.ts";
import { addDecodingOptions, type DecodingOptions, decodingOptions } from "../decoding-options.ts";
import { showEffort } from "../effort.ts";
import { interruptible } from "../interrupt.ts";
import { addLayoutOptions, type LayoutOptions, laidOut } from "../layout-options.ts";
import { addModelOptions, integer, loadDefaultModel, loadModel, type ModelOptions } from "../load-model.ts";
import { statistics } from "../statistics.ts";

interface Options extends ModelOptions, DecodingOptions, LayoutOptions {
  readonly chat?: boolean;
  readonly logprobs?: number;
  readonly json?: boolean;
  readonly stats?: boolean;
}

export const generate = addLayoutOptions(
  addDecodingOptions(
    addModelOptions(
      new Command("generate")
        .description("continues a prompt: text on standard output, numbers on standard error")
        .argument("[prompt]", "the text to continue; standard input where it is left out or -"),
    ),
  ),
)
  .option("--chat", "put the prompt to the model as a user's message, through its chat template")
  .option("--logprobs <n>", "report log-probabilities and the n most probable tokens (with --json)", integer)
  .option("--json", "print one object and nothing else: text, tokens, finishReason, usage, timings, logprobs, facts")
  .option("--stats", "a line of numbers on standard error: the default without --json")
  .option("--no-stats", "no such line")
  .addHelpText("after", '\nExample:\n  $ chainrule generate "The three laws of robotics are" --max-tokens 64')
  .action(async (argument: string | undefined, options: Options, command: Command) => {
    if (options.logprobs !== undefined && options.json !== true)
      throw new OptionError("--logprobs", "is part of the object that --json prints; add --json");
    const text = argument === undefined || argument === "-" ? await readAll(process.stdin) : argument;
    await interruptible(async (signal) => {
      const isNamed = command.getOptionValueSource("model") !== "default";
      await using model = await (isNamed ? loadModel : loadDefaultModel)(options, signal);
      const prompt = await laidOut(options.chat === true ? [{ role: "user", content: text }] : text, options);
      const result = await run(
        model,
        prompt,
        {
          ...(await decodingOptions(options)),
          ...(options.logprobs === undefined ? {} : { logprobs: options.logprobs }),
          signal,
        },
        options.json !== true,
      );
      if (options.json === true) process.stdout.write(`${JSON.stringify(toJson(result, model))}\n`);
      if (options.stats ?? options.json !== true) process.stderr.write(`${statistics(result, model)}\n`);
    });
  });

async function run(model: Model, prompt: Prompt, options: GenerateOptions, isStreaming: boolean): Promise<GenerateResult> {
  const effort = showEffort((line) => isStreaming && process.stderr.write(`${line}\n`));
  for await (const event of model.stream(prompt, options)) {
    if (event.kind === "effort") effort.update(event.fact);
    else if (event.kind !== "growth" && event.kind !== "branch") effort.clear();
    // once the prompt has been accepted and evaluated: a refused one leaves standard output empty
    if (isStreaming && event.kind === "prompt" && typeof prompt === "string") process.stdout.write(prompt);
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
