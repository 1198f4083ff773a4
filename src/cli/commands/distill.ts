import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import {
  checkTransfer,
  readTexts,
  type TransferResult,
  trainTransferMaps,
  transferFolder,
  transferMapsPath,
  writeTexts,
  writeTransferMaps,
} from "../../training/index.ts";
import { openGguf } from "../../weights/index.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, integer, loadModel, type ModelOptions, number } from "../load-model.ts";
import { describeStart } from "../training-start.ts";

/** Most tokens of a text that the model writes, and tokens of a pass. */
const [textTokens, windowTokens] = [160, 128];

interface Options extends ModelOptions {
  readonly layers?: string;
  readonly out?: string;
  readonly texts: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly json?: boolean;
}

export const distill = addModelOptions(
  new Command("distill").description(
    "trains the maps that --draft hidden-transfer guesses with, on texts that the model writes, and keeps them beside its file",
  ),
)
  .option("--layers <list>", "block after which each step's state is taken, ascending (default: at 60 and 70 % of the blocks)")
  .option("--out <file>", "where the maps go; --layers need it, since those beside the model are used (default: beside the model's file)")
  .option("--texts <n>", "texts that the model writes", integer, 160)
  .option("--steps <n>", "training steps of 4 × 128 tokens", integer, 60)
  .option("--learning-rate <rate>", "the highest", number, 3e-4)
  .option("--json", "print one object: path, layers, and the part of held-out tokens that each step guesses, before and after")
  .addHelpText("after", "\nExample:\n  $ chainrule distill --model smollm2")
  .action(async (options: Options) => {
    if (options.layers !== undefined && options.out === undefined)
      throw new OptionError(
        "--out",
        "name a file with --layers: the maps beside the model's file are those that --draft hidden-transfer uses",
      );
    if (options.out !== undefined && !existsSync(dirname(resolve(options.out))))
      throw new OptionError("--out", `${dirname(resolve(options.out))} does not exist`);
    await interruptible(async (signal) => {
      const say = (line: string) => process.stderr.write(`${line}\n`);
      let path: string;
      let hash: string;
      let folder: string;
      let layers: number[];
      let hiddenSize: number;
      let threads: number;
      {
        await using model = await loadModel(options, signal);
        ({ path, hash, threads } = model);
        hiddenSize = model.config.hiddenSize;
        layers = layersOf(options.layers, model.config.blocks.length);
        checkTransfer(model.config, layers);
        folder = transferFolder(home(), hash);
        mkdirSync(folder, { recursive: true });
        say(plan(path, layers, threads, options));
        await writeTexts(model, join(folder, "texts.jsonl"), {
          ...{ count: options.texts, maxTokens: textTokens, seed: 1, top: 8, chat: hasTemplate(path), signal },
          onProgress: ({ texts, tokens, secondsLeft }) =>
            say(`written ${texts} of ${options.texts} texts, ${tokens} tokens; ${minutes(secondsLeft)} left for them`),
        });
      }
      using base = openGguf(path);
      const run = join(folder, ["run", ...layers, options.texts, options.steps, options.learningRate].join("-"));
      mkdirSync(run, { recursive: true });
      let lastMs = Number.NEGATIVE_INFINITY;
      const result = await trainTransferMaps(
        base,
        readTexts(join(folder, "texts.jsonl")).slice(0, options.texts), // an earlier call may have wanted more
        run,
        {
          layers,
          steps: options.steps,
          length: windowTokens,
          accumulate: 4,
          learningRate: options.learningRate,
          candidates: 8,
          threads,
          seed: 1,
        },
        {
          signal,
          onStart: (start) => say(describeStart(start)),
          onNotice: (notice) => say(`note: ${notice}`),
          onProgress({ step, steps, loss, secondsLeft }) {
            if (performance.now() - lastMs < 10_000 && step < steps) return;
            lastMs = performance.now();
            say(`step ${step} of ${steps}, loss ${loss.toFixed(3)}, ${minutes(secondsLeft)} left`);
          },
        },
      );
      const target = options.out ?? transferMapsPath(path);
      writeTransferMaps(target, hash, hiddenSize, result.maps);
      process.stdout.write(options.json === true ? `${JSON.stringify(toJson(target, result))}\n` : table(target, result));
    });
  });

function hasTemplate(path: string): boolean {
  using file = openGguf(path);
  return file.metadata.getString("tokenizer.chat_template") !== undefined;
}

function layersOf(text: string | undefined, blocks: number): number[] {
  if (text === undefined) return [Math.floor(blocks * 0.6), Math.floor(blocks * 0.7)];
  const layers = text.split(",").map(Number);
  if (!layers.every(Number.isInteger)) throw new OptionError("--layers", `expects block indices such as 18,21, got "${text}"`);
  return layers;
}

const minutes = (seconds: number): string => `${Math.ceil(seconds / 60)} min`;

/** What is about to be done, and how long it takes by the rates of SmolLM2-135M on two cores with AVX-512. */
function plan(path: string, layers: readonly number[], threads: number, { texts, steps }: Options): string {
  using file = openGguf(path);
  const parameters = [...file.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const perThread = 30e9; // floating-point operations a second of a step's passes; writing reaches about half of it
  const writing = (texts * textTokens * 4 * parameters) / (perThread * threads);
  const training = (steps * 4 * windowTokens * (4 + 2 * layers.length) * parameters) / (perThread * threads);
  return `the model writes ${texts} texts, then ${layers.length} maps (after block ${layers.join(", ")}) learn from them in ${steps} steps: roughly ${minutes(writing + training)}; stopped, it goes on where it was when asked again`;
}

const toJson = (path: string, { maps, before, after, heldOutTokens }: TransferResult) => ({
  ...{ path, layers: maps.layers, before, after, heldOutTokens },
});

/** In Markdown, for a page of figures. */
function table(path: string, { maps, before, after, heldOutTokens }: TransferResult): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const rows = maps.layers.map(
    (layer, i) => `| ${i + 1} | ${layer} | ${heldOutTokens[i]} | ${percent(before[i]!)} | ${percent(after[i]!)} |`,
  );
  return [
    "| step | map after block | held-out tokens | guessed as the model would: untrained | trained |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
    path,
    "",
  ].join("\n");
}
