#!/usr/bin/env node
import { Command } from "commander";
import { commands } from "./commands/index.ts";
import { runCommand } from "./run.ts";

// a reader that has seen enough (`| head`) is no failure of ours
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

const program = new Command("chainrule")
  .description("Runs, steers, speeds up and evaluates autoregressive models.")
  .version("0.1.0")
  .option("--debug", "print the stack of an error")
  .showHelpAfterError("(add --help for the options, with an example)");
const given = process.argv.slice(2);
const at = given.findIndex((argument) => !argument.startsWith("-"));
const name = given[at] ?? "";
const load = Object.hasOwn(commands, name) ? commands[name] : undefined; // "toString" is no command
for (const command of await Promise.all((load === undefined ? Object.values(commands) : [load]).map((one) => one(given.slice(at + 1)))))
  program.addCommand(command);
await runCommand(program, process.argv);
