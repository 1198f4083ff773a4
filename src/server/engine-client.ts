import { type ChildProcess, fork } from "node:child_process";
import { EventEmitter } from "node:events";
import { fileURLToPath } from "node:url";
import { ChainruleError, type ErrorCode } from "../errors.ts";
import { Outbox } from "./outbox.ts";
import type { ChildSettings, EngineStatus, ModelInfo, Task, ToChild, ToParent, WireError, WireEvent } from "./protocol.ts";

/** A task failed; the client is told what the child said. */
export class TaskError extends Error {
  readonly error: WireError;
  constructor(error: WireError) {
    super(error.message);
    this.error = error;
    if (error.stack !== undefined) this.stack = error.stack;
  }
}

/** The model can't be loaded, by the child's account. `code` is that of the error there. */
export class EngineLoadError extends ChainruleError {
  readonly code: ErrorCode;
  constructor(message: string, code: ErrorCode) {
    super(message);
    this.code = code;
  }
}

export interface EngineClientOptions {
  /** Milliseconds without an answer to a ping, while it loads too, after which the child is taken for dead. Default 20,000. */
  readonly heartbeatMs?: number;
  /** Arguments of Node for the child; tests start it from TypeScript. */
  readonly execArgv?: readonly string[];
  readonly onLog?: (line: string) => void;
}

/** Events a run may have on their way, so that a reader that doesn't read stops the run within as many tokens. */
const credits = 32;
const pingMs = 1000;
const crashed: WireError = {
  status: 500,
  code: "engine_crashed",
  message: "the engine ended while it worked on this request; try again",
  param: null,
};
const shutDown: WireError = {
  status: 503,
  code: "shutting_down",
  message: "the server is shutting down, and this request was not finished in time",
  param: null,
};
const notReady: WireError = { status: 503, code: "engine_not_ready", message: "the engine is not ready", param: null };

interface Pending {
  readonly events: WireEvent[];
  /** Called whenever there is something new. */
  wake: (() => void) | undefined;
  end: { readonly value: unknown } | { readonly error: WireError } | undefined;
}

/**
 * The child process with the engine, as the parent sees it: tasks go in, events come out, and when it dies its tasks fail, and another is
 * started. Emits "ready", "down", and "pong" with each answer to a ping.
 */
export class EngineClient extends EventEmitter<{ ready: []; down: [reason: string]; pong: [number: number, status: EngineStatus] }> {
  readonly #settings: ChildSettings;
  readonly #options: EngineClientOptions;
  readonly #tasks = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #outbox: Outbox<ToChild> | undefined;
  #nextId = 1;
  #info: ModelInfo | undefined;
  #isReady = false;
  #isClosed = false;
  #lastPong = 0;
  #pinger: NodeJS.Timeout | undefined;
  #restarter: NodeJS.Timeout | undefined;
  #failures = 0;
  #pings = 0;
  #errors = "";
  /** Why this child can't load the model. */
  #unloadable: Error | undefined;
  /** That this child was ended for having said nothing. */
  #silence: string | undefined;
  /** Why no child ever was ready: none will be. */
  #refusal: Error | undefined;
  /** What the child last said of itself. */
  status: EngineStatus | undefined;
  restarts = 0;
  /** What the last process that ended by itself said, or how it ended. */
  lastCrash: { readonly at: string; readonly reason: string } | undefined;

