import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { NotFoundError } from "../../errors.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, loadModel, type ModelOptions } from "../load-model.ts";

export const calibrate = addModelOptions(
  new Command("calibrate").description(
    "measures once how saturated a model's blocks are: what --skip ffn goes by, kept in the home folder",
  ),
)
  .option("--text <file>", "a text of the kind the model will write; default: a page of ours")
  .option("--json", "print one object: saturation, the mean cosine before and after each block's feed-forward half")
  .addHelpText("after", "\nExample:\n  $ chainrule calibrate --model smollm2 --text notes.txt")
  .action(async (options: ModelOptions & { text?: string; json?: boolean }) => {
    const { text: file } = options;
    const text =
      file === undefined
        ? undefined
        : await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
            throw error.code === "ENOENT" ? new NotFoundError(`${file}: there is no such file`) : error;
          });
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const saturation = await model.saturation({ ...(text === undefined ? {} : { text }), signal });
      if (options.json === true) process.stdout.write(`${JSON.stringify({ model: model.name, saturation })}\n`);
      else
        for (const [block, cosine] of saturation.entries())
          process.stdout.write(
            `block ${String(block).padStart(3)}  ${cosine.toFixed(4)}  ${"█".repeat(Math.max(0, Math.round((cosine - 0.9) * 400)))}\n`,
          );
    });
  });
