import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type Job, type JobHooks, type JobResult, runJob } from "./jobs.ts";
import type { FitProgress } from "./types.ts";
import { fromWire, type WireError } from "./wire-error.ts";

/** Runs jobs one after another here, or side by side in workers. */
export interface Pool extends AsyncDisposable {
  readonly size: number;
  /** @param hooks  of the fits; of a worker's only progress and the signal, which ends the wait: the worker ends with the pool */
  run<K extends Job["kind"]>(job: Extract<Job, { kind: K }>, hooks?: JobHooks): Promise<JobResult[K]>;
}

/** What a worker answers: any number of times how far it is, then once the rest. */
export type FromWorker = { readonly progress: FitProgress } | { readonly result: JobResult[Job["kind"]] } | { readonly error: WireError };

const compiled = { url: new URL("./worker.js", import.meta.url), execArgv: [] as readonly string[] };

/**
 * @param size    workers; 0 computes on the calling thread, one job per turn of the event loop
 * @param source  what a worker runs, for tests
 */
export function createPool(size: number, source = compiled): Pool {
  if (size === 0) {
    return {
      size: 0,
      async run(job, hooks = {}) {
        await new Promise((resolve) => setImmediate(resolve));
        hooks.signal?.throwIfAborted();
        return await runJob(job, hooks);
      },
      async [Symbol.asyncDispose]() {},
    };
  }
  const workers = Array.from({ length: size }, () => new Worker(source.url, { execArgv: [...source.execArgv] }));
  const idle = [...workers];
  const waiting: ((worker: Worker) => void)[] = [];
  const release = (worker: Worker) => {
    const next = waiting.shift();
    if (next === undefined) idle.push(worker);
    else next(worker);
  };
  return {
    size,
    async run(job, hooks = {}) {
      const worker = idle.pop() ?? (await new Promise<Worker>((resolve) => waiting.push(resolve)));
      try {
        hooks.signal?.throwIfAborted();
        return await ask(worker, job, hooks);
      } finally {
        release(worker);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

/** Workers start from compiled code only: Node 20 runs no TypeScript. */
export const canStartWorkers = extname(import.meta.url) === ".js";

function ask<K extends Job["kind"]>(
  worker: Worker,
  job: Extract<Job, { kind: K }>,
  { signal, onProgress }: JobHooks,
): Promise<JobResult[K]> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      signal?.removeEventListener("abort", onAbort);
      act();
    };
    const onMessage = (message: FromWorker) => {
      if ("progress" in message) onProgress?.(message.progress);
      else settle(() => ("error" in message ? reject(fromWire(message.error)) : resolve(message.result as JobResult[K])));
    };
    const onError = (error: Error) => settle(() => reject(error));
    const onExit = (code: number) => settle(() => reject(new Error(`internal: a forecasting worker ended with code ${code}`)));
    const onAbort = () => settle(() => reject(signal!.reason));
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    signal?.addEventListener("abort", onAbort);
    worker.postMessage(job);
  });
}
