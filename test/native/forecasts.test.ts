import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { forecast, loadTable } from "../../src/forecasting/index.ts";
import { errorAnswer } from "../../src/server/answer-schemas.ts";
import { EngineClient } from "../../src/server/engine-client.ts";
import { forecastAnswer, forecastEvent } from "../../src/server/forecast-schemas.ts";
import type { RequestLog } from "../../src/server/request-record.ts";
import { listenOn, type ServeOptions } from "../../src/server/serve.ts";
import { execArgv } from "../support/child-of-tests.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// Forecasts over HTTP, beside an engine on a tiny checkpoint.

const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
let engine: EngineClient;
beforeAll(async () => {
  await writeTinyChatModel(path);
  engine = new EngineClient(
    { model: path, load: { threads: 1, context: 1024, cacheBytes: 2 ** 26 }, maxTokens: 20_000, maxAsideBytes: 2 ** 30, unreadMs: 30_000 },
    { execArgv },
  );
  await engine.ready();
});
afterAll(async () => {
  await engine?.close();
  folder[Symbol.dispose]();
});

const logs: RequestLog[] = [];
async function face(options: Omit<ServeOptions, "model" | "load"> = {}) {
  const { url, admission, forecasts, stop } = await listenOn(engine, { port: 0, execArgv, onRequest: (log) => logs.push(log), ...options });
  const post = (body: unknown, { path = "/v1/forecasts", ...init }: RequestInit & { path?: string } = {}) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
    });
  return { url, admission, forecasts, post, [Symbol.asyncDispose]: () => stop(0) };
}
const until = async (isSo: () => boolean | Promise<boolean>) => {
  while (!(await isSo())) await new Promise((done) => setTimeout(done, 5));
};
const refusal = async (response: Response) => {
  const body = (await response.json()) as { error: { code: string; param: string | null; message: string } };
  expect(errorAnswer.safeParse(body).error?.issues).toBeUndefined();
  return [response.status, body.error.code, body.error.param] as const;
};

const day = (index: number) => new Date(Date.UTC(2024, 0, 1 + index)).toISOString().slice(0, 10);
const rows = ["north", "south"].flatMap((shop, at) =>
  Array.from({ length: 70 }, (_, index) => ({ day: day(index), shop, sold: 20 + 5 * at + (index % 7) + ((index * 13) % 5) })),
);
const text = `day,shop,sold\n${rows.map(({ day, shop, sold }) => `${day},${shop},${sold}`).join("\n")}\n`;
const task = { horizon: 7, levels: [50, 90], model: ["naive", "seasonal-naive", "drift", "theta"], windows: 4 };
/** Takes seconds: an autoregression of high order, fitted again at every origin. */
const long = {
  text: `value\n${Array.from({ length: 6000 }, (_, index) => Math.sin(index / 9) + ((index * 7919) % 101) / 101).join("\n")}\n`,
  ...{ horizon: 200, model: "ar", parameters: { order: 400 }, windows: 400, stride: 1, refit: 1 },
};

test("rows and text give what the library gives, and the answer's form is the published one", async () => {
  await using server = await face();
  for (const table of [{ text }, { rows }]) {
    const response = await server.post({ ...task, ...table, name: "sales" });
    expect([response.status, response.headers.get("x-request-id")]).toEqual([200, expect.stringMatching(/./)]);
    const answer = await response.json();
    const { series: _, fitted: __, ...expected } = await forecast(rows, { ...task, name: "sales" });
    const { understood: given, ...rest } = answer as typeof expected;
    const { understood, ...expectedRest } = JSON.parse(JSON.stringify(expected)) as typeof expected;
    expect(rest).toEqual(expectedRest);
    expect([given.source.name, given.series, given.targets]).toEqual(["sales", understood.series, understood.targets]);
    expect(forecastAnswer.safeParse(answer).error?.issues).toBeUndefined();
  }
});

test("a stream says what was understood, how far the work is, and the same answer", async () => {
  await using server = await face();
  const whole = await (await server.post({ ...task, text })).json();
  const lines = (await (await server.post({ ...task, text, stream: true })).text()).split("\n").filter((line) => line.startsWith("data: "));
  expect(lines.pop()).toBe("data: [DONE]");
  const events = lines.map((line) => JSON.parse(line.slice(6)) as Record<string, unknown>);
  for (const event of events) expect(forecastEvent.safeParse(event).error?.issues).toBeUndefined();
  expect(Object.keys(events[0]!)).toEqual(["understood"]);
  expect(events.some((event) => "progress" in event)).toBe(true);
  expect(events.at(-1)).toEqual({ answer: whole });
});

