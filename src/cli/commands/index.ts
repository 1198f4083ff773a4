import type { Command } from "commander";

/** Every command of the program, one file each, in the order in which help lists them. */
export const commands: readonly Command[] = [];
