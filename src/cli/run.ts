import { type Command, CommanderError } from "commander";
import { ChainruleError, type ErrorCode } from "../errors.ts";

/** Codes that mean bad input (exit 2); every other error exits with 1. */
const badInput: ReadonlySet<ErrorCode> = new Set(["OPTION", "FORMAT", "UNSUPPORTED", "NOT_FOUND", "CONTEXT_OVERFLOW", "SHAPE"]);

/** Runs the program: 0 done, 1 failed, 2 bad input. An error is one clear line; `--debug` adds the stack. */
export async function runCommand(program: Command, argv: readonly string[]): Promise<void> {
  takeExits(program);
  try {
    await program.parseAsync(argv as string[]);
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    const debug = program.opts<{ debug?: boolean }>().debug === true || argv.includes("--debug");
    process.stderr.write(`error: ${debug && error instanceof Error ? error.stack : describe(error)}\n`);
    process.exitCode = (error instanceof ChainruleError && badInput.has(error.code)) || error instanceof RangeError ? 2 : 1;
  }
}

/** Has a command and those below it throw what they would end the process with. */
function takeExits(command: Command): void {
  command.exitOverride();
  for (const one of command.commands) takeExits(one);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0]! : String(error);
}
