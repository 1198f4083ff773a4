/** A worker of `createPool`: one job in, one answer out. */
import { parentPort } from "node:worker_threads";
import { type Job, runJob } from "./jobs.ts";

parentPort?.on("message", async (job: Job) => {
  try {
    parentPort!.postMessage({ result: await runJob(job) });
  } catch (error) {
    parentPort!.postMessage({ error });
  }
});
