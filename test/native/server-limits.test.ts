import { connect } from "node:net";
import { propagation, trace } from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planArrivals } from "../../src/cli/load-test/arrivals.ts";
import { connectTo } from "../../src/cli/load-test/client.ts";
import { loadTest } from "../../src/cli/load-test/run.ts";
import { Admission } from "../../src/server/admission.ts";
import { errorAnswer } from "../../src/server/answer-schemas.ts";
import { type AppOptions, createApp } from "../../src/server/app.ts";
import { EngineClient, TaskError } from "../../src/server/engine-client.ts";
import { Forecasts } from "../../src/server/forecasts.ts";
import { Metrics } from "../../src/server/metrics.ts";
import { endpoints } from "../../src/server/openapi.ts";
import type { RequestLog } from "../../src/server/request-record.ts";
import { listenOn, type ServeOptions } from "../../src/server/serve.ts";
import { execArgv } from "../support/child-of-tests.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// What a server does with clients that leave, wait, dawdle or crowd. One engine on a tiny checkpoint; every test gives it a face with
// limits of its own.

const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
const smallPath = `${folder.path}/small.gguf`;
const contextLength = 4096;
const options = { execArgv, heartbeatMs: 60_000 };
let engine: EngineClient;
beforeAll(async () => {
  await writeTinyChatModel(path, { contextLength, hiddenSize: 256, blocks: 4 });
  await writeTinyChatModel(smallPath, { contextLength, hiddenSize: 64, blocks: 1 });
  const load = { threads: 1, context: contextLength, cacheBytes: 2 ** 27, beside: { small: smallPath } };
  engine = new EngineClient({ model: path, load, maxTokens: 20_000, maxAsideBytes: 2 ** 30, unreadMs: 100 }, options);
  await engine.ready();
});
afterAll(async () => {
  await engine?.close();
  for (const forecasts of opened) forecasts.close();
  folder[Symbol.dispose]();
});

