/** A worker of `createPool`: one job in, one answer out. */
import { parentPort } from "node:worker_threads";
import { type Job, runJob } from "./jobs.ts";

parentPort?.on("message", (job: Job) => {
  try {
    parentPort!.postMessage({ result: runJob(job) });
  } catch (error) {
    parentPort!.postMessage({ error });
  }
});
