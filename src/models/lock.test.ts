import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { processStart, withLock } from "./lock.ts";
import { nextMessage, startWorker } from "./testing/worker.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "chainrule-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Whether the lock can be had now. A refusal shows as a wait, which is then given up. */
async function isFree(): Promise<boolean> {
  const giveUp = new AbortController();
  return withLock(folder, "m", { onWait: () => giveUp.abort(), signal: giveUp.signal }, async () => true).catch((error: Error) => {
    if (error.name !== "AbortError") throw error;
    return false;
  });
}

test("two processes that want a lock many times are never inside together", { timeout: 60_000 }, async () => {
  const rounds = 8; // a wait is up to 0.2 s
  const workers = [0, 1].map(() => startWorker("lock-worker", folder, "m", String(rounds)));
  expect(await Promise.all(workers.map(nextMessage))).toEqual([rounds, rounds]);
  expect(readdirSync(folder)).toHaveLength(1); // the last claim, released: numbers only grow
});

test("calls within one process wait for each other, and the owner is named to the one that waits", async () => {
  const order: string[] = [];
  const owners: string[] = [];
  const call = (name: string) =>
    withLock(folder, "m", { onWait: (owner) => owners.push(owner) }, async () => {
      order.push(`${name} in`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      order.push(`${name} out`);
    });
  await Promise.all([call("a"), call("b")]);
  expect(order.map((line) => line.slice(2))).toEqual(["in", "out", "in", "out"]);
  expect(owners).toEqual([`process ${process.pid}`]);
});

test("a lock is let go when its work throws, and other names are not touched by it", async () => {
  await expect(withLock(folder, "m", {}, () => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  expect(await isFree()).toBe(true);
  await withLock(folder, "other", {}, async () => expect(await isFree()).toBe(true));
});

test("the lock of a killed process is taken over; while it lives it is not", { timeout: 60_000 }, async () => {
  const worker = startWorker("lock-worker", folder, "m", "0");
  expect(await nextMessage(worker)).toBe("inside");
  expect(await isFree()).toBe(false);
  worker.kill("SIGKILL");
  await once(worker, "exit");
  expect(await isFree()).toBe(true);
});

const claim = (fields: object) =>
  writeFileSync(join(folder, "m.7"), JSON.stringify({ state: "held", pid: process.pid, host: hostname(), ...fields }));

test.skipIf(process.platform === "win32")(
  "a claim of an earlier process with the same id is stale: its start tells them apart",
  async () => {
    claim({ startedAt: await processStart(process.pid) });
    expect(await isFree()).toBe(false);
    claim({ startedAt: "another boot 123" });
    expect(await isFree()).toBe(true);
  },
);

test("a claim from another machine, or one cut while it was written, counts until it has been silent for two minutes", async () => {
  for (const write of [() => claim({ host: "elsewhere", pid: 1 }), () => writeFileSync(join(folder, "m.7"), '{"state":')]) {
    write();
    expect(await isFree()).toBe(false);
    const past = new Date(Date.now() - 121_000);
    utimesSync(join(folder, "m.7"), past, past);
    expect(await isFree()).toBe(true);
    rmSync(folder, { recursive: true });
    folder = mkdtempSync(join(tmpdir(), "chainrule-lock-"));
  }
});

test("waiting ends with the signal's reason", async () => {
  claim({ startedAt: await processStart(process.pid) });
  const reason = new Error("enough");
  const controller = new AbortController();
  const wait = withLock(folder, "m", { signal: controller.signal, onWait: () => controller.abort(reason) }, async () => {});
  await expect(wait).rejects.toBe(reason);
});
