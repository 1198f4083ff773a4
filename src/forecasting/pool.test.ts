import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { FormatError, OptionError, WorkerError } from "../errors.ts";
import type { Combination } from "./combination.ts";
import { createPool } from "./pool.ts";
import { fromWire, toWire } from "./wire-error.ts";

// Workers of the sources; test/models/cli.test.ts has those of the built program.
const source = {
  url: new URL("./worker.ts", import.meta.url),
  execArgv: ["--import", pathToFileURL(resolve("scripts/register-typescript.mjs")).href],
};
const values = Float64Array.from({ length: 60 }, (_, t) => 10 + (t % 7) + Math.sin(t * t));
const fit = (combination: Combination, histories = [{ values, seasonalPeriod: 7 }]) =>
  ({ kind: "fit", combination, histories, regressors: [], horizon: 3 }) as const;

test("workers give what the calling thread gives, more jobs than workers in the order asked", async () => {
  await using pool = createPool(2, source);
  await using here = createPool(0);
  const jobs = ["naive", "seasonal-naive", "drift", "theta", "ar"].map((name) => fit([{ name, parameters: {} }]));
  const [there, expected] = await Promise.all([pool, here].map((one) => Promise.all(jobs.map((job) => one.run(job, [])))));
  expect(there).toEqual(expected);
});

test("an error in a worker has its class, its code and its facts, and the worker goes on", async () => {
  await using pool = createPool(1, source);
  const failed = pool.run(fit([{ name: "ar-net", parameters: { order: 1000 } }]), []);
  await expect(failed).rejects.toThrow(OptionError);
  await expect(failed).rejects.toMatchObject({
    ...{ code: "OPTION", option: "order", name: "OptionError" },
    message: "order: 1000 lags need 1002 values, the history has 60",
  });
  await expect(pool.run(fit([{ name: "ridge", parameters: {} }], [{ values: values.slice(0, 1), seasonalPeriod: 1 }]), [])).rejects.toThrow(
    RangeError,
  );
  expect(await pool.run(fit([{ name: "naive", parameters: {} }]), [])).toHaveLength(1);
});

test("a process that dies says over which series, and the next job has another", async () => {
  await using pool = createPool(1, source);
  const endless = fit([{ name: "ar-net", parameters: { epochs: 1e6 } }]);
  const names = ["a", "b", "c", "d", "e", "f"];
  const dead = pool.run(endless, names, { onProgress: () => process.kill(pool.processes[0]!, "SIGKILL") });
  await expect(dead).rejects.toThrow(WorkerError);
  await expect(dead).rejects.toMatchObject({
    ...{ code: "WORKER", series: names },
    message: "a forecasting process ended over the series a, b, c, d, e and 1 more: SIGKILL",
  });
  expect(await pool.run(fit([{ name: "naive", parameters: {} }]), ["a"])).toHaveLength(1);
});

test("a process without memory takes only its series along", async () => {
  await using pool = createPool(1, { ...source, execArgv: [...source.execArgv, "--max-old-space-size=40"] });
  const histories = Array.from({ length: 250_000 }, () => ({ values: values.slice(0, 2), seasonalPeriod: 1 }));
  await expect(pool.run(fit([{ name: "naive", parameters: {} }], histories), ["large"])).rejects.toThrow(
    "a forecasting process ended over the series large: it ran out of memory; NODE_OPTIONS=--max-old-space-size=MiB gives it more",
  );
});

test("an abort and the end of the pool leave no process, and what waits for one starts none", async () => {
  const pool = createPool(1, source);
  const controller = new AbortController();
  const endless = fit([{ name: "ar-net", parameters: { epochs: 1e6 } }]);
  const running = pool.run(endless, [], { signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) });
  const waiting = pool.run(endless, [], { signal: controller.signal });
  await expect(running).rejects.toThrow("enough");
  await expect(waiting).rejects.toThrow("enough");
  const naive = fit([{ name: "naive", parameters: {} }]);
  const late = Promise.allSettled([pool.run(naive, []), pool.run(naive, [])]);
  await pool[Symbol.asyncDispose]();
  expect((await late).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(pool.processes).toEqual([]);
});

test("errors survive the way whatever they are", () => {
  const format = new FormatError("sales.csv", "has no rows", { offset: 3 });
  const back = fromWire(structuredClone(toWire(format)));
  expect(back).toBeInstanceOf(FormatError);
  expect(back).toMatchObject({ code: "FORMAT", file: "sales.csv", offset: 3, message: format.message, stack: format.stack });
  expect(fromWire(structuredClone(toWire(new RangeError("too short"))))).toEqual(new RangeError("too short"));
});
