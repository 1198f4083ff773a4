/** The thread of one compilation: a source in, a compiled grammar or an error out. */
import { parentPort, workerData } from "node:worker_threads";
import { OptionError, UnsupportedError } from "../../../errors.ts";
import { compileSource, type GrammarSource } from "./compile.ts";
import type { GrammarLimits } from "./limits.ts";
import type { CompiledGrammar } from "./network.ts";

export interface CompileJob {
  /** JSON text: a source may hold any JSON, but nothing else crosses. */
  readonly source: string;
  readonly limits: GrammarLimits;
}

/** First `started`, then one of the others. */
export type CompileMessage = { readonly kind: "started" } | CompileOutcome;

export type CompileOutcome =
  | { readonly kind: "compiled"; readonly grammar: CompiledGrammar }
  | { readonly kind: "option"; readonly option: string; readonly message: string }
  | { readonly kind: "unsupported"; readonly message: string };

const { source, limits } = workerData as CompileJob;
parentPort!.postMessage({ kind: "started" } satisfies CompileMessage);
let outcome: CompileOutcome;
try {
  outcome = { kind: "compiled", grammar: compileSource(JSON.parse(source) as GrammarSource, limits) };
} catch (error) {
  // Anything else ends the thread and reaches the caller as it is.
  if (error instanceof OptionError) {
    outcome = { kind: "option", option: error.option, message: error.message.slice(error.option.length + 2) };
  } else if (error instanceof UnsupportedError) {
    outcome = { kind: "unsupported", message: error.message };
  } else throw error;
}
parentPort!.postMessage(outcome);
