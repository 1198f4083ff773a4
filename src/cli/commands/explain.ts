import { stat } from "node:fs/promises";
import { Command, Option } from "commander";
import { OptionError } from "../../errors.ts";
import { explainAnswer } from "./explain-answer.ts";
import { explainForecast } from "./explain-forecast.ts";

/**
 * `explain` of a table's forecast or of a prompt's answer. The first argument that is no option decides: an existing file with a table's ending is a
 * table; with `--horizon`, which no prompt has, any file is one, and standard input. Options of the other kind are refused by name.
 *
 * @param args  of the command line, after the command's name
 */
export async function explain(args: readonly string[]): Promise<Command> {
  const [answer, table] = [explainAnswer(command()), explainForecast(command())];
  const { operand, hasHorizon } = understand(args, [answer, table]);
  const isInput = operand === undefined || operand === "-";
  const isFile = !isInput && (await isExistingFile(operand));
  const isTable = isInput ? hasHorizon : isFile && (hasHorizon || /\.(csv|tsv|tab|jsonl|ndjson|parquet)(\.gz)?$/i.test(operand));
  if (isTable)
    return refusing(table, answer, `is for a prompt, and ${isInput ? "standard input with --horizon" : operand} is a table; leave it out`);
  const why = isInput
    ? "standard input is one with --horizon <steps>"
    : isFile
      ? `${operand} is one with --horizon <steps>`
      : `there is no file ${operand}`;
  return refusing(answer, table, `is for a table, and ${why}; a prompt has no such option`);
}

const command = () =>
  new Command("explain")
    .description("says what each token of an answer owes to the prompt's (a heat map), or which models a table's forecast is made of")
    .usage("[options] [prompt]\n       chainrule explain --horizon <steps> [options] [file]")
    .addHelpText(
      "after",
      `
Given a table (a file that ends in .csv, .tsv, .jsonl or .parquet, or in such an ending and .gz; with --horizon any file, and standard input),
it says which model was fitted to every series, with its parameters and where its intervals come from. Its options are then those of
chainrule backtest: chainrule explain sales.csv --help lists them.

Examples:
  $ chainrule explain "The capital of France is" --max-tokens 4 --html why.html
  $ chainrule explain sales.csv --horizon 28`,
    );

/** The argument that is no option and no option's value, whichever of the commands these belong to. */
function understand(args: readonly string[], commands: readonly Command[]) {
  const every = new Command().helpOption(false);
  const options = [...commands.flatMap((one) => one.options), new Option("-h, --help"), new Option("--debug")];
  for (const { flags, long } of options) if (every.options.every((one) => one.long !== long)) every.addOption(new Option(flags));
  const { operands } = every.parseOptions([...args]);
  return { operand: operands[0], hasHorizon: every.getOptionValue("horizon") !== undefined };
}

/** The command with the options of another, each of which is an error that says why. */
function refusing(command: Command, other: Command, why: string): Command {
  for (const { flags, long } of other.options) {
    if (command.options.some((one) => one.long === long)) continue;
    const option = new Option(flags).hideHelp();
    command.addOption(option).on(`option:${option.name()}`, () => {
      throw new OptionError(long!, why);
    });
  }
  return command;
}

async function isExistingFile(path: string): Promise<boolean> {
  const facts = await stat(path).catch(() => undefined);
  return facts?.isFile() === true;
}
