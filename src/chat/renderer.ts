import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { DisposedError, OptionError, TemplateError, TimeoutError } from "../errors.ts";
import { type JsonValue, jsonObject, type Message, type Tool, toTemplateMessages, toTemplateTools } from "./messages.ts";

/** A conversation and the template that lays it out as the text its model was trained on. */
export interface ChatPrompt {
  /** Jinja source: `tokenizer.chat_template` of a GGUF file, `chat_template` of a tokenizer_config.json. */
  readonly template: string;
  readonly messages: readonly Message[];
  /** Written form of the model's BOS and EOS tokens. Default: empty. */
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** End with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly Tool[];
  /** Further variables that the template reads, such as `enable_thinking`. */
  readonly variables?: { readonly [name: string]: JsonValue };
  /** What `strftime_now` shows, in the local time zone. Default: now. */
  readonly now?: Date;
}

export interface RenderLimits {
  /** Wall-clock milliseconds of the rendering itself, without waiting for its turn. Default 1000. */
  readonly timeoutMs?: number;
  /** Longest text, in UTF-8 bytes. Default 4 MiB. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal;
}

export interface ChatRendererOptions {
  /** How long an unused process is kept, milliseconds. Default 30,000. */
  readonly idleMs?: number;
}

type Outcome =
  | { readonly kind: "rendered"; readonly text: string; readonly usedClock: boolean }
  | { readonly kind: "refused" | "failed"; readonly message: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "exited"; readonly how: string };

interface Job {
  readonly request: { readonly timeoutMs: number; readonly maxOutputBytes: number; readonly [key: string]: unknown };
  readonly settle: (outcome: Outcome) => void;
}

const processFile = fileURLToPath(new URL("./render-process.mjs", import.meta.url));
/** Heap of the rendering process. Templates in use take a few megabytes; the longest text and its copies must fit. */
const maxHeapMb = 256;
/** The process stops a loop by its own clock and stays usable; it is killed only if it says nothing for so much longer. */
const killGraceMs = 500;
/** Starting Node takes 50 ms; a machine that needs longer than this has other troubles. */
const startTimeoutMs = 20_000;
const cacheCharacters = 4 * 1024 * 1024;
/** Names that the renderer itself sets. */
const reservedVariables = new Set([
  ...["messages", "tools", "documents", "bos_token", "eos_token", "add_generation_prompt", "namespace", "range"],
  ...["raise_exception", "strftime_now", "true", "True", "false", "False", "none", "None"],
]);

/**
 * Renders chat templates in a process of its own. A template comes out of a model file and is hostile until shown otherwise:
 * the engine keeps it away from JavaScript's objects but bounds neither time nor memory. Whatever a template does, the result
 * is a text or a typed error within the limits, and the next call works.
 *
 * The process is started by the first call, renders one conversation at a time in the order of the calls, never keeps the
 * program from ending, and ends itself after a time without work. The last texts are kept (a template that asks for the time
 * excepted), so rendering the same conversation again costs nothing.
 */
export class ChatRenderer {
  readonly #idleMs: number;
  readonly #queue: Job[] = [];
  readonly #texts = new Map<string, string>(); // least recently used first
  #textCharacters = 0;
  #process: ChildProcess | undefined;
  #isReady = false;
  #running: Job | undefined;
  #nextId = 0;
  #deadline: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #isDisposed = false;

  constructor(options: ChatRendererOptions = {}) {
    this.#idleMs = options.idleMs ?? 30_000;
  }

