import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningServer, serve } from "../../src/server/index.ts";
import { execArgv } from "../support/child-of-tests.ts";
import { temporaryFolder } from "../support/engine.ts";
import { writeTinyChatModel } from "../support/tiny-chat-model.ts";

// How a server ends: what it says meanwhile, and what becomes of requests that don't.

const folder = temporaryFolder();
const path = `${folder.path}/tiny.gguf`;
const load = { threads: 1, context: 2048, cacheBytes: 2 ** 27 };
beforeAll(() => writeTinyChatModel(path, { contextLength: 2048, hiddenSize: 256, blocks: 4 }));
afterAll(() => folder[Symbol.dispose]());

const start = (options: object = {}) => serve({ model: path, load, port: 0, execArgv, ...options });
const post = ({ url }: RunningServer, body: object) =>
  fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "Once", temperature: 0, chainrule: { ignoreEndTokens: true }, ...body }),
  });
const errorOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code;

test("while an answer is finished the server says that it is not ready, and refuses others by a status they may retry on", async () => {
  await using server = await start();
  const reader = (await post(server, { max_tokens: 400, stream: true })).body!.getReader();
  const chunks = [(await reader.read()).value!];
  const stopped = server.stop();
  const ready = await fetch(`${server.url}/ready`);
  expect([ready.status, await ready.json()]).toEqual([503, { status: "not ready" }]);
  const refused = await post(server, { max_tokens: 1 });
  const { headers } = refused;
  expect([refused.status, await errorOf(refused)]).toEqual([503, "shutting_down"]);
  expect([headers.get("retry-after"), headers.get("retry-after-ms"), headers.get("x-should-retry")]).toEqual(["1", "500", "true"]);
  for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  expect(Buffer.concat(chunks).toString().trimEnd().endsWith("data: [DONE]")).toBe(true);
  await stopped;
  await expect(fetch(`${server.url}/ready`)).rejects.toThrow();
});

test("at the deadline answers are cut: whole ones by 503, streams by an event, both saying why", async () => {
  await using server = await start();
  const endless = { max_tokens: 2000 };
  const streamed = await post(server, { ...endless, stream: true });
  const whole = post(server, endless);
  while ((await server.engine.ping()).running < 2) await new Promise((done) => setTimeout(done, 5));
  const stopped = server.stop(0);
  const cut = await whole;
  expect([cut.status, cut.headers.get("x-should-retry"), await errorOf(cut)]).toEqual([503, "true", "shutting_down"]);
  const text = await streamed.text();
  expect(text).toMatch(/event: error\ndata: .*"shutting_down"/);
  expect(text).not.toContain("[DONE]");
  await stopped;
});

test("a server that is told to end while it loads gives its port and its process back", async () => {
  const controller = new AbortController();
  const starting = start({ signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 0);
  await expect(starting).rejects.toThrow("enough");
  await expect(start({ signal: controller.signal })).rejects.toThrow("enough");
});