  constructor(settings: ChildSettings, options: EngineClientOptions = {}) {
    super();
    this.#settings = settings;
    this.#options = options;
    this.#start();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** The model, once it has been loaded. */
  get info(): ModelInfo | undefined {
    return this.#info;
  }

  get taskCount(): number {
    return this.#tasks.size;
  }

  /**
   * Resolves when the child is ready.
   * @throws EngineLoadError or Error with what the first child said if it can't load the model; the signal's reason
   */
  async ready(signal?: AbortSignal): Promise<void> {
    while (!this.#isReady) {
      signal?.throwIfAborted();
      if (this.#refusal !== undefined) throw this.#refusal;
      await new Promise<void>((resolve) => {
        const settle = () => {
          this.off("ready", settle);
          this.off("down", settle);
          signal?.removeEventListener("abort", settle);
          resolve();
        };
        this.on("ready", settle);
        this.on("down", settle);
        signal?.addEventListener("abort", settle);
      });
    }
  }

  /**
   * A run's events, in order. Leaving the loop cancels the run; events are asked for as they are taken.
   *
   * @param request  the id of the client's request, for the log
   * @throws TaskError
   */
  async *stream(task: Task, signal?: AbortSignal, request?: string): AsyncGenerator<WireEvent, unknown> {
    signal?.throwIfAborted();
    if (!this.#isReady) throw new TaskError(this.#isClosed ? shutDown : notReady);
    const id = this.#nextId++;
    const pending: Pending = { events: [], wake: undefined, end: undefined };
    this.#tasks.set(id, pending);
    const outbox = this.#outbox!;
    const onAbort = () => pending.wake?.();
    signal?.addEventListener("abort", onAbort);
    outbox.push({ kind: "start", id, task, credits, ...(request === undefined ? {} : { request }) });
    let taken = 0;
    try {
      for (;;) {
        signal?.throwIfAborted();
        const event = pending.events.shift();
        if (event !== undefined) {
          yield event;
          taken += 1;
          if (taken === credits / 2) {
            outbox.push({ kind: "credit", id, count: taken });
            taken = 0;
          }
        } else if (pending.end !== undefined) {
          if ("error" in pending.end) throw new TaskError(pending.end.error);
          return pending.end.value;
        } else await new Promise<void>((resolve) => (pending.wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#tasks.delete(id);
      if (pending.end === undefined) outbox.push({ kind: "cancel", id });
    }
  }

  /** A task without events. @throws TaskError */
  async call(task: Task, signal?: AbortSignal, request?: string): Promise<unknown> {
    const events = this.stream(task, signal, request);
    for (;;) {
      const next = await events.next();
      if (next.done === true) return next.value;
    }
  }

  /** Ends the child; every task fails. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#restarter);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Asks the child what it holds now: it has taken every message that was sent before. */
  async ping(): Promise<EngineStatus> {
    if (!this.#isReady) throw new TaskError(notReady);
    return new Promise((resolve, reject) => {
      const settle = (work: () => void) => {
        this.off("pong", onPong);
        this.off("down", onDown);
        work();
      };
      const asked = this.#pings++;
      const onPong = (answered: number, status: EngineStatus) => answered === asked && settle(() => resolve(status));
      const onDown = () => settle(() => reject(new TaskError(crashed)));
      this.on("pong", onPong);
      this.on("down", onDown);
      this.#outbox!.push({ kind: "ping", number: asked });
    });
  }

  /** @internal for tests: the child's process id */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  #start(): void {
    const isSource = import.meta.url.endsWith(".ts");
    const path = fileURLToPath(new URL(isSource ? "./engine-process.ts" : "./engine-process.js", import.meta.url));
    const child = fork(path, [JSON.stringify(this.#settings)], {
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: [...(this.#options.execArgv ?? [])],
    });
    this.#child = child;
    this.#errors = "";
    this.#unloadable = undefined;
    this.#silence = undefined;
    this.#lastPong = performance.now();
    this.#outbox = new Outbox<ToChild>((messages) => {
      if (child.connected) child.send(messages as never, (error) => void error); // a lost message means a dead child, whose end is told below
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-4096);
      for (const line of text.split("\n")) if (line.trim() !== "") this.#options.onLog?.(line);
    });
    child.on("message", (messages: readonly ToParent[]) => {
      for (const message of messages) this.#take(message);
    });
    child.on("error", (error) => this.#options.onLog?.(`engine: ${error.message}`));
    child.once("exit", (code, signal) => this.#onExit(child, code, signal));
    this.#pinger = setInterval(() => this.#ping(child), pingMs);
    this.#pinger.unref();
  }

  #ping(child: ChildProcess): void {
    const silentMs = performance.now() - this.#lastPong;
    if (silentMs > (this.#options.heartbeatMs ?? 20_000)) {
      const what = `silent for ${Math.round(silentMs)} ms${this.#isReady ? "" : " while it loaded the model"}`;
      this.#options.onLog?.(`engine: ${what}, ending it`);
      this.#silence = `the engine's process was ${what}`;
      child.kill("SIGKILL");
    } else this.#outbox!.push({ kind: "ping", number: this.#pings++ });
  }

  #take(message: ToParent): void {
    if (message.kind === "loading") {
      this.#lastPong = performance.now();
      return;
    }
    if (message.kind === "unloadable") {
      const { code } = message;
      this.#unloadable = code === undefined ? new Error(message.message) : new EngineLoadError(message.message, code);
      return;
    }
    if (message.kind === "pong") {
      this.#lastPong = performance.now();
      this.status = message.status;
      this.emit("pong", message.number, message.status);
    } else if (message.kind === "ready") {
      this.#info = message.info;
      this.#isReady = true;
      this.#failures = 0;
      this.#lastPong = performance.now();
      this.emit("ready");
    } else {
      const pending = this.#tasks.get(message.id);
      if (pending === undefined) return; // its reader has left
      if (message.kind === "event") pending.events.push(message.event);
      else pending.end = message.kind === "done" ? { value: message.value } : { error: message.error };
      pending.wake?.();
    }
  }

  #onExit(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (child !== this.#child) return;
    clearInterval(this.#pinger);
    const wasReady = this.#isReady;
    this.#isReady = false;
    this.status = undefined;
    for (const pending of this.#tasks.values()) {
      pending.end ??= { error: this.#isClosed ? shutDown : crashed };
      pending.wake?.();
    }
    const last = this.#errors
      .trim()
      .split("\n")
      .findLast((line) => /error|assert/i.test(line) && !/^\s+at /.test(line)); // lines of a stack name functions
    const reason =
      this.#silence ?? this.#unloadable?.message ?? last?.trim() ?? `the engine's process ended with ${signal ?? `code ${code}`}`;
    const neverRan = this.#info === undefined && this.#failures === 0 && !wasReady; // and is not started again
    if (neverRan)
      this.#refusal = this.#unloadable ?? new Error(reason); // told by `ready`
    else if (!this.#isClosed) {
      this.lastCrash = { at: new Date().toISOString(), reason };
      this.#options.onLog?.(`engine: ended: ${reason}`);
    }
    this.emit("down", reason);
    if (this.#isClosed || neverRan) return;
    this.restarts += 1;
    const delayMs = wasReady ? 0 : Math.min(100 * 2 ** this.#failures, 5000);
    this.#failures += 1;
    this.#restarter = setTimeout(() => this.#start(), delayMs);
  }
}