  /**
   * The conversation as the text that the model continues. It holds special tokens in their written form, often BOS too:
   * encode it with `special: true`, and with `bos: false` if it begins with the BOS token.
   *
   * @throws OptionError for a malformed prompt or limit; TemplateError when the template is missing, is malformed, refuses the
   *         messages, or writes or uses too much; TimeoutError; DisposedError; the signal's reason when cancelled
   */
  async render(prompt: ChatPrompt, limits: RenderLimits = {}): Promise<string> {
    if (this.#isDisposed) throw new DisposedError("chat renderer");
    const { timeoutMs = 1000, maxOutputBytes = 4 * 1024 * 1024, signal } = limits;
    checkLimit("timeoutMs", timeoutMs, 600_000);
    checkLimit("maxOutputBytes", maxOutputBytes, 64 * 1024 * 1024);
    signal?.throwIfAborted();
    const now = prompt.now ?? new Date();
    const inputs = { template: checkTemplate(prompt.template), variables: templateVariables(prompt) };
    const key = createHash("sha256").update(JSON.stringify(inputs)).digest("base64");
    const known = this.#texts.get(key);
    if (known !== undefined && Buffer.byteLength(known) <= maxOutputBytes) {
      this.#remember(key, known);
      return known;
    }
    const localTimeMs = now.getTime() - now.getTimezoneOffset() * 60_000;
    const outcome = await this.#run({ ...inputs, localTimeMs, timeoutMs, maxOutputBytes }, signal);
    switch (outcome.kind) {
      case "rendered":
        if (!outcome.usedClock) this.#remember(key, outcome.text);
        return outcome.text;
      case "refused":
        throw new TemplateError(`the chat template refuses these messages: ${oneLine(outcome.message)}`);
      case "failed":
        throw new TemplateError(`the chat template fails: ${oneLine(outcome.message)}`);
      case "timeout":
        throw new TimeoutError(`the chat template took longer than ${timeoutMs} ms (timeoutMs)`);
      case "exited":
        throw new TemplateError(`the chat template ended the process that rendered it (${outcome.how}), which may use ${maxHeapMb} MB`);
      default:
        return outcome satisfies never;
    }
  }

  /** Ends the process; calls under way fail with a DisposedError. Idempotent. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#stopProcess();
    const waiting = this.#running === undefined ? this.#queue.splice(0) : [this.#running, ...this.#queue.splice(0)];
    this.#running = undefined;
    for (const job of waiting) job.settle({ kind: "exited", how: "disposed" });
  }

  #run(request: Job["request"], signal: AbortSignal | undefined): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: Outcome) => {
        signal?.removeEventListener("abort", abort);
        if (this.#isDisposed) reject(new DisposedError("chat renderer"));
        else resolve(outcome);
      };
      const job: Job = { request: { id: this.#nextId++, ...request }, settle };
      const abort = () => {
        const index = this.#queue.indexOf(job);
        if (index >= 0) this.#queue.splice(index, 1); // one that runs is left to its time limit
        reject(signal!.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#queue.push(job);
      this.#pump();
    });
  }

  /** Sends the next job if nothing runs, starting the process if there is none. */
  #pump(): void {
    clearTimeout(this.#idle);
    if (this.#running !== undefined) return;
    if (this.#queue.length === 0) {
      this.#process?.unref();
      this.#process?.channel?.unref();
      this.#idle = setTimeout(() => this.#stopProcess(), this.#idleMs).unref();
      return;
    }
    this.#process ??= this.#startProcess();
    this.#process.ref();
    this.#process.channel?.ref();
    if (!this.#isReady) return;
    this.#running = this.#queue.shift()!;
    this.#deadline = setTimeout(() => this.#end({ kind: "timeout" }), this.#running.request.timeoutMs + killGraceMs);
    this.#process.send(this.#running.request);
  }

  #startProcess(): ChildProcess {
    const child = fork(processFile, [], {
      execArgv: [`--max-old-space-size=${maxHeapMb}`],
      env: { ...process.env, NODE_OPTIONS: "", ELECTRON_RUN_AS_NODE: "1" },
      stdio: ["ignore", "ignore", "ignore", "ipc"], // what V8 prints when memory runs out is no business of the terminal
    });
    const isCurrent = () => this.#process === child;
    child.on("message", (message: "ready" | { id: number; outcome: Outcome }) => {
      if (!isCurrent()) return;
      if (message === "ready") {
        clearTimeout(this.#deadline);
        this.#isReady = true;
        this.#pump();
      } else if (message.id === this.#running?.request.id) {
        this.#finish(message.outcome);
      }
    });
    child.on("error", (error) => isCurrent() && this.#end({ kind: "exited", how: error.message }));
    child.on("exit", (code, signal) => isCurrent() && this.#end({ kind: "exited", how: signal ?? `exit code ${code}` }));
    this.#deadline = setTimeout(() => this.#end({ kind: "exited", how: `no sign of life in ${startTimeoutMs} ms` }), startTimeoutMs);
    return child;
  }

  /** The process is of no further use: the job that runs, or else the one that waits for the start, gets the outcome. */
  #end(outcome: Outcome): void {
    this.#stopProcess();
    this.#running ??= this.#queue.shift();
    this.#finish(outcome);
  }

  #finish(outcome: Outcome): void {
    clearTimeout(this.#deadline);
    const job = this.#running;
    this.#running = undefined;
    job?.settle(outcome);
    this.#pump();
  }

  #stopProcess(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#idle);
    this.#process?.kill("SIGKILL");
    this.#process = undefined;
    this.#isReady = false;
  }

  #remember(key: string, text: string): void {
    this.#textCharacters -= this.#texts.get(key)?.length ?? 0;
    this.#texts.delete(key);
    this.#texts.set(key, text);
    this.#textCharacters += text.length;
    for (const [oldest, old] of this.#texts) {
      if (this.#textCharacters <= cacheCharacters) break;
      this.#texts.delete(oldest);
      this.#textCharacters -= old.length;
    }
  }
}

function templateVariables(prompt: ChatPrompt): { readonly [name: string]: JsonValue } {
  const variables = prompt.variables === undefined ? {} : jsonObject("variables", prompt.variables);
  for (const name of Object.keys(variables)) {
    if (reservedVariables.has(name)) throw new OptionError(`variables.${name}`, "this name is set by the renderer itself");
  }
  return {
    ...variables,
    messages: toTemplateMessages(prompt.messages),
    tools: prompt.tools === undefined ? null : toTemplateTools(prompt.tools),
    documents: null, // Transformers always sets it
    bos_token: prompt.bosToken ?? "",
    eos_token: prompt.eosToken ?? "",
    add_generation_prompt: prompt.addGenerationPrompt ?? true,
  };
}

function checkTemplate(template: string | undefined): string {
  if (typeof template === "string" && template.trim() !== "") return template;
  throw new TemplateError("the model has no chat template, so messages can't be laid out: give `template`, or continue a plain text");
}

function checkLimit(option: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new OptionError(option, `must be an integer from 1 to ${max}, got ${value}`);
  }
}

/** A message that a template wrote, safe to show on a terminal. */
function oneLine(message: string): string {
  const line = message.replace(/[\p{C}\p{Z}]+/gu, " ").trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line || "it gives no reason";
}
