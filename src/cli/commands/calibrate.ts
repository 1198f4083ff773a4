import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { NotFoundError } from "../../errors.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, loadModel, type ModelOptions } from "../load-model.ts";
import { showWork } from "../work-line.ts";

export const calibrate = addModelOptions(
  new Command("calibrate").description(
    "measures once what a model misses without each feed-forward half: what --skip ffn goes by, kept in the home folder",
  ),
)
  .option("--text <file>", "a text of the kind the model will write; default: a page of ours")
  .option("--json", "print one object: prices, by block the divergence from the whole model in nats per token")
  .addHelpText("after", "\nExample:\n  $ chainrule calibrate --model smollm2 --text notes.txt")
  .action(async (options: ModelOptions & { text?: string; json?: boolean }) => {
    const { text: file } = options;
    const text = file === undefined ? undefined : await readText(file);
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const work = showWork();
      const onProgress = (done: number, total: number) => work.update("measured", done, total);
      const prices = await model.skipPrices({ ...(text === undefined ? {} : { text }), signal, onProgress });
      work.clear();
      process.stdout.write(options.json === true ? `${JSON.stringify({ model: model.name, prices })}\n` : table(prices));
    });
  });

function readText(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT" ? new NotFoundError(`${file}: there is no such file`) : error;
  });
}

function table(prices: readonly number[]): string {
  const line = (price: number, block: number) =>
    `block ${String(block).padStart(3)}  ${price.toFixed(4)} nats  ${"█".repeat(Math.min(40, Math.round(price * 100)))}\n`;
  return prices.map(line).join("");
}
