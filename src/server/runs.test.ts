import { getEventListeners } from "node:events";
import { Hono } from "hono";
import { expect, test } from "vitest";
import type { EngineClient } from "./engine-client.ts";
import type { WireEvent } from "./protocol.ts";
import { type Env, type GenerateTask, Runs, type StreamShape } from "./runs.ts";

// Listeners that outlive an answer hold its request for ever: undici keeps what it needs to abort a request until the request is freed.
test.each([
  ["read to its end", (response: Response) => response.text()],
  ["left by its reader", (response: Response) => response.body!.cancel()],
])("a stream that is %s leaves no listener at its client's signal", async (_, end) => {
  const engine = {
    async *stream(): AsyncGenerator<WireEvent> {
      for (const text of ["a", "b"]) yield { kind: "token", choice: 0, text, fact: { id: 1 } } as unknown as WireEvent;
      yield { kind: "finish", choice: 0, text: "", result: {} } as unknown as WireEvent;
    },
  } as unknown as EngineClient;
  let tellEnd = () => {};
  const ended = new Promise<void>((resolve) => {
    tellEnd = resolve;
  });
  const shape: StreamShape = {
    begin: () => [],
    token: (_index, { text }) => [{ data: text }],
    search: () => [],
    finish: () => [],
    end: () => [{ data: "[DONE]" }],
    failed: () => ({ data: "failed" }),
  };
  let client: AbortSignal | undefined;
  const app = new Hono<Env>().get("/", (c) => {
    client = c.req.raw.signal;
    c.set("record", { begin() {}, token() {}, finish() {}, failed() {}, left() {}, end: tellEnd } as never);
    c.set("ticket", { arrivedAt: performance.now(), start: async () => {}, leave() {} } as never);
    return new Runs(engine, {}).stream(c, [{ kind: "generate", prompt: "x", options: {}, count: 1 } as unknown as GenerateTask], shape);
  });
  const response = await app.request(new Request("http://localhost/", { signal: new AbortController().signal }));
  expect(getEventListeners(client!, "abort").length).toBeGreaterThan(0);
  await end(response);
  await ended;
  expect(getEventListeners(client!, "abort")).toEqual([]);
});