test("a table is shown as it is read, the last steps of each series", async () => {
  await using server = await face();
  const given = (await (await server.post({ text, last: 5 }, { path: "/v1/forecasts/table" })).json()) as {
    series: { series: string; time: string[]; values: number[] }[];
  };
  const { series } = await loadTable(rows);
  expect(given.series.map(({ series: id, values }) => [id, values])).toEqual(series.map(({ id, values }) => [id, [...values.slice(-5)]]));
  expect(given.series[0]!.time).toEqual([65, 66, 67, 68, 69].map(day));
  const several = await server.post(
    { text: "day,shop,a,b\n2024-01-01,n,1,2\n2024-01-01,s,2,2\n2024-01-02,n,3,4\n2024-01-02,s,1,4\n" },
    { path: "/v1/forecasts/table" },
  );
  expect([several.status, await several.json()]).toEqual([
    200,
    {
      columns: ["day", "shop", "a", "b"],
      series: [],
      problem: { code: "invalid_value", message: expect.stringContaining('"a", "b"'), param: "target" },
    },
  ]);
  const gap = await server.post({ rows: [1, null, 3].map((sold, at) => ({ day: day(at), sold })) }, { path: "/v1/forecasts/table" });
  expect(((await gap.json()) as typeof given).series[0]!.values).toEqual([1, null, 3]);
});

test("what is wrong with a request is said by name", async () => {
  await using server = await face({ maxForecastRows: 100, maxForecastSeries: 1, maxForecastHorizon: 50, maxForecastBytes: 20_000 });
  const ask = async (body: unknown, path = "/v1/forecasts") => refusal(await server.post(body, { path }));
  const few = { rows: rows.slice(0, 60) };
  expect(await ask({ horizon: 3 })).toEqual([400, "invalid_value", "rows"]);
  expect(await ask({ ...few, text, horizon: 3 })).toEqual([400, "invalid_value", "rows"]);
  expect(await ask(few)).toEqual([400, "invalid_value", "horizon"]);
  expect(await ask({ ...few, horizon: 51 })).toEqual([400, "invalid_value", "horizon"]);
  expect(await ask({ ...few, horizon: 1.5 })).toEqual([400, "invalid_value", "horizon"]);
  expect(await ask({ ...few, horizon: 3, horizons: 3 })).toEqual([400, "unknown_parameter", "horizons"]);
  expect(await ask({ ...few, horizon: 3, model: "oracle" })).toEqual([400, "invalid_value", "model"]);
  // no request names a file of the server's, nor starts a training
  expect(await ask({ ...few, horizon: 3, model: "autotimes", parameters: { languageModel: "/etc/passwd" } })).toEqual([
    ...[400, "invalid_value", "model"],
  ]);
  expect(await ask({ ...few, horizon: 3, model: ["naive", "autotimes"] })).toEqual([400, "invalid_value", "model"]);
  expect(await ask({ ...few, horizon: 3, target: "price" })).toEqual([400, "invalid_value", "target"]);
  expect(await ask({ ...few, horizon: 3, model: "ar", parameters: { order: -1 } })).toEqual([400, "invalid_value", "parameters.order"]);
  expect(await ask({ ...few, horizon: 3, levels: [80, 80] })).toEqual([400, "invalid_value", "levels"]);
  expect(await ask({ text: "day,sold\n2024-01-01,12\n2024-01-02,many\n", horizon: 1 })).toEqual([400, "invalid_table", "text"]);
  expect(await ask({ text: "", horizon: 1 })).toEqual([400, "invalid_value", "text"]);
  expect(await ask({ rows, horizon: 3 })).toEqual([413, "too_many_rows", "rows"]);
  expect(await ask({ text, horizon: 3 })).toEqual([413, "too_many_rows", "text"]);
  expect(await ask({ rows: rows.slice(20, 120), horizon: 3 })).toEqual([413, "too_many_series", "rows"]);
  expect(await ask({ rows: rows.slice(20, 120) }, "/v1/forecasts/table")).toEqual([413, "too_many_series", "rows"]);
  expect(await ask({ text: "a".repeat(20_001), horizon: 3 })).toEqual([413, "body_too_large", null]);
  expect(await ask("{")).toEqual([400, "invalid_json", null]);
  expect(await ask("[]")).toEqual([400, "invalid_body", null]);
  expect(await ask({ text: "/etc/passwd", horizon: 1 })).toEqual([400, "invalid_table", "text"]); // a table of no rows, not a file
  expect((await server.post({ ...few, horizon: 3, model: "drift" })).status).toBe(200);
  expect(server.forecasts.processes).toBe(1); // refused ones end no process
});

