// A server in a process of its own, for the soak: its clients must not make it slow. Speaks over Node's channel between processes.
import { serve } from "../../src/server/index.ts";
import { execArgv } from "./child-of-tests.ts";

export interface SoakReport {
  readonly restarts: number;
  readonly restartMs: readonly number[];
  readonly healthMs: readonly number[];
  readonly refusalMs: readonly number[];
  /** While nothing was killed: bytes of the engine's process and of this one. */
  readonly memory: readonly { readonly ms: number; readonly child: number; readonly parent: number }[];
  /** The most answers at once that waited for their readers, and bytes of such answers that were put aside. */
  readonly mostUnread: number;
  readonly mostAsideBytes: number;
  readonly isIdle: boolean;
}

const options = JSON.parse(process.argv[2]!) as object;
const refusalMs: number[] = [];
const healthMs: number[] = [];
const restartMs: number[] = [];
const memory: SoakReport["memory"][number][] = [];
let isKilling = false;
let [mostUnread, mostAsideBytes] = [0, 0];
const server = await serve({
  ...{ port: 0, execArgv, heartbeatMs: 120_000, ...options },
  onRequest: ({ status, code, ms }) => {
    if (status === 429 && code === "too_many_requests") refusalMs.push(ms);
  },
});
setInterval(async () => {
  const at = performance.now();
  const response = await fetch(`${server.url}/health`);
  await response.text();
  healthMs.push(performance.now() - at);
}, 50);
setInterval(async () => {
  if (!server.engine.isReady) return;
  const status = await server.engine.ping().catch(() => undefined); // it was killed meanwhile
  if (status === undefined) return;
  mostUnread = Math.max(mostUnread, status.unread);
  mostAsideBytes = Math.max(mostAsideBytes, status.asideBytes);
  if (restartMs.length === 0 && !isKilling)
    memory.push({ ms: performance.now(), child: status.residentBytes, parent: process.memoryUsage.rss() });
}, 250);
process.on("disconnect", () => process.exit(0));
process.on("message", async (command: "kill" | "report") => {
  if (command === "kill") {
    isKilling = true;
    const at = performance.now();
    const down = new Promise((resolve) => server.engine.once("down", resolve));
    process.kill(server.engine.pid!, "SIGKILL");
    await down;
    await server.engine.ready();
    restartMs.push(performance.now() - at - server.engine.info!.loadMs);
    process.send!("killed");
  } else {
    const { running, queued, streamsUsed } = await server.engine.ping();
    const isIdle = running === 0 && queued === 0 && streamsUsed === 0;
    process.send!({
      restarts: server.engine.restarts,
      restartMs,
      healthMs,
      refusalMs,
      memory,
      mostUnread,
      mostAsideBytes,
      isIdle,
    } satisfies SoakReport);
  }
});
process.send!({ url: server.url });
