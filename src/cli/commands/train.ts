import { existsSync } from "node:fs";
import { Command, Option } from "commander";
import { OptionError } from "../../errors.ts";
import { hubFromEnvironment, resolveModel } from "../../models/index.ts";
import { dataFormats, type ModelShape, type Start, type TrainFileOptions, type TrainProgress, trainFile } from "../../training/index.ts";
import { quantize } from "../../weights/index.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { integer, number } from "../load-model.ts";
import { ProgressBar } from "../progress-bar.ts";
import { describeStart } from "../training-start.ts";

interface Flags extends Record<string, unknown> {
  readonly data: string;
  readonly model?: string;
  readonly scratch?: string;
  readonly vocabulary?: string;
  readonly adapter?: string;
  readonly checkpointEvery?: string;
  readonly json?: boolean;
  readonly out: string;
}

export const train = new Command("train")
  .description("trains an adapter or all weights of a model, or a new one from scratch, on a text, JSON lines or Parquet file")
  .requiredOption(
    "--data <file>",
    'text; or rows with "text", "prompt" and "completion", or a conversation, or a preference: "chosen" and "rejected"',
  )
  .option("-m, --model <name>", "the model to go on from: a name or path as in generate")
  .option("--adapter <spec>", "an adapter over the frozen model: lora,rank=8,alpha=16,targets=q;v,dropout=0.05, or series, parallel")
  .option(
    "--objective <spec>",
    "what is minimized: next-token (default), sequence-match,likelihood=0.9,rate=0.1,gamma=0.99,c=1; on pairs of answers reward,beta=0.05 or dpo,beta=0.1",
  )
  .option("--scratch <shape>", "a new llama-shaped model: hidden=256,blocks=4,heads=8,kv=4,ffn=704,context=256")
  .option("--vocabulary <tokens|model>", "with --scratch: learn a vocabulary of so many tokens, or take a model file's (default: 4096)")
  .requiredOption("--steps <n>", "steps", integer)
  .requiredOption("--out <folder>", "where metrics, checkpoints, model.gguf and report.html go; must not exist")
  .option("--resume", "go on from the folder's newest checkpoint")
  .option("--seed <n>", "of the order of the data and of new weights (default: 0)", integer)
  .option("--json", "print metrics as JSON lines and nothing else")
  .option("--checkpoint-every <steps|seconds>", "100 for steps, 60s for seconds (default: 60s, at most 5 % of the time)")
  .option("--sequences <n>", "sequences per pass, or pairs (default: 8, with --adapter 2)", integer)
  .option("--length <tokens>", "tokens of a sequence, at most the context (default: 256; of pairs, what the longest needs)", integer)
  .option("--accumulate <n>", "passes per step (default: 1, with --adapter 4)", integer)
  .option("--learning-rate <rate>", "the highest (default: 5e-5, from scratch 1e-3, with --adapter 3e-4)", number)
  .addOption(new Option("--schedule <kind>", "after the warm-up (default: cosine)").choices(["constant", "linear", "cosine"]))
  .option("--warmup-steps <n>", "default: a twentieth of the steps, at most 100", integer)
  .option("--floor <part>", "the last learning rate as a part of the highest (default: 0.1)", number)
  .option("--weight-decay <rate>", "of matrices (default: 0.1, with --adapter 0)", number)
  .option("--clip <norm>", "largest norm of all gradients (default: 1)", number)
  .option("--average <decay>", "save running means of the weights, such as 0.999", number)
  .addOption(new Option("--optimizer <name>", "default: adamw").choices(["adamw", "sgd"]))
  .option("--recompute", "keep each block's input only: less memory, a third more time")
  .option("--validation <part>", "part of the documents held out (default: 0.05)", number)
  .addOption(new Option("--format <format>", "of the data (default: by the file's name)").choices([...dataFormats]))
  .addOption(
    new Option("--bad <what>", "samples that can't be used end the run, or are skipped and listed (default: stop)").choices([
      "stop",
      "skip",
    ]),
  )
  .option("--threads <count>", "kept for the whole run; another count when resuming changes the last bits (default: 1)", integer)
  .addHelpText("after", "\nExample:\n  $ chainrule train --data notes.jsonl --model smollm2 --steps 200 --out run")
  .action(async (flags: Flags) => {
    const bar = new ProgressBar();
    await interruptible(async (signal) => {
      const options: TrainFileOptions = { ...libraryOptions(flags), start: await startOf(flags, signal) };
      const result = await trainFile(options, {
        signal,
        onStage: (stage) => bar.note(stage),
        onNotice: (notice) => bar.note(`note: ${notice}`),
        onStart: (start) => bar.note(describeStart(start)),
        onProgress: flags.json === true ? printJson : printer(),
      });
      if (process.stderr.isTTY && flags.json !== true) process.stderr.write("\n");
      if (!result.isFinished) bar.note(`stopped after step ${result.step}; --resume goes on from here`);
      else if (flags.json !== true) process.stdout.write(`${flags.out}/${flags.adapter === undefined ? "model.gguf" : "adapter"}\n`);
    });
  });

