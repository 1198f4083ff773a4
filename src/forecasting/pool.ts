import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type Job, type JobHooks, type JobResult, runJob } from "./jobs.ts";

/** Runs jobs one after another here, or side by side in workers. */
export interface Pool extends AsyncDisposable {
  readonly size: number;
  /** @param hooks  of the fits; a worker only asks the signal, before it begins */
  run<K extends Job["kind"]>(job: Extract<Job, { kind: K }>, hooks?: JobHooks): Promise<JobResult[K]>;
}

/** Workers start from compiled code only: Node 20 runs no TypeScript. */
export const canStartWorkers = extname(import.meta.url) === ".js";

/**
 * @param size  workers; 0 computes on the calling thread, one job per turn of the event loop
 */
export function createPool(size: number): Pool {
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
  const workers = Array.from({ length: size }, () => new Worker(new URL("./worker.js", import.meta.url)));
  const idle = [...workers];
  const waiting: ((worker: Worker) => void)[] = [];
  const release = (worker: Worker) => {
    const next = waiting.shift();
    if (next === undefined) idle.push(worker);
    else next(worker);
  };
  return {
    size,
    async run(job, { signal } = {}) {
      const worker = idle.pop() ?? (await new Promise<Worker>((resolve) => waiting.push(resolve)));
      try {
        signal?.throwIfAborted();
        return await ask(worker, job);
      } finally {
        release(worker);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

function ask<K extends Job["kind"]>(worker: Worker, job: Extract<Job, { kind: K }>): Promise<JobResult[K]> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      act();
    };
    const onMessage = (message: { result: JobResult[K] } | { error: unknown }) =>
      settle(() => ("error" in message ? reject(message.error) : resolve(message.result)));
    const onError = (error: Error) => settle(() => reject(error));
    const onExit = (code: number) => settle(() => reject(new Error(`internal: a forecasting worker ended with code ${code}`)));
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(job);
  });
}
