import { statSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { cutModel } from "../../models/index.ts";
import { interruptible } from "../interrupt.ts";
import { formatBytes } from "../progress-bar.ts";

export const cut = new Command("cut")
  .description("writes a GGUF file with some of a model's blocks: a small draft model with the same vocabulary")
  .argument("<in>")
  .argument("<out>")
  .requiredOption("--blocks <which>", "how many of the first blocks stay (4), or which (0,1,28-29)", readBlocks)
  .addHelpText(
    "after",
    '\nExample:\n  $ chainrule cut model.gguf cut.gguf --blocks 4\n  $ chainrule generate --model model.gguf --draft model,model=cut.gguf "Once upon a time"',
  )
  .action(async (input: string, output: string, { blocks }: { blocks: number | number[] }) => {
    await interruptible(async (signal) => {
      const report = await cutModel(input, output, { blocks, signal });
      const sizes = `${formatBytes(statSync(input).size)} to ${formatBytes(statSync(output).size)}`;
      process.stdout.write(`${output}: ${report.blocks.length} of ${report.of} blocks; ${sizes}\n`);
    });
  });

/** `4`, or a list such as `0,1,28-29`. */
function readBlocks(text: string): number | number[] {
  if (/^\d+$/.test(text)) return Number(text);
  return text.split(",").flatMap((part) => {
    const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    const count = Number(last ?? first) - Number(first) + 1;
    if (first === undefined || count < 1 || count > 1e5)
      throw new InvalidArgumentError(`"${text}" is neither a count nor a list such as 0,1,28-29.`);
    return Array.from({ length: count }, (_, index) => Number(first) + index);
  });
}
