import { Command } from "commander";
import { adapterBase, mergeAdapter, readAdapter } from "../../adapters/index.ts";
import { familyOf, hubFromEnvironment, resolveModel } from "../../models/index.ts";
import { openGguf, quantize, quantizeTargets } from "../../weights/index.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { number } from "../load-model.ts";

export const merge = new Command("merge")
  .description("writes a GGUF file with a LoRA added to a model's weights")
  .argument("<base>", "a model: a name or path as in generate")
  .argument("<adapter>", "a folder as PEFT saves it, or a LoRA of llama.cpp's")
  .argument("<out>")
  .option("--type <type>", `tensor type of the result: same as in the base, ${quantizeTargets.join(", ")}`, "same")
  .option("--scale <factor>", "factor on what the adapter adds", number, 1)
  .addHelpText("after", "\nExample:\n  $ chainrule merge smollm2 run/adapter tuned.gguf --type f16")
  .action(async (name: string, path: string, output: string, { type, scale }: { type: string; scale: number }) => {
    await interruptible(async (signal) => {
      const { path: basePath } = await resolveModel(name, { home: home(), hub: hubFromEnvironment(process.env), quantize, signal });
      using file = openGguf(basePath);
      const base = adapterBase(file, familyOf(file.metadata.requireString("general.architecture")).modules);
      const adapter = readAdapter(path, base);
      await mergeAdapter(output, base, adapter, { type, scale, signal });
      process.stdout.write(`${output}: ${adapter.parts.length} matrices changed\n`);
    });
  });
