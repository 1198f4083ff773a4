import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { Command } from "commander";
import { NotFoundError } from "../../errors.ts";
import { interruptible } from "../interrupt.ts";
import { addModelOptions, integer, loadModel, type ModelOptions } from "../load-model.ts";

export const score = addModelOptions(
  new Command("score")
    .description("how probable a text is to a model: its perplexity")
    .argument("<file>", "a text file; - for standard input"),
)
  .option("--window <tokens>", "tokens that are seen at once; default: the context", integer)
  .option("--stride <tokens>", "tokens from one window to the next; default: half a window", integer)
  .option("--max-bytes <count>", "score only the beginning of the text", integer)
  .option("--json", "print one object: perplexity, total, logprobPerByte, tokens, logprobs …")
  .addHelpText("after", "\nExample:\n  $ chainrule score README.md --window 1024")
  .action(async (file: string, options: ModelOptions & { window?: number; stride?: number; maxBytes?: number; json?: boolean }) => {
    const bytes = file === "-" ? Buffer.from(await readAll(process.stdin)) : await readFile(file).catch(explainMissing(file));
    const text = bytes.subarray(0, options.maxBytes).toString("utf8");
    await interruptible(async (signal) => {
      await using model = await loadModel(options, signal);
      const { window, stride } = options;
      const result = await model.score(text, {
        ...(window === undefined ? {} : { window }),
        ...(stride === undefined ? {} : { stride }),
        signal,
      });
      if (options.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
      else {
        process.stdout.write(
          `perplexity ${result.perplexity.toFixed(4)} over ${result.numScored} tokens (${(-result.logprobPerByte / Math.LN2).toFixed(4)} bits per byte), window ${result.window}, stride ${result.stride}\n`,
        );
      }
    });
  });

function explainMissing(file: string) {
  return (error: NodeJS.ErrnoException): never => {
    throw error.code === "ENOENT" ? new NotFoundError(`${file}: there is no such file`) : error;
  };
}
