import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { ifAbsent } from "./store.ts";

/**
 * A lock between processes, in files alone. Claims on a lock are numbered: `<name>.1`, `<name>.2`, … The highest one counts. It is *open*
 * when its owner has let go of it (the file then says so) or has died; whoever creates the next number then owns the lock. Numbers
 * only grow and the highest is never deleted, so a process that has slept between looking and claiming finds the number taken, or a
 * higher one beside its own, and starts over. (Deleting a dead owner's lock file instead would let a sleeper delete its successor's.)
 */
interface Claim {
  readonly state: "held" | "released";
  readonly pid: number;
  /** tells this process from a later one with the same id; absent where the system doesn't say */
  readonly startedAt?: string;
  readonly host: string;
}

export interface LockOptions {
  /** told once who holds the lock, before waiting: "process 1234" */
  readonly onWait?: ((owner: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const pollMs = 200;
const heartbeatMs = 10_000;
/** An owner on another machine (or in another container) can't be asked whether it lives; it is given up when it hasn't touched its file. */
const silentMs = 12 * heartbeatMs;

/**
 * Runs `work` while this process holds the lock `name` in `folder`, waiting for another's work to end first.
 *
 * @throws the signal's reason, if it is aborted while waiting
 */
export async function withLock<T>(folder: string, name: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  await mkdir(folder, { recursive: true });
  const path = await acquire(folder, name, options);
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {}); // a missed beat is made good by the next
  }, heartbeatMs);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await writeFile(path, await claimText("released"));
  }
}

async function acquire(folder: string, name: string, { onWait, signal }: LockOptions): Promise<string> {
  let hasWaited = false;
  for (;;) {
    signal?.throwIfAborted();
    const numbers = await claimNumbers(folder, name);
    const highest = numbers.at(-1) ?? 0;
    const holder = highest === 0 ? undefined : await livingHolder(join(folder, `${name}.${highest}`));
    if (holder !== undefined) {
      if (!hasWaited) onWait?.(holder);
      hasWaited = true;
      await delay(pollMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
      continue;
    }
    const path = join(folder, `${name}.${highest + 1}`);
    if (!(await create(path, await claimText("held")))) continue;
    if ((await claimNumbers(folder, name)).at(-1) !== highest + 1) {
      await rm(path);
      continue;
    }
    for (const number of numbers) await rm(join(folder, `${name}.${number}`), { force: true });
    return path;
  }
}

async function claimNumbers(folder: string, name: string): Promise<readonly number[]> {
  const prefix = `${name}.`;
  const tails = (await readdir(folder)).filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
  return tails
    .filter((tail) => /^[1-9][0-9]*$/.test(tail))
    .map(Number)
    .sort((a, b) => a - b);
}

async function claimText(state: Claim["state"]): Promise<string> {
  const startedAt = await processStart(process.pid);
  return JSON.stringify({ state, pid: process.pid, ...(startedAt === undefined ? {} : { startedAt }), host: hostname() } satisfies Claim);
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Who holds the claim at `path`, in words, or undefined if it is open. */
async function livingHolder(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch(ifAbsent(undefined));
  if (text === undefined) return undefined;
  const claim = parseClaim(text);
  if (claim?.state === "released") return undefined;
  if (claim === undefined || claim.host !== hostname()) {
    const touchedAtMs = await stat(path).then((stats) => stats.mtimeMs, ifAbsent(Number.NEGATIVE_INFINITY));
    if (Date.now() - touchedAtMs > silentMs) return undefined;
    return claim === undefined ? "another process" : `process ${claim.pid} on ${claim.host}`;
  }
  if (!isAlive(claim.pid)) return undefined;
  const startedAt = await processStart(claim.pid);
  if (claim.startedAt !== undefined && startedAt !== undefined && claim.startedAt !== startedAt) return undefined;
  return `process ${claim.pid}`;
}

/** Undefined for a claim that is just being written, or whose writer died doing so. */
function parseClaim(text: string): Claim | undefined {
  try {
    return JSON.parse(text) as Claim;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // there is such a process, of another user
  }
}

/**
 * When a process began, as a text that no other process of that id has had; undefined where the system doesn't say.
 * Linux: clock ticks since boot and the boot's id (proc(5), stat field 22). macOS: what `ps` says. Windows: nothing cheap.
 */
export async function processStart(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const line = await readFile(`/proc/${pid}/stat`, "utf8").catch(ifAbsent(undefined));
    if (line === undefined) return undefined;
    // The second field is the program's name in parentheses and may hold anything; count from the last ")".
    const ticks = line.slice(line.lastIndexOf(")") + 2).split(" ")[19];
    return `${(await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim()} ${ticks}`;
  }
  if (process.platform === "win32") return undefined;
  const { stdout } = await promisify(execFile)("ps", ["-o", "lstart=", "-p", String(pid)]).catch(() => ({ stdout: "" }));
  return stdout.trim() || undefined;
}
