import { Worker } from "node:worker_threads";
import { OptionError, TimeoutError, UnsupportedError } from "../../../errors.ts";
import type { GrammarSource } from "./compile.ts";
import type { CompileJob, CompileMessage, CompileOutcome } from "./compile-worker.ts";
import { defaultLimits, type GrammarLimits } from "./limits.ts";
import type { CompiledGrammar } from "./network.ts";
import { defaultJsonOptions, leastJsonOptions } from "./schema.ts";
import { defaultMaxThreads, TokenGrammar } from "./state.ts";
import type { TokenTrie } from "./trie.ts";

/** A compiled grammar, good for any vocabulary. */
export class Grammar {
  /** Plain data: it can be posted to other threads and processes, and made a Grammar again there. */
  readonly compiled: CompiledGrammar;

  constructor(compiled: CompiledGrammar) {
    this.compiled = compiled;
  }

  /**
   * The grammar over a vocabulary. Keep it for all requests with this grammar: they share its masks.
   *
   * @param options.maxThreads  places an ambiguous grammar may be in at once; more is an OptionError while running. Default 16,384
   * @throws OptionError if no text of the grammar can be written with the vocabulary
   */
  bind(trie: TokenTrie, options: { readonly maxThreads?: number } = {}): TokenGrammar {
    return new TokenGrammar(this.compiled, trie, options.maxThreads ?? defaultMaxThreads);
  }
}

/** Compiled code starts its worker as it is. From TypeScript sources, as in the tests, Node 20 needs a loader. */
const isSource = import.meta.url.endsWith(".ts");
const workerUrl = new URL(`./compile-worker.${isSource ? "ts" : "js"}`, import.meta.url);
const workerArguments = isSource ? ["--import", new URL("../../../../scripts/register-typescript.mjs", import.meta.url).href] : [];

/**
 * Compiles a grammar in a thread of its own, which ends at the limits whatever the source is.
 *
 *     const grammar = await compileGrammar({ kind: "json-schema", schema: { type: "integer", minimum: 1 } });
 *
 * @param options.limits  above {@link defaultLimits}
 * @throws OptionError for a bad source or option, or a source above a limit; UnsupportedError for a feature that is not supported,
 *         with its place; TimeoutError after `timeoutMs`; the signal's reason when cancelled
 */
export async function compileGrammar(
  source: GrammarSource,
  options: { readonly limits?: Partial<GrammarLimits>; readonly signal?: AbortSignal } = {},
): Promise<Grammar> {
  const limits = checkLimits(options.limits ?? {});
  const text = checkSource(source, limits);
  options.signal?.throwIfAborted();
  const outcome = await runWorker({ source: text, limits }, options.signal);
  switch (outcome.kind) {
    case "compiled":
      return new Grammar(outcome.grammar);
    case "option":
      throw new OptionError(outcome.option, outcome.message);
    case "unsupported":
      throw new UnsupportedError(outcome.message);
    default:
      return outcome satisfies never;
  }
}

/** Starting a thread takes some 30 ms; a machine that needs longer than this has other troubles. */
const startTimeoutMs = 60_000;

function runWorker(job: CompileJob, signal: AbortSignal | undefined): Promise<CompileOutcome> {
  const worker = new Worker(workerUrl, {
    workerData: job,
    execArgv: workerArguments,
    resourceLimits: { maxOldGenerationSizeMb: job.limits.memoryMiB, stackSizeMb: 4 },
  });
  const timeoutMs = job.limits.timeoutMs;
  let deadline: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  return new Promise<CompileOutcome>((resolve, reject) => {
    const endAfter = (ms: number, message: string) => {
      clearTimeout(deadline);
      deadline = setTimeout(() => reject(new TimeoutError(message)), ms);
    };
    endAfter(startTimeoutMs, "the thread that compiles grammars did not start");
    onAbort = () => reject(signal!.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    worker.on("message", (message: CompileMessage) => {
      if (message.kind === "started") endAfter(timeoutMs, `the grammar took longer than ${timeoutMs} ms to compile (timeoutMs)`);
      else resolve(message);
    });
    worker.once("error", (error: NodeJS.ErrnoException) => {
      const isTooLarge = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      reject(isTooLarge ? new OptionError("memoryMiB", `the grammar needs more than ${job.limits.memoryMiB} MiB to compile`) : error);
    });
    worker.once("exit", (code) => reject(new Error(`internal: the grammar compiler ended with code ${code}`)));
  }).finally(() => {
    clearTimeout(deadline);
    if (onAbort) signal?.removeEventListener("abort", onAbort);
    return worker.terminate();
  });
}

/** @returns the source as JSON text */
function checkSource(source: GrammarSource, limits: GrammarLimits): string {
  const fields = { regex: ["pattern"], gbnf: ["text", "options"], "json-schema": ["schema", "options"] };
  if (typeof source !== "object" || source === null || !Object.hasOwn(fields, source.kind)) {
    throw new OptionError("grammar", `must be { kind: "regex" | "gbnf" | "json-schema", … }`);
  }
  for (const name of Object.keys(source)) {
    if (name !== "kind" && !fields[source.kind].includes(name)) throw new OptionError(name, `is no field of a ${source.kind} grammar`);
  }
  if (source.kind === "regex") checkText("pattern", source.pattern);
  if (source.kind === "gbnf") checkText("text", source.text);
  if (source.kind === "json-schema") {
    if (source.schema === undefined) throw new OptionError("schema", "is missing");
  }
  if (source.kind !== "regex") checkNumbers(source.options ?? {}, defaultJsonOptions, leastJsonOptions);
  let text: string;
  try {
    text = JSON.stringify(source);
  } catch (cause) {
    throw new OptionError("schema", `is no JSON: ${(cause as Error).message.split("\n")[0]}`);
  }
  if (text.length > limits.maxSourceLength + 1024) {
    throw new OptionError("maxSourceLength", `the source has ${text.length} characters, more than ${limits.maxSourceLength}`);
  }
  return text;
}

function checkText(name: string, value: unknown): void {
  if (typeof value !== "string") throw new OptionError(name, `must be a text, got ${String(value)}`);
}

function checkLimits(given: Partial<GrammarLimits>): GrammarLimits {
  checkNumbers(given, defaultLimits, { timeoutMs: 1, memoryMiB: 16 });
  return { ...defaultLimits, ...given };
}

/** Every given option is one of `known`, of its type, and not below its least value (0 unless said). */
function checkNumbers(given: object, known: object, least: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(known, name)) throw new OptionError(name, `is unknown; there are ${Object.keys(known).join(", ")}`);
    const example = (known as Record<string, unknown>)[name];
    const min = least[name] ?? 0;
    const isValid = typeof example === "boolean" ? typeof value === "boolean" : Number.isSafeInteger(value) && value >= min;
    if (!isValid) {
      throw new OptionError(
        name,
        `must be ${typeof example === "boolean" ? "true or false" : `an integer >= ${min}`}, got ${String(value)}`,
      );
    }
  }
}
