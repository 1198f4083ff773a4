import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { extname } from "node:path";
import { DisposedError, WorkerError } from "../errors.ts";
import { type Job, type JobHooks, type JobResult, runJob } from "./jobs.ts";
import type { FitProgress } from "./types.ts";
import { fromWire, type WireError } from "./wire-error.ts";

/** Runs jobs one after another here, or side by side in processes. */
export interface Pool extends AsyncDisposable {
  readonly size: number;
  /** Ids of those that are there. */
  readonly processes: readonly number[];
  /**
   * @param names  of the job's series, for the error of a process that dies over them
   * @param hooks  of the fits; of a process's only progress and the signal, which ends the process
   * @throws WorkerError if the process ends before it has answered; what the job throws
   */
  run<K extends Job["kind"]>(job: Extract<Job, { kind: K }>, names: readonly string[], hooks?: JobHooks): Promise<JobResult[K]>;
}

/** What a process answers: any number of times how far it is, then once the rest. */
export type FromWorker = { readonly progress: FitProgress } | { readonly result: JobResult[Job["kind"]] } | { readonly error: WireError };

const compiled = { url: new URL("./worker.js", import.meta.url), execArgv: [] as readonly string[] };

/**
 * Processes and no threads: a fit that runs out of memory or crashes in native code takes a thread's whole program along, and a process only
 * its own series. They start with the jobs that need them, and end with the pool.
 *
 * @param size    processes at most; 0 computes on the calling thread, one job per turn of the event loop
 * @param source  what a process runs, for tests
 */
export function createPool(size: number, source = compiled): Pool {
  if (size === 0) {
    return {
      size: 0,
      processes: [],
      async run(job, _names, hooks = {}) {
        await new Promise((resolve) => setImmediate(resolve));
        hooks.signal?.throwIfAborted();
        return await runJob(job, hooks);
      },
      async [Symbol.asyncDispose]() {},
    };
  }
  const workers = new Set<Worker>();
  const idle: Worker[] = [];
  const waiting: (() => void)[] = [];
  let isClosed = false;
  const start = () => {
    const stdio = ["ignore", "ignore", "pipe", "ipc"] as const;
    const child = fork(source.url, { serialization: "advanced", stdio: [...stdio], execArgv: [...source.execArgv] });
    const worker: Worker = { child, said: "" };
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      worker.said = (worker.said + text).slice(-16_384);
    });
    workers.add(worker);
    const forget = () => {
      workers.delete(worker);
      if (idle.includes(worker)) idle.splice(idle.indexOf(worker), 1);
      waiting.shift()?.();
    };
    child.once("error", forget).once("close", forget);
    return worker;
  };
  const take = async (signal: AbortSignal | undefined) => {
    while (!isClosed && idle.length === 0 && workers.size >= size) await new Promise<void>((resolve) => waiting.push(resolve));
    if (isClosed) throw new DisposedError("the pool of forecasting processes");
    signal?.throwIfAborted();
    return idle.pop() ?? start();
  };
  return {
    size,
    get processes() {
      return Array.from(workers, ({ child }) => child.pid ?? []).flat();
    },
    async run(job, names, hooks = {}) {
      const worker = await take(hooks.signal);
      try {
        return await ask(worker, job, names, hooks);
      } finally {
        if (hooks.signal?.aborted === true)
          worker.child.kill("SIGKILL"); // it goes on computing, and can't be asked to stop
        else if (workers.has(worker)) {
          idle.push(worker);
          waiting.shift()?.();
        }
      }
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      for (const wake of waiting.splice(0)) wake();
      const ends = Array.from(workers, async ({ child }) => {
        const ended = once(child, "close");
        child.kill("SIGKILL");
        await ended;
      });
      await Promise.all(ends);
    },
  };
}

/** Processes start from compiled code only: Node 20 runs no TypeScript. */
export const canStartWorkers = extname(import.meta.url) === ".js";

interface Worker {
  readonly child: ChildProcess;
  /** The end of what it wrote to its standard error, which says why it died. */
  said: string;
}

function ask<K extends Job["kind"]>(
  worker: Worker,
  job: Extract<Job, { kind: K }>,
  names: readonly string[],
  { signal, onProgress }: JobHooks,
): Promise<JobResult[K]> {
  const { child } = worker;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      child.off("message", onMessage).off("error", onError).off("close", onClose);
      signal?.removeEventListener("abort", onAbort);
      act();
    };
    const onMessage = (message: FromWorker) => {
      if ("progress" in message) onProgress?.(message.progress);
      else settle(() => ("error" in message ? reject(fromWire(message.error)) : resolve(message.result as JobResult[K])));
    };
    const onError = (cause: Error) => settle(() => reject(new WorkerError(cause.message, names, { cause })));
    const onClose = (code: number | null, killedBy: NodeJS.Signals | null) =>
      settle(() => reject(new WorkerError(reasonOf(worker.said) ?? killedBy ?? `exit code ${code}`, names)));
    const onAbort = () => settle(() => reject(signal!.reason));
    child.on("message", onMessage).on("error", onError).on("close", onClose);
    signal?.addEventListener("abort", onAbort);
    child.send?.(job, () => {}); // a message that is lost means a process that has ended or never was, which is told above
  });
}

/** What V8 or ggml says last. */
function reasonOf(said: string): string | undefined {
  if (said.includes("heap out of memory")) return "it ran out of memory; NODE_OPTIONS=--max-old-space-size=MiB gives it more";
  return /\w*(?:Error|ERROR|ASSERT)\b.*/.exec(said)?.[0];
}
