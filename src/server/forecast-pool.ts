import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { TaskError } from "./engine-client.ts";
import type { ForecastJob, FromForecaster } from "./forecast-protocol.ts";
import type { WireError } from "./protocol.ts";

export interface ForecastPoolOptions {
  /** Arguments of Node for the processes; tests start them from TypeScript. */
  readonly execArgv?: readonly string[];
  readonly onLog?: (line: string) => void;
}

/** Milliseconds after which a process that has nothing to do ends. */
const idleMs = 60_000;
/** Of a process, in MiB: sixteen MiB of text and what models keep of it fit tenfold; a process that wants more ends, and no other. */
const heapMegabytes = 2048;

const ended = (status: 500 | 503, code: string, message: string): WireError => ({ status, code, message, param: null });

/**
 * Processes that forecast, as many as there are jobs under way; who calls bounds these. A job whose client leaves ends with its process:
 * a computation can't be asked to stop.
 */
export class ForecastPool {
  readonly #options: ForecastPoolOptions;
  readonly #busy = new Set<ChildProcess>();
  readonly #idle = new Map<ChildProcess, NodeJS.Timeout>();
  #isClosed = false;

  constructor(options: ForecastPoolOptions = {}) {
    this.#options = options;
  }

  /** Processes that are there. */
  get size(): number {
    return this.#busy.size + this.#idle.size;
  }

  /**
   * What a job says, message by message, the last one `done`. Leaving the loop before it ends the job.
   * @throws TaskError; the signal's reason
   */
  async *run(job: ForecastJob, signal: AbortSignal): AsyncGenerator<Exclude<FromForecaster, { kind: "failed" }>> {
    signal.throwIfAborted();
    if (this.#isClosed) throw new TaskError(ended(503, "shutting_down", "the server is shutting down"));
    const child = this.#take();
    const messages: FromForecaster[] = [];
    let wake: (() => void) | undefined;
    let hasExited = false;
    const tell = () => wake?.();
    const onMessage = (message: FromForecaster) => {
      messages.push(message);
      tell();
    };
    const onExit = () => {
      hasExited = true;
      tell();
    };
    child.on("message", onMessage).once("exit", onExit);
    signal.addEventListener("abort", tell);
    let isFree = false;
    try {
      child.send(job, (error) => void error); // a message that is lost means a process that has ended, which is told below
      for (;;) {
        signal.throwIfAborted();
        const message = messages.shift();
        if (message !== undefined) {
          isFree = message.kind === "done" || message.kind === "failed";
          if (message.kind === "failed") throw new TaskError(message.error);
          yield message;
          if (message.kind === "done") return;
        } else if (hasExited) {
          throw new TaskError(
            this.#isClosed
              ? ended(503, "shutting_down", "the server is shutting down")
              : ended(500, "forecast_crashed", "the process ended while it worked on this forecast: the table may be too large for it"),
          );
        } else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      signal.removeEventListener("abort", tell);
      child.off("message", onMessage).off("exit", onExit);
      this.#busy.delete(child);
      if (isFree && !hasExited && !this.#isClosed) this.#keep(child);
      else child.kill("SIGKILL");
    }
  }

  /** @internal for tests: what a job does that takes its process along */
  crash(): void {
    for (const child of this.#busy) child.kill("SIGKILL");
  }

  /** Ends all processes; their jobs fail. */
  close(): void {
    this.#isClosed = true;
    for (const child of [...this.#busy, ...this.#idle.keys()]) child.kill("SIGKILL");
    for (const timer of this.#idle.values()) clearTimeout(timer);
    this.#idle.clear();
  }

  #take(): ChildProcess {
    const next = this.#idle.entries().next();
    if (next.done === true) return this.#start();
    const [child, timer] = next.value;
    clearTimeout(timer);
    this.#idle.delete(child);
    this.#busy.add(child);
    return child;
  }

  #keep(child: ChildProcess): void {
    const timer = setTimeout(() => {
      this.#idle.delete(child);
      child.kill();
    }, idleMs);
    timer.unref();
    this.#idle.set(child, timer);
  }

  #start(): ChildProcess {
    const isSource = import.meta.url.endsWith(".ts");
    const path = fileURLToPath(new URL(isSource ? "./forecast-process.ts" : "./forecast-process.js", import.meta.url));
    const child = fork(path, [], {
      serialization: "advanced", // bodies cross as bytes
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: [...(this.#options.execArgv ?? []), `--max-old-space-size=${heapMegabytes}`],
    });
    this.#busy.add(child);
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.split("\n")) if (line.trim() !== "") this.#options.onLog?.(`forecast: ${line}`);
    });
    child.on("error", (error) => this.#options.onLog?.(`forecast: ${error.message}`));
    child.once("exit", () => {
      clearTimeout(this.#idle.get(child));
      this.#idle.delete(child);
    });
    return child;
  }
}
