import type { Command } from "commander";
import type { GenerateOptions } from "../index.ts";
import { nameAdapters } from "./adapter-options.ts";
import { integer, number } from "./load-model.ts";
import { withFiles } from "./method-files.ts";

/** Options of every command that lets a model write. Absent ones are the library's business. */
export interface DecodingOptions {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typical?: number;
  readonly seed?: number;
  readonly stop?: string[];
  readonly sample?: string[];
  readonly guide?: string[];
  readonly adapter?: readonly string[];
  readonly draft?: string;
  readonly skip?: string;
  readonly search?: string;
}

const collect = (value: string, before: string[] = []): string[] => [...before, value];

export function addDecodingOptions(command: Command): Command {
  return command
    .option("-n, --max-tokens <count>", "most tokens of the answer", integer)
    .option("--temperature <value>", "0 is greedy, the default without any sampling option", number)
    .option("--top-k <k>", "keep the k most probable tokens", integer)
    .option("--top-p <mass>", "keep the most probable tokens up to this mass", number)
    .option("--min-p <share>", "keep tokens at least so probable relative to the first", number)
    .option("--typical <mass>", "locally typical sampling", number)
    .option("--seed <seed>", "the same seed gives the same answer", integer)
    .option("--stop <text>", "end before this text; may be repeated", collect)
    .option("--sample <method>", "a sampler, such as temperature,value=0.7; may be repeated", collect)
    .option("--guide <method>", "a guide, such as repetition,penalty=1.1 or grammar,schema=@file.json; may be repeated", collect)
    .option("--adapter <path>", "an adapter's folder or file, with ,scale=0.8 for its strength; may be repeated", collect)
    .option("--draft <method>", "who guesses ahead, such as ngram,nodes=7: the same answer in fewer passes")
    .option("--skip <method>", "which half-blocks run, such as ffn,budget=0.25: faster, and another answer")
    .option("--search <method>", "how branches live and die");
}

/** The options of the library's call that the command line gives. @throws NotFoundError for a file that a method names, OptionError */
export async function decodingOptions(options: DecodingOptions): Promise<GenerateOptions> {
  const { maxTokens, temperature, topK, topP, minP, typical, seed, stop } = options;
  const method = async (spec: string | undefined) => (spec === undefined ? undefined : withFiles(spec));
  const list = async (specs: readonly string[] | undefined) => (specs === undefined ? undefined : Promise.all(specs.map(withFiles)));
  const [sample, guide] = [await list(options.sample), await list(options.guide)];
  const [draft, skip, search] = [await method(options.draft), await method(options.skip), await method(options.search)];
  const adapter = options.adapter && nameAdapters(options.adapter).specs;
  const given = { adapter, maxTokens, temperature, topK, topP, minP, typical, seed, stop, sample, guide, draft, skip, search };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as GenerateOptions;
}