test("keys, metrics and logs are as everywhere", async () => {
  await using server = await face({ apiKeys: ["secret"] });
  expect(await refusal(await server.post({ ...task, text }))).toEqual([401, "invalid_api_key", null]);
  const headers = { authorization: "Bearer secret", "x-request-id": "forecast-1" };
  const response = await server.post({ ...task, text }, { headers });
  expect([response.status, response.headers.get("x-request-id")]).toEqual([200, "forecast-1"]);
  await response.text();
  await server.post({ text: "x", horizon: 1 }, { headers: { ...headers, "x-request-id": "forecast-2" } });
  await until(() => logs.some(({ id }) => id === "forecast-2"));
  expect(logs.find(({ id }) => id === "forecast-1")).toMatchObject({ path: "/v1/forecasts", status: 200 });
  expect(logs.find(({ id }) => id === "forecast-2")).toMatchObject({ status: 400, code: "invalid_table" });
  const metrics = await (await fetch(`${server.url}/metrics`, { headers })).text();
  expect(metrics).toContain('chainrule:forecasts_total{outcome="done"} 1');
  expect(metrics).toContain('chainrule:forecasts_total{outcome="error"} 1');
  expect(metrics).toContain("chainrule:forecast_seconds_count 1");
  const models = (await (await fetch(`${server.url}/v1/forecasts/models`, { headers })).json()) as { name: string; isOnRequest: boolean }[];
  expect(models.filter(({ isOnRequest }) => !isOnRequest).map(({ name }) => name)).toContain("theta");
  expect(models.map(({ name }) => name)).not.toContain("autotimes");
});

describe("a client that leaves", () => {
  test.each([false, true])(
    "while its forecast is computed, streaming %s: the process ends, and the next request has its answer",
    async (stream) => {
      await using server = await face();
      const controller = new AbortController();
      const id = `left-${stream}`;
      const answer = server
        .post({ ...long, stream }, { signal: controller.signal, headers: { "x-request-id": id } })
        .then((response) => response.text());
      answer.catch(() => undefined);
      await until(() => server.forecasts.processes === 1);
      await new Promise((done) => setTimeout(done, stream ? 2000 : 200));
      controller.abort();
      await expect(answer).rejects.toThrow();
      await until(() => server.admission.size === 0 && server.forecasts.processes === 0);
      await until(() => logs.some((log) => log.id === id));
      expect(logs.find((log) => log.id === id)).toMatchObject({ status: 499, code: "client_left" });
      expect((await server.post({ ...task, text })).status).toBe(200);
    },
  );

  test("while it waits for its turn: no process hears of it", async () => {
    await using server = await face({ maxForecasts: 1 });
    const [first, second] = [new AbortController(), new AbortController()];
    const running = server.post(long, { signal: first.signal }).catch(() => undefined);
    await until(() => server.forecasts.admission.running === 1);
    const waiting = server.post(long, { signal: second.signal }).catch(() => "left");
    await until(() => server.forecasts.admission.waiting === 1);
    second.abort();
    expect(await waiting).toBe("left");
    await until(() => server.forecasts.admission.waiting === 0);
    expect(server.forecasts.processes).toBe(1);
    first.abort();
    await running;
    await until(() => server.forecasts.processes === 0);
  });
});

test("two at once have their own answers; a third waits, or is refused when it waits too long", async () => {
  await using server = await face({ maxForecasts: 2, queueMs: 300 });
  const half = (shop: string) => ({ ...task, rows: rows.filter((row) => row.shop === shop) });
  const answers = await Promise.all(
    ["north", "south"].map(async (shop) => (await (await server.post(half(shop))).json()) as { forecasts: { mean: number[] }[] }),
  );
  for (const [index, shop] of ["north", "south"].entries()) {
    const { forecasts } = await forecast(half(shop).rows, task);
    expect(answers[index]!.forecasts).toEqual(JSON.parse(JSON.stringify(forecasts)));
  }
  const controller = new AbortController();
  const running = [long, long].map((body) => server.post(body, { signal: controller.signal }).catch(() => undefined));
  await until(() => server.forecasts.admission.running === 2);
  expect(await refusal(await server.post({ ...task, text }))).toEqual([503, "queue_timeout", null]);
  controller.abort();
  await Promise.all(running);
});

