import type { Command } from "commander";
import { OptionError } from "../errors.ts";
import { type Prompt, withLayout } from "../index.ts";
import { withFiles } from "./method-files.ts";
import { readTextFile } from "./read-text-file.ts";

/** Options of commands that lay a prompt out. */
export interface LayoutOptions {
  readonly layout?: string;
  readonly examples?: string;
}

export function addLayoutOptions(command: Command): Command {
  return command
    .option("--layout <method>", 'how the prompt is laid out: set, for "Which of [[a||b]] …", or few-shot,k=4 with --examples')
    .option("--examples <file>", 'for --layout few-shot: JSON lines of {"input": …, "output": …}');
}

/** A prompt with the layout of the command line. @throws OptionError, NotFoundError */
export async function laidOut(prompt: Prompt, { layout: given, examples }: LayoutOptions): Promise<Prompt> {
  if (given === undefined) {
    if (examples !== undefined) throw new OptionError("--examples", "is for --layout few-shot; add it");
    return prompt;
  }
  const layout = await withFiles(given);
  if (examples === undefined) return withLayout(layout, prompt);
  const name = layout.split(",")[0]!.trim();
  if (name !== "few-shot") throw new OptionError("--examples", `is for --layout few-shot, not ${name}`);
  return withLayout(layout, prompt, { examples: await readExamples(examples) });
}

async function readExamples(path: string): Promise<unknown[]> {
  return (await readTextFile(path))
    .split("\n")
    .map((line, index) => ({ line, number: index + 1 }))
    .filter(({ line }) => line.trim() !== "")
    .map(({ line, number }) => {
      try {
        return JSON.parse(line) as unknown;
      } catch (error) {
        throw new OptionError("--examples", `${path}, line ${number}: ${(error as SyntaxError).message}`);
      }
    });
}