const logs: RequestLog[] = [];
async function face(options: Omit<ServeOptions, "model" | "load"> = {}) {
  const { url, admission, stop } = await listenOn(engine, { port: 0, onRequest: (log) => logs.push(log), ...options });
  return {
    ...{ url, admission },
    post: (body: object, init: RequestInit = {}) =>
      fetch(`${url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        ...init,
      }),
    [Symbol.asyncDispose]: () => stop(0),
  };
}
/** The routes alone, without sockets. */
function appOf(engine: EngineClient, options: AppOptions = {}) {
  const [admission, forecasts] = [new Admission(), new Forecasts({ execArgv })];
  opened.push(forecasts);
  const app = createApp(
    { engine, admission, forecasts, metrics: new Metrics(engine, admission, forecasts), isDraining: () => false },
    options,
  );
  return { app, admission };
}
const opened: Forecasts[] = [];
const errorOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code;
const until = async (isSo: () => boolean | Promise<boolean>) => {
  while (!(await isSo())) await new Promise((done) => setTimeout(done, 5));
};
const logOf = async (id: string) => {
  await until(() => logs.some((log) => log.id === id));
  return logs.find((log) => log.id === id)!;
};
/** A client that sends a request and reads no answer until it is told to. */
function lazyClient(url: string, body: object) {
  const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1", highWaterMark: 1024 } as never);
  const text = JSON.stringify(body);
  socket.write(
    `POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
  );
  return {
    async read(): Promise<string> {
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString();
    },
  };
}
const endless = { prompt: "Once", max_tokens: 3900, temperature: 0, chainrule: { ignoreEndTokens: true } };
/** Six chunks of a prompt. */
const longPrompt = { ...endless, prompt: Array.from({ length: 3000 }, (_, index) => index % 300), max_tokens: 900 };

describe("a client that leaves", () => {
  // streaming or not, the moment counts: what the engine still does is measured from when the parent has told it
  const passesAfterLeaving = async (body: object, isThere: (passes: number) => boolean) => {
    await using server = await face();
    const before = (await engine.ping()).passes;
    const controller = new AbortController();
    const answer = server.post(body, { signal: controller.signal }).then((response) => response.text());
    answer.catch(() => undefined);
    await until(async () => isThere((await engine.ping()).passes - before));
    controller.abort();
    await expect(answer).rejects.toThrow();
    await until(() => server.admission.size === 0);
    const told = await engine.ping();
    await until(async () => {
      const { running, streamsUsed } = await engine.ping();
      return running === 0 && streamsUsed === 0;
    });
    const last = await engine.ping();
    return { total: last.passes - before, after: last.passes - told.passes };
  };

  test.each([true, false])("in the answer, streaming %s: at most the pass under way is finished", async (stream) => {
    const { total, after } = await passesAfterLeaving({ ...endless, stream }, (passes) => passes > 20);
    expect(after).toBeLessThanOrEqual(1);
    expect(total).toBeLessThan(3000);
  });

  test.each([true, false])("in the prompt, streaming %s: its next chunk is not begun", async (stream) => {
    const { total, after } = await passesAfterLeaving({ ...longPrompt, stream }, (passes) => passes >= 1);
    expect(after).toBeLessThanOrEqual(1);
    expect(total).toBeLessThan(6);
  });

  test.each([true, false])("while it waits for its turn, streaming %s: the engine never hears of it", async (stream) => {
    await using server = await face({ maxRunning: 1 });
    const first = new AbortController();
    const running = server.post(endless, { signal: first.signal }).catch(() => undefined);
    await until(() => server.admission.running === 1);
    const second = new AbortController();
    const waiting = server.post({ ...endless, stream }, { signal: second.signal, headers: { "x-request-id": `queued-${stream}` } });
    waiting.catch(() => undefined);
    await until(() => server.admission.waiting === 1);
    second.abort();
    await until(() => server.admission.waiting === 0 && server.admission.size === 1);
    expect((await engine.ping()).running).toBe(1);
    expect(await logOf(`queued-${stream}`)).toMatchObject({ status: 499, code: "client_left" });
    first.abort();
    await running;
    await until(async () => (await engine.ping()).running === 0);
  });
});

describe("time limits, each its own", () => {
  test("header: the connection is closed", async () => {
    await using server = await face({ headerMs: 100 });
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.write("POST /v1/completions HTTP/1.1\r\nhost: x\r\n");
    let answer = "";
    socket.on("data", (data) => {
      answer += data;
    });
    await new Promise((resolve) => socket.once("close", resolve));
    expect(answer).toMatch(/^HTTP\/1.1 408/);
  });

  test("body: 408", async () => {
    await using server = await face({ bodyMs: 100 });
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.write('POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"prompt"');
    let answer = "";
    socket.on("data", (data) => {
      answer += data;
    });
    await until(() => answer.includes("body_timeout"));
    expect(answer).toMatch(/^HTTP\/1.1 408/);
    socket.destroy();
    await until(() => server.admission.size === 0);
  });

  test("queue: 503, and the engine has one request only", async () => {
    await using server = await face({ maxRunning: 1, queueMs: 50 });
    const controller = new AbortController();
    const running = server.post(endless, { signal: controller.signal }).catch(() => undefined);
    await until(() => server.admission.running === 1);
    const late = await server.post(endless);
    expect([late.status, late.headers.get("x-should-retry"), await errorOf(late)]).toEqual([503, "true", "queue_timeout"]);
    controller.abort();
    await running;
  });

  test("first token: 504, counted from the turn", async () => {
    await using server = await face({ firstTokenMs: 1 });
    const late = await server.post(longPrompt);
    expect([late.status, await errorOf(late)]).toEqual([504, "first_token_timeout"]);
  });

  test("the whole: 504, or an error event and no [DONE]; a reader that doesn't read is cut off", async () => {
    await using server = await face({ totalMs: 400 });
    const late = await server.post({ ...endless, max_tokens: 4000 });
    expect([late.status, await errorOf(late)]).toEqual([504, "total_timeout"]);
    const streamed = await (await server.post({ ...endless, stream: true })).text();
    expect(streamed).toMatch(/event: error\ndata: .*total_timeout/);
    expect(streamed).not.toContain("[DONE]");
    const unread = lazyClient(server.url, { ...endless, stream: true, logprobs: 20, n: 4 });
    await until(() => server.admission.size === 1);
    await until(() => server.admission.size === 0);
    await until(async () => (await engine.ping()).running === 0);
    const got = await unread.read().catch(() => "reset");
    expect(got).not.toContain("[DONE]");
  });
});

test("an answer that nobody reads stops, makes room after a while, and is whole when it is read at last", async () => {
  // without sockets, whose buffers take megabytes
  const { app, admission } = appOf(engine);
  const ask = async (more: object) =>
    app.request("/v1/completions", { method: "POST", body: JSON.stringify({ ...endless, max_tokens: 60, n: 2, ...more }) });
  const whole = (await (await ask({})).json()) as { choices: { text: string }[] };
  const before = await engine.ping();
  const response = await ask({ stream: true });
  await until(async () => {
    const { unread, streamsUsed } = await engine.ping();
    return unread === 1 && streamsUsed === 0; // after 100 ms here
  });
  const aside = await engine.ping();
  await new Promise((done) => setTimeout(done, 200));
  expect(await engine.ping()).toMatchObject({ passes: aside.passes, running: 1 });
  expect(aside.passes - before.passes).toBeLessThan(40);
  expect(aside.preemptions).toBe(before.preemptions + 2);
  // both answers share what may be on its way, and both must wake when it is read
  const texts = ["", ""];
  for (const line of (await response.text()).split("\n").filter((line) => line.startsWith("data: {")))
    for (const { index, text } of (JSON.parse(line.slice(6)) as { choices: { index: number; text: string }[] }).choices)
      texts[index] += text;
  expect(texts).toEqual(whole.choices.map(({ text }) => text));
  expect(admission.size).toBe(0);
});

test("turns go by chainrule.priority", async () => {
  await using server = await face({ maxRunning: 1 });
  const controller = new AbortController();
  const running = server.post(endless, { signal: controller.signal }).catch(() => undefined);
  await until(() => server.admission.running === 1);
  const order: number[] = [];
  const all = [0, -3, 7].map(async (priority, index) => {
    await until(() => server.admission.waiting === index); // so that arrival is in this order
    const response = await server.post({ prompt: "a", max_tokens: 1, chainrule: { priority } });
    expect(response.status).toBe(200);
    await response.text();
    order.push(priority);
  });
  await until(() => server.admission.waiting === 3);
  controller.abort();
  await Promise.all([running, ...all]);
  expect(order).toEqual([7, 0, -3]);
});

test("a request of many parts has one turn, and the queue sees it once", async () => {
  await using server = await face({ maxRunning: 1 });
  const controller = new AbortController();
  const running = server.post(endless, { signal: controller.signal }).catch(() => undefined);
  await until(() => server.admission.running === 1);
  const lists = Array.from({ length: 40 }, (_, index) => [index, index + 1]);
  const parts = [
    server.post({ prompt: lists.slice(0, 3), max_tokens: 0, echo: true, logprobs: 1 }),
    fetch(`${server.url}/detokenize`, { method: "POST", body: JSON.stringify({ tokens: lists, special: true }) }),
  ];
  await until(() => server.admission.waiting === 2);
  controller.abort();
  const [echoed, texts] = await Promise.all(parts);
  expect([echoed!.status, texts!.status]).toEqual([200, 200]);
  const answer = (await echoed!.json()) as { choices: { text: string }[] };
  const { texts: all } = (await texts!.json()) as { texts: string[] };
  expect(all).toHaveLength(40);
  expect(answer.choices.map(({ text }) => text)).toEqual(all.slice(0, 3));
  await running;
  expect([server.admission.running, server.admission.waiting, server.admission.size]).toEqual([0, 0, 0]);
});

test("bodies are bounded together, prompt tokens in the engine", async () => {
  await using server = await face({ maxBytes: 2000, maxRunning: 1 });
  const controller = new AbortController();
  const running = server
    .post({ ...endless, prompt: "x".repeat(1500), max_tokens: 2000 }, { signal: controller.signal })
    .catch(() => undefined);
  await until(() => server.admission.running === 1);
  const refused = await server.post({ ...endless, prompt: "y".repeat(1500) });
  expect([refused.status, await errorOf(refused)]).toEqual([429, "too_many_bytes"]);
  controller.abort();
  await running;
  await using other = await face();
  const held = new AbortController();
  const many = other.post({ ...longPrompt, n: 6 }, { signal: held.signal }).catch(() => undefined); // 18,000 tokens of the 20,000
  await until(async () => (await engine.ping()).passes > 0 && (await engine.ping()).running === 1 && (await engine.ping()).queued > 0);
  const tooMany = await other.post(longPrompt);
  expect([tooMany.status, await errorOf(tooMany)]).toEqual([429, "too_many_tokens"]);
  held.abort();
  await many;
  await until(async () => (await engine.ping()).running === 0);
  const never = await other.post({ ...longPrompt, n: 16 }); // of 48,000 tokens none would ever be let in
  expect([never.status, never.headers.get("x-should-retry"), await errorOf(never)]).toEqual([400, "false", "too_many_tokens"]);
});

const many = (count: number) => Array.from({ length: count }, (_, index) => `stop ${index}`);
const large = { type: "object", description: "x".repeat(70_000) };
test.each<[string, string, object]>([
  ["/v1/completions", "n", { prompt: "a", n: 17 }],
  ["/v1/completions", "n", { prompt: Array.from({ length: 20 }, () => "a"), n: 10 }],
  ["/v1/completions", "stop", { prompt: "a", stop: many(17) }],
  ["/v1/completions", "stop", { prompt: "a", stop: "x".repeat(1025) }],
  ["/v1/completions", "logprobs", { prompt: "a", logprobs: 21 }],
  ["/v1/completions", "logit_bias", { prompt: "a", logit_bias: Object.fromEntries(many(4097).map((_, index) => [index, 1])) }],
  ["/v1/completions", "chainrule.guide", { prompt: "a", chainrule: { guide: { name: "grammar", gbnf: "x".repeat(70_000) } } }],
  ["/v1/completions", "stream_options", { prompt: "a", stream_options: { include_usage: true } }],
  ["/v1/chat/completions", "top_logprobs", { messages: [{ role: "user", content: "a" }], logprobs: true, top_logprobs: 21 }],
  [
    "/v1/chat/completions",
    "response_format",
    { messages: [{ role: "user", content: "a" }], response_format: { type: "json_schema", json_schema: { name: "a", schema: large } } },
  ],
  [
    "/v1/chat/completions",
    "tools",
    { messages: [{ role: "user", content: "a" }], tools: [{ type: "function", function: { name: "f", parameters: large } }] },
  ],
  ["/v1/responses", "text", { input: "a", text: { format: { type: "json_schema", name: "a", schema: large } } }],
  ["/v1/responses", "input", { input: [{ role: "user", content: [{ type: "input_text", text: "a", nonsense: 1 }] }] }],
  ["/v1/responses", "stream_options", { input: "a", stream_options: { include_obfuscation: false } }],
  ["/v1/embeddings", "input", { input: many(257) }],
])("%s beyond the cap of %s: 400 with the field's name", async (path, field, body) => {
  const { app } = appOf(engine);
  const response = await app.request(path, { method: "POST", body: JSON.stringify(body) });
  const { error } = (await response.json()) as { error: { param: string | null } };
  expect([response.status, error.param?.startsWith(field)]).toEqual([400, true]);
});

test("a failure of the engine's own is told to the log with its stack and the request's id, in a stream too, and to no client", async () => {
  const event = { kind: "token", choice: 0, text: "a", fact: { id: 1, source: "model" } };
  const failing = {
    ...{ isReady: true, info: engine.info, status: undefined, restarts: 0 },
    async *stream() {
      yield event;
      throw new TaskError({
        status: 500,
        code: "internal_error",
        message: "internal error",
        param: null,
        stack: "Error: deep\n    at child",
      });
    },
  } as unknown as EngineClient;
  const told: [string, string][] = [];
  const onError = (error: unknown, id: string) => told.push([id, (error as Error).stack!]);
  const { app } = appOf(failing, { onError });
  for (const stream of [false, true]) {
    const headers = { "x-request-id": `fails-${stream}` };
    const response = await app.request("/v1/completions", { method: "POST", headers, body: JSON.stringify({ prompt: "a", stream }) });
    const text = await response.text();
    expect([text.includes('"internal_error"'), text.includes("deep")]).toEqual([true, false]);
    expect(told.pop()).toEqual([`fails-${stream}`, "Error: deep\n    at child"]);
  }
});

test("pages, answers and errors have the strict policy, and no origin but its own may read any", async () => {
  await using server = await face();
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; ";
  const origin = { origin: "https://elsewhere.example" };
  const preflight = { ...origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  for (const response of [
    await fetch(`${server.url}/`, { headers: origin }),
    await fetch(`${server.url}/v1/models`, { headers: origin }),
    await server.post({ prompt: 5 }, { headers: origin }),
    await fetch(`${server.url}/nowhere`, { headers: origin }),
    await fetch(`${server.url}/v1/completions`, { method: "OPTIONS", headers: preflight }),
  ]) {
    expect(response.headers.get("content-security-policy")).toMatch(new RegExp(`^${policy}`));
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect([...response.headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
  }
});

test("another method on a known path: 405 with what is allowed", async () => {
  await using server = await face();
  const response = await fetch(`${server.url}/v1/completions`, { method: "DELETE" });
  expect([response.status, response.headers.get("allow"), await errorOf(response)]).toEqual([405, "POST", "method_not_allowed"]);
});

test("every key of several fits, everything else gets 401; health, readiness and the playground ask for none, and tell nothing", async () => {
  await using server = await face({ apiKeys: ["one", "two"] });
  const statusWith = async (path: string, authorization?: string) =>
    (await fetch(`${server.url}${path}`, authorization === undefined ? {} : { headers: { authorization } })).status;
  for (const path of ["/v1/models", "/v1/chainrule/status", "/v1/chainrule/methods", "/metrics", "/openapi.json"]) {
    expect(await statusWith(path, "Bearer one")).toBe(200);
    expect(await statusWith(path, "bearer two")).toBe(200);
    for (const wrong of [undefined, "Bearer", "Bearer three", "Bearer one two", "Basic one", "one"])
      expect([path, wrong, await statusWith(path, wrong)]).toEqual([path, wrong, 401]);
  }
  for (const path of ["/health", "/ready"])
    expect(Object.keys((await (await fetch(`${server.url}${path}`)).json()) as object)).toEqual(["status"]);
  expect([200, 404]).toContain(await statusWith("/"));
});

test("what one key has sent, to embeddings too, shortens prompts of that key only", async () => {
  await using server = await face({ apiKeys: ["one", "two"] });
  const tokensSaved = async (key: string, path: string, body: object) => {
    const response = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
    const { usage } = (await response.json()) as { usage: { prompt_tokens: number; prompt_tokens_details?: { cached_tokens: number } } };
    expect(usage.prompt_tokens).toBeGreaterThan(200);
    return usage.prompt_tokens_details?.cached_tokens;
  };
  for (const embeds of [true, false]) {
    const prompt = `${embeds ? "whose vectors" : "whose answer"} ${"the lazy dog and a hundred clients ".repeat(40)}`;
    const ask = (key: string) => tokensSaved(key, "/v1/completions", { prompt, max_tokens: 1 });
    if (embeds) await tokensSaved("one", "/v1/embeddings", { input: prompt });
    else expect(await ask("one")).toBe(0);
    expect(await ask("two")).toBe(0);
    expect(await ask("one")).toBeGreaterThan(100);
  }
});

test("a draft model's prompts, too, are kept for the key that sent them", async () => {
  await using server = await face({ apiKeys: ["one", "two"] });
  const prompt = `whose draft ${"the lazy dog and a hundred clients ".repeat(40)}`;
  const rowsOfSmall = async (key: string) => {
    const response = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
      body: JSON.stringify({ prompt, max_tokens: 4, temperature: 0, chainrule: { draft: "model,model=small", ignoreEndTokens: true } }),
    });
    expect(response.status).toBe(200);
    const { chainrule } = (await response.json()) as { chainrule: { choices: [{ facts: { models: { name: string; rows: number }[] } }] } };
    return chainrule.choices[0].facts.models.find(({ name }) => name === "small")!.rows;
  };
  const rows = await rowsOfSmall("one");
  expect(rows).toBeGreaterThan(200);
  expect(await rowsOfSmall("two")).toBe(rows);
  expect(await rowsOfSmall("one")).toBeLessThan(rows - 100);
});

test("log lines and spans tell of the same request; the caller's trace goes on", async () => {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  propagation.setGlobalPropagator({
    inject: () => undefined,
    fields: () => ["traceparent"],
    extract(context, carrier, getter) {
      const [, traceId, spanId] = String(getter.get(carrier, "traceparent")).split("-");
      return trace.setSpanContext(context, { traceId: traceId!, spanId: spanId!, traceFlags: 1, isRemote: true });
    },
  });
  try {
    await using server = await face();
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const headers = { "x-request-id": "spans", traceparent: `00-${traceId}-b7ad6b7169203331-01`, "content-type": "application/json" };
    const response = await server.post(
      { prompt: "ab", max_tokens: 5, temperature: 0, stream: true, chainrule: { ignoreEndTokens: true } },
      { headers },
    );
    expect(response.headers.get("x-request-id")).toBe("spans");
    await response.text();
    expect(await logOf("spans")).toMatchObject({ method: "POST", path: "/v1/completions", status: 200, completionTokens: 5 });
    const [run, request] = exporter.getFinishedSpans();
    expect(request!.attributes).toMatchObject({ "chainrule.request_id": "spans", "http.response.status_code": 200 });
    expect([request!.spanContext().traceId, request!.parentSpanContext?.spanId]).toEqual([traceId, "b7ad6b7169203331"]);
    expect(run!.parentSpanContext?.spanId).toBe(request!.spanContext().spanId);
    expect(run!.attributes).toMatchObject({
      "gen_ai.operation.name": "text_completion",
      "gen_ai.usage.output_tokens": 5,
      "gen_ai.response.finish_reasons": ["length"],
    });
    expect(run!.events.map(({ name }) => name)).toEqual(["first token"]);
    const failed = await server.post({ prompt: 5 }, { headers: { ...headers, "x-request-id": "bad" } });
    expect(failed.status).toBe(400);
    expect(await logOf("bad")).toMatchObject({ status: 400, code: "invalid_value" });
    expect(exporter.getFinishedSpans().at(-1)!.attributes).toMatchObject({ "error.type": "invalid_value" });
  } finally {
    trace.disable();
    propagation.disable();
  }
});

test("metrics have vLLM's names, and count what was served", async () => {
  await using server = await face();
  for (const stream of [true, false])
    await (await server.post({ prompt: "ab", max_tokens: 5, temperature: 0, stream, chainrule: { ignoreEndTokens: true } })).text();
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name: string) => Number(new RegExp(`^chainrule:${name.replace(/[{}]/g, "\\$&")} (\\S+)$`, "m").exec(text)?.[1]);
  expect(value("num_requests_running")).toBe(0);
  expect(value("num_requests_waiting")).toBe(0);
  expect(value("kv_cache_usage_perc")).toBeLessThanOrEqual(1);
  expect(value("generation_tokens_total")).toBe(10);
  expect(value('request_success_total{finished_reason="length"}')).toBe(2);
  expect(value("inter_token_latency_seconds_count")).toBe(8);
  for (const name of [
    ...["time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds"],
    ...["request_decode_time_seconds", "request_inference_time_seconds", "request_time_per_output_token_seconds"],
    ...["request_prompt_tokens", "request_generation_tokens"],
  ])
    expect([name, value(`${name}_count`)]).toEqual([name, 2]);
  expect(value("request_generation_tokens_sum")).toBe(10);
  expect(value("e2e_request_latency_seconds_sum")).toBeGreaterThanOrEqual(value("time_to_first_token_seconds_sum"));
});

test("/openapi.json has every route, and real answers have the form that it says", async () => {
  const { app } = appOf(engine);
  const routes = app.routes.filter(({ method, path }) => method !== "ALL" && path !== "/*").map(({ method, path }) => `${method} ${path}`);
  const named = [...new Set(routes)].map((route) => route.replace("/:id{.+}", "/{id}"));
  expect(named.sort()).toEqual(Object.keys(endpoints).sort());
  const description = (await (await app.request("/openapi.json")).json()) as { paths: Record<string, Record<string, object>> };
  expect(Object.values(description.paths).flatMap(Object.keys)).toHaveLength(named.length);

  const sales = `month,sold\n${Array.from({ length: 40 }, (_, at) => `${2001 + Math.floor(at / 12)}-${(at % 12) + 1},${at % 7}`).join("\n")}\n`;
  const chat = { messages: [{ role: "user", content: "hi" }], max_tokens: 4 };
  const grammar = { response_format: { type: "json_schema", json_schema: { name: "a", schema: { enum: ["x"] } } } };
  const tools = { tools: [{ type: "function", function: { name: "now" } }], tool_choice: "required", max_tokens: 60 };
  const bodies: Record<string, object[]> = {
    "POST /v1/chat/completions": [chat, { ...chat, n: 2, logprobs: true, top_logprobs: 3 }, { ...chat, ...grammar }, { ...chat, ...tools }],
    "POST /v1/completions": [
      { prompt: "ab", max_tokens: 3 },
      { prompt: [[1, 2, 3], [4]], max_tokens: 1, echo: true, logprobs: 2 },
    ],
    "POST /v1/responses": [{ input: "hi", max_output_tokens: 4 }],
    "POST /v1/embeddings": [{ input: "a" }, { input: ["a", "b"], encoding_format: "base64" }],
    "POST /tokenize": [{ text: "ab" }],
    "POST /v1/forecasts": [{ text: sales, horizon: 3, model: ["naive", "drift"], windows: 2 }],
    "POST /v1/forecasts/table": [{ text: sales, last: 2 }, { rows: [{ a: 1 }, { a: null }, { a: 3 }] }],
    "POST /detokenize": [{ tokens: [1] }, { tokens: [[1], [2, 3]] }],
  };
  for (const [name, { answer, event, body }] of Object.entries(endpoints)) {
    const [method, path] = name.split(" ") as [string, string];
    if (path === "/metrics" || path.endsWith("cost-curve")) continue; // text; measures for seconds
    for (const one of bodies[name] ?? [{}]) {
      const init = body === undefined ? { method } : { method, body: JSON.stringify(one) };
      const response = await app.request(path.replace("{id}", path.includes("{id}") ? encodeURIComponent(engine.info!.name) : ""), init);
      const given = await response.json();
      expect([name, one, answer!.safeParse(given).error?.issues]).toEqual([name, one, undefined]);
      if (body === undefined) continue;
      const wrong = await app.request(path, { method, body: JSON.stringify({ ...one, nonsense: 1 }) });
      expect(errorAnswer.safeParse(await wrong.json()).success).toBe(true);
      if (event === undefined || "echo" in one) continue;
      const streamed = await app.request(path, { method, body: JSON.stringify({ ...one, stream: true }) });
      const events = (await streamed.text()).split("\n").filter((line) => line.startsWith("data: {"));
      expect(events.length).toBeGreaterThan(1);
      for (const line of events) expect([line, event.safeParse(JSON.parse(line.slice(6))).error?.issues]).toEqual([line, undefined]);
    }
  }
});

test("bench serve: fused, in static batches and one by one, every token of every request is counted", async () => {
  await using server = await face();
  const target = await connectTo(server.url, undefined, new AbortController().signal);
  const options = { numPrompts: 6, requestRate: 50, inputLen: 12, outputLen: 10, rangeRatio: 0.5, seed: 1 };
  const tokens = planArrivals(options).reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  for (const way of [
    { kind: "fused", maxConcurrency: Number.POSITIVE_INFINITY },
    { kind: "static", batchSize: 3 },
    { kind: "fused", maxConcurrency: 1 },
  ] as const) {
    const measures = await loadTest(target, options, way, { e2el: 60_000 }, new AbortController().signal);
    expect(measures).toMatchObject({ completed: 6, failed: 0, total_output_tokens: tokens });
    expect(measures.mean_e2el_ms).toBeGreaterThan(measures.mean_ttft_ms!);
  }
});

test("what is put aside is bounded: above it no run begins and the youngest ends, never the last; readers who come back get the rest", async () => {
  const load = { threads: 1, context: contextLength, cacheBytes: 2 ** 27, beside: { small: smallPath } };
  const other = new EngineClient({ model: path, load, maxTokens: 20_000, maxAsideBytes: 1, unreadMs: 300 }, options);
  try {
    await other.ready();
    const { app } = appOf(other);
    const ask = async (more: object) =>
      app.request("/v1/completions", { method: "POST", body: JSON.stringify({ ...endless, max_tokens: 200, ...more }) });
    const [first, second] = await Promise.all([ask({ stream: true }), ask({ stream: true })]);
    await until(async () => (await other.ping()).asideBytes > 1);
    const refused = await ask({});
    expect([refused.status, await errorOf(refused)]).toEqual([429, "too_many_tokens"]);
    expect(await second.text()).toMatch(/event: error\ndata: .*"out_of_memory"/);
    expect(await first.text()).toContain("[DONE]");
    expect((await other.ping()).asideBytes).toBe(0);
    expect((await ask({})).status).toBe(200);
  } finally {
    await other.close();
  }
});

// the last ones: they end the engine's process
test("an engine that is silent is killed and started again", async () => {
  await using server = await face();
  const running = server.post(endless);
  await until(() => server.admission.running === 1);
  const { pid } = engine;
  options.heartbeatMs = 2000;
  process.kill(pid!, "SIGSTOP");
  const failed = await running;
  options.heartbeatMs = 60_000;
  expect([failed.status, failed.headers.get("x-should-retry"), await errorOf(failed)]).toEqual([500, "true", "engine_crashed"]);
  expect((await fetch(`${server.url}/ready`)).status).toBe(503);
  const refused = await server.post(endless);
  expect([refused.status, refused.headers.get("x-should-retry"), await errorOf(refused)]).toEqual([503, "true", "engine_not_ready"]);
  await engine.ready();
  expect(engine.pid).not.toBe(pid);
  expect((await server.post({ prompt: "a", max_tokens: 1 })).status).toBe(200);
});

test("one that is silent while it loads again is killed too", async () => {
  const crashed = engine.pid!;
  process.kill(crashed, "SIGKILL");
  await until(() => engine.pid !== crashed);
  const stopped = engine.pid!;
  process.kill(stopped, "SIGSTOP");
  const killed = new Promise<string>((resolve) => {
    engine.once("down", (reason) => {
      options.heartbeatMs = 60_000;
      resolve(reason);
    });
  });
  options.heartbeatMs = 500;
  expect(await killed).toMatch(/^the engine's process was silent for \d+ ms while it loaded the model$/);
  await engine.ready();
  expect(engine.pid).not.toBe(stopped);
});

test("a first one that is silent is a server that doesn't start, and says so", async () => {
  const load = { threads: 1, context: 64, cacheBytes: 2 ** 24 };
  const first = new EngineClient(
    { model: path, load, maxTokens: 100, maxAsideBytes: 2 ** 20, unreadMs: 100 },
    { execArgv, heartbeatMs: 500 },
  );
  process.kill(first.pid!, "SIGSTOP");
  await expect(first.ready()).rejects.toThrow("silent");
  await first.close();
});
