import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** A worker of the tests in a process of its own. */
export function startWorker(name: "lock-worker" | "pull-worker", ...args: string[]): ChildProcess {
  const loader = new URL("./typescript.mjs", import.meta.url).href;
  return fork(fileURLToPath(new URL(`./${name}.ts`, import.meta.url)), args, { execArgv: ["--import", loader] });
}

/** The next message of a worker. @throws if it ends instead */
export async function nextMessage(worker: ChildProcess): Promise<unknown> {
  const ended = once(worker, "exit").then(([code, signal]) => {
    throw new Error(`the worker ended: ${code ?? signal}`);
  });
  return (await Promise.race([once(worker, "message"), ended]))[0];
}
