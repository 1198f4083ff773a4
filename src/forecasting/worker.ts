/** A worker of `createPool`: one job in, its progress and one answer out. */
import { parentPort } from "node:worker_threads";
import { type Job, runJob } from "./jobs.ts";
import type { FromWorker } from "./pool.ts";
import type { FitProgress } from "./types.ts";
import { toWire } from "./wire-error.ts";

const send = (message: FromWorker) => parentPort!.postMessage(message);

parentPort?.on("message", async (job: Job) => {
  try {
    send({ result: await runJob(job, { onProgress: (progress: FitProgress) => send({ progress }) }) });
  } catch (error) {
    send({ error: toWire(error) });
  }
});