test("a forecast beside it neither stops tokens nor the server's own answers", async () => {
  await using server = await face();
  const controller = new AbortController();
  const running = server.post(long, { signal: controller.signal }).catch(() => undefined);
  await until(() => server.forecasts.admission.running === 1);
  const completion = { prompt: "The quick", max_tokens: 200, temperature: 0, chainrule: { ignoreEndTokens: true } };
  const answered = (await (await server.post(completion, { path: "/v1/completions" })).json()) as { usage: { completion_tokens: number } };
  expect(answered.usage.completion_tokens).toBe(200);
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  expect(server.forecasts.admission.running).toBe(1); // still at work, and not in the way
  controller.abort();
  await running;
});

test("a forecast has its time, after which its process ends and its place is free", async () => {
  await using server = await face({ totalMs: 2000 });
  expect(await refusal(await server.post(long))).toEqual([504, "total_timeout", null]);
  await until(() => server.forecasts.processes === 0 && server.forecasts.admission.running === 0);
});

test("a process that dies fails its request alone", async () => {
  await using server = await face();
  const crashing = server.post(long);
  await until(() => server.forecasts.admission.running === 1);
  server.forecasts.crash();
  expect(await refusal(await crashing)).toEqual([500, "forecast_crashed", null]);
  expect((await server.post({ ...task, text })).status).toBe(200);
});

test("odd bodies are answered or refused, never a 5xx; the server goes on", async () => {
  await using server = await face();
  const word = fc.oneof(
    fc.constantFrom("", "NaN", "1e308", "-1e308", "2024-01-01", "01/02/2024", "x", '"', "1,5", "\u0000", "__proto__"),
    fc.string(),
  );
  const cell = fc.oneof(word, fc.double(), fc.boolean(), fc.constant(null));
  const table = fc.oneof(
    fc.record({ rows: fc.array(fc.dictionary(word, cell, { maxKeys: 4 }), { maxLength: 8 }) }),
    fc.record({
      text: fc
        .array(
          fc.array(word, { maxLength: 4 }).map((cells) => cells.join(",")),
          { maxLength: 8 },
        )
        .map((lines) => lines.join("\n")),
    }),
    fc.record({ rows: fc.constant(rows.slice(0, 40)) }),
  );
  const options = fc.record(
    {
      horizon: fc.oneof(fc.integer({ min: -1, max: 12 }), cell),
      model: fc.oneof(fc.constantFrom("auto", "naive", "theta", "ar"), word),
      levels: fc.array(fc.oneof(fc.constantFrom(50, 80, 100, 0), fc.double()), { maxLength: 3 }),
      target: word,
      time: fc.oneof(word, fc.constant("day")),
      id: fc.oneof(word, fc.constant("shop")),
      frequency: fc.oneof(fc.constantFrom("daily", "15min", "1ms"), word),
      seasonalPeriod: fc.oneof(fc.integer({ min: -1, max: 40 }), cell),
      timeZone: fc.oneof(fc.constantFrom("Europe/Berlin", "UTC"), word),
      parameters: fc.dictionary(fc.oneof(fc.constantFrom("order", "window"), word), cell, { maxKeys: 2 }),
      windows: fc.integer({ min: 0, max: 5 }),
      stream: fc.oneof(fc.boolean(), cell),
    },
    { requiredKeys: ["horizon"] },
  );
  await fc.assert(
    fc.asyncProperty(table, options, async (one, more) => {
      const response = await server.post({ ...one, ...more });
      expect([200, 400, 413]).toContain(response.status);
      const body = await response.text();
      if (response.status !== 200) expect(errorAnswer.safeParse(JSON.parse(body)).success).toBe(true);
      else if (response.headers.get("content-type") === "application/json") {
        const { forecasts } = JSON.parse(body) as { forecasts: { mean: unknown[] }[] };
        for (const { mean } of forecasts) expect(mean.every(Number.isFinite)).toBe(true);
      }
    }),
    { numRuns: process.env.CHAINRULE_SOAK ? 10_000 : 300 },
  );
  expect((await server.post({ ...task, text })).status).toBe(200);
});
