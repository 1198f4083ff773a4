import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { FormatError, OptionError } from "../errors.ts";
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
  const [there, expected] = await Promise.all([pool, here].map((one) => Promise.all(jobs.map((job) => one.run(job)))));
  expect(there).toEqual(expected);
});

test("an error in a worker has its class, its code and its facts, and the worker goes on", async () => {
  await using pool = createPool(1, source);
  const failed = pool.run(fit([{ name: "ar-net", parameters: { order: 1000 } }]));
  await expect(failed).rejects.toThrow(OptionError);
  await expect(failed).rejects.toMatchObject({
    ...{ code: "OPTION", option: "order", name: "OptionError" },
    message: "order: 1000 lags need 1002 values, the history has 60",
  });
  await expect(pool.run(fit([{ name: "ridge", parameters: {} }], [{ values: values.slice(0, 1), seasonalPeriod: 1 }]))).rejects.toThrow(
    RangeError,
  );
  expect(await pool.run(fit([{ name: "naive", parameters: {} }]))).toHaveLength(1);
});

test("a worker's training tells how far it is; an abort doesn't wait for its end", async () => {
  const pool = createPool(1, source);
  const controller = new AbortController();
  const endless = fit([{ name: "ar-net", parameters: { epochs: 1e6 } }]);
  const running = pool.run(endless, { signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) });
  await expect(running).rejects.toThrow("enough");
  await pool[Symbol.asyncDispose]();
});

test("errors survive the way whatever they are", () => {
  const format = new FormatError("sales.csv", "has no rows", { offset: 3 });
  const back = fromWire(structuredClone(toWire(format)));
  expect(back).toBeInstanceOf(FormatError);
  expect(back).toMatchObject({ code: "FORMAT", file: "sales.csv", offset: 3, message: format.message, stack: format.stack });
  expect(fromWire(structuredClone(toWire(new RangeError("too short"))))).toEqual(new RangeError("too short"));
});