function printJson({ steps: _, tokensPerSecond: __, secondsLeft: ___, ...metrics }: TrainProgress): void {
  process.stdout.write(`${JSON.stringify(metrics)}\n`);
}

/** A line drawn over and over on a terminal, elsewhere a line every ten seconds. */
function printer(): (progress: TrainProgress) => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  return ({ step, steps, loss, accuracy, validationLoss, validationAccuracy, tokensPerSecond, secondsLeft }) => {
    const { isTTY } = process.stderr;
    const now = performance.now();
    if (step < steps && validationLoss === undefined && now - lastMs < (isTTY ? 100 : 10_000)) return;
    lastMs = now;
    const right = (share: number | undefined) => (share === undefined ? "" : ` (${(100 * share).toFixed(0)} % right)`);
    const held = validationLoss === undefined ? "" : `  held out ${validationLoss.toFixed(4)}${right(validationAccuracy)}`;
    const text = `step ${step} of ${steps}  loss ${loss.toFixed(4)}${right(accuracy)}${held}  ${Math.round(tokensPerSecond)} tokens/s  ${duration(secondsLeft)} left`;
    process.stderr.write(isTTY ? `\r\x1b[K${text}${held === "" ? "" : "\n"}` : `${text}\n`);
  };
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${Math.ceil(seconds)} s` : `${minutes} min`;
}

function libraryOptions(flags: Flags): Omit<TrainFileOptions, "start"> {
  const { model: _, scratch: __, vocabulary: ___, json: ____, checkpointEvery, ...rest } = flags;
  const every = checkpointEvery === undefined ? undefined : /^(\d+)(s?)$/.exec(checkpointEvery);
  if (every === null)
    throw new OptionError("--checkpoint-every", `expects steps such as 100 or seconds such as 60s, got "${checkpointEvery}"`);
  const interval =
    every === undefined ? {} : { checkpointEvery: every[2] === "s" ? { seconds: Number(every[1]) } : { steps: Number(every[1]) } };
  return { ...rest, ...interval } as unknown as Omit<TrainFileOptions, "start">;
}

async function startOf(flags: Flags, signal: AbortSignal): Promise<Start> {
  const { model, scratch, vocabulary } = flags;
  if ((model === undefined) === (scratch === undefined)) throw new OptionError("--model", "give either --model or --scratch");
  if (scratch === undefined) {
    if (vocabulary !== undefined) throw new OptionError("--vocabulary", "belongs to --scratch; a model keeps its own");
    const { path } = await resolveModel(model!, { home: home(), hub: hubFromEnvironment(process.env), quantize, signal });
    return { kind: "model", path };
  }
  const size = vocabulary === undefined ? 4096 : Number(vocabulary);
  if (Number.isInteger(size)) return { kind: "scratch", shape: shapeOf(scratch), vocabulary: { size } };
  if (!existsSync(vocabulary!)) throw new OptionError("--vocabulary", `expects a number of tokens or a model file, got "${vocabulary}"`);
  return { kind: "scratch", shape: shapeOf(scratch), vocabulary: { of: vocabulary! } };
}

const shapeKeys = {
  ...{ hidden: "hiddenSize", blocks: "blocks", heads: "heads", kv: "kvHeads" },
  ...{ ffn: "feedForward", context: "contextLength" },
} as const satisfies Record<string, keyof ModelShape>;

function shapeOf(text: string): ModelShape {
  const shape: Record<string, number> = {};
  for (const part of text.split(",")) {
    const [, key, value] = /^([a-z]+)=(\d+)$/.exec(part.trim()) ?? [];
    if (key === undefined || !(key in shapeKeys))
      throw new OptionError("--scratch", `"${part}" is none of ${Object.keys(shapeKeys).join(", ")} with a whole number`);
    shape[shapeKeys[key as keyof typeof shapeKeys]] = Number(value);
  }
  for (const key of ["hidden", "blocks", "heads", "context"] as const)
    if (shape[shapeKeys[key]] === undefined) throw new OptionError("--scratch", `lacks ${key}`);
  return shape as unknown as ModelShape;
}
