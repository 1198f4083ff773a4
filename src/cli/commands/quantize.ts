import { statSync } from "node:fs";
import { Command } from "commander";
import { quantize as quantizeFile, quantizeTargets, tensorTypes } from "../../weights/index.ts";
import { formatBytes } from "../progress-bar.ts";

export const quantize = new Command("quantize")
  .description("writes a GGUF file with its tensors in a smaller type")
  .argument("<in>")
  .argument("<out>")
  .requiredOption("--type <type>", `tensor type: ${quantizeTargets.join(", ")}`)
  .option("--keep <part...>", "keep tensors whose names contain this part as they are")
  .addHelpText("after", "\nExample:\n  $ chainrule quantize model-f16.gguf model-q4_0.gguf --type q4_0 --keep attn_v")
  .action(async (input: string, output: string, options: { type: string; keep?: string[] }) => {
    const terminal = process.stderr;
    const plan = await quantizeFile(input, output, {
      ...options,
      onTensor: ({ index, count, name, to }) => {
        if (terminal.isTTY) terminal.write(`\r\x1b[K${index + 1} of ${count}  ${name}  ${to}`.slice(0, (terminal.columns ?? 80) - 1));
      },
    });
    if (terminal.isTTY) terminal.write("\r\x1b[K");
    const counts = new Map<string, number>();
    for (const { to } of plan) counts.set(to, (counts.get(to) ?? 0) + 1);
    const types = [...counts].map(([type, count]) => `${count} ${type}`).join(", ");
    process.stdout.write(`${output}: ${formatBytes(statSync(input).size)} to ${formatBytes(statSync(output).size)}; tensors: ${types}\n`);
    const again = plan.find(({ from, to }) => from !== to && tensorTypes[from].blockSize > 1);
    if (again !== undefined) {
      process.stderr.write(`note: ${again.name} and others were quantized before (${again.from}); a file in f16 gives better results\n`);
    }
  });
