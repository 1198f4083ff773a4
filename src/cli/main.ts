#!/usr/bin/env node
import { Command } from "commander";
import { commands } from "./commands/index.ts";
import { runCommand } from "./run.ts";

const program = new Command("chainrule")
  .description("Runs, steers, speeds up and evaluates autoregressive models.")
  .version("0.1.0")
  .option("--debug", "print the stack of an error")
  .showHelpAfterError("(add --help for the options, with an example)");
for (const command of commands) program.addCommand(command);
await runCommand(program, process.argv);
