/** A process of `createPool`: one job in, its progress and one answer out. */
import { type Job, runJob } from "./jobs.ts";
import type { FromWorker } from "./pool.ts";
import type { FitProgress } from "./types.ts";
import { toWire } from "./wire-error.ts";

const parent = process.ppid;
/** An answer that finds nobody is no error: the parent is gone, and `disconnect` follows. */
const send = (message: FromWorker) => process.send?.(message, undefined, undefined, () => {});

process.on("disconnect", () => process.exit());
process.on("SIGINT", () => {}); // Ctrl-C goes to all processes of a terminal; the parent ends its own, after it has said why
process.on("message", async (job: Job) => {
  const onProgress = (progress: FitProgress) => {
    if (process.ppid !== parent) process.exit(); // a training may not let the event loop tell it for minutes
    send({ progress });
  };
  try {
    send({ result: await runJob(job, { onProgress }) });
  } catch (error) {
    send({ error: toWire(error) });
  }
});
