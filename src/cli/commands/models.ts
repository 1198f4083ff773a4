import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import { built, catalogue, listModels, removeModel, resolveModel, shipped } from "../../models/index.ts";
import { home } from "../home.ts";
import { formatBytes } from "../progress-bar.ts";

export const models = new Command("models")
  .description("lists the models that are there and those known by name")
  .option("--path <name>", "print only the path of this model's file")
  .option("--remove <name>", "delete this model")
  .option("--json", "print one object: home, models, available")
  .addHelpText("after", "\nExample:\n  $ chainrule models --path smollm2")
  .action(async (options: { path?: string; remove?: string; json?: boolean }) => {
    const [first, second] = Object.keys(options);
    if (second !== undefined) throw new OptionError(`--${second}`, `can't be combined with --${first}`);
    if (options.path !== undefined) {
      process.stdout.write(`${(await resolveModel(options.path, { home: home(), offline: true })).path}\n`);
    } else if (options.remove !== undefined) {
      await removeModel(options.remove, { home: home() });
    } else {
      await list(options.json ?? false);
    }
  });

async function list(asJson: boolean): Promise<void> {
  const carried = await Promise.all(shipped.map(({ name }) => resolveModel(name, { home: home() })));
  const installed = [...(await listModels(home())), ...carried];
  const isMissing = ({ name }: { name: string }) => installed.every((model) => model.name !== name);
  const available = [
    ...catalogue.filter(isMissing).map(({ name, description, licence, sizeBytes }) => ({ name, description, licence, sizeBytes })),
    ...built.filter(isMissing).map(({ name, description, licence, from }) => ({ name, description, licence, from })),
  ];
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ home: home(), models: installed, available })}\n`);
    return;
  }
  const rows = [
    ...installed.map(({ name, sizeBytes, path }) => [name, formatBytes(sizeBytes), path] as const),
    ...available.map((model) =>
      "from" in model
        ? ([model.name, "", `not built: ${model.description}`] as const)
        : ([model.name, formatBytes(model.sizeBytes), `not pulled: ${model.description}`] as const),
    ),
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const [name, size, where] of rows) process.stdout.write(`${name.padEnd(widths[0]!)}  ${size.padStart(widths[1]!)}  ${where}\n`);
}
