import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import type { TokenLogprob } from "../decoding/index.ts";
import {
  chatLogprob,
  chatTask,
  completionTasks,
  finishReason,
  joinLegacy,
  type LegacyLogprobs,
  legacyLogprobs,
  usageOf,
} from "./answers.ts";
import { type EngineClient, TaskError } from "./engine-client.ts";
import { openApi } from "./openapi.ts";
import type { Task, WireEvent, WireResult } from "./protocol.ts";
import {
  chatRequest,
  completionRequest,
  detokenizeRequest,
  embeddingRequest,
  parseBody,
  RequestError,
  tokenizeRequest,
} from "./schemas.ts";

export interface AppOptions {
  /** Keys one of which a request must bring as `Authorization: Bearer …`. Default: none is asked for. */
  readonly apiKeys?: readonly string[];
  /** Requests that may be under way or wait at the same time; more get 429. Default 128. */
  readonly maxRequests?: number;
  /** Bytes of one body. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** Milliseconds until the first token, and in all. Defaults 120,000 and 600,000. */
  readonly firstTokenMs?: number;
  readonly totalMs?: number;
  readonly onRequest?: (log: RequestLog) => void;
}

export interface RequestLog {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly ms: number;
}

/** What happens to requests, for metrics. */
export interface Traffic {
  running: number;
  accepted: number;
  refused: number;
  promptTokens: number;
  completionTokens: number;
  onFirstToken: (seconds: number) => void;
  onToken: (seconds: number) => void;
}

/** A failure with its status; the body is OpenAI's. */
class HttpError extends Error {
  readonly status: 400 | 401 | 404 | 405 | 408 | 413 | 429 | 500 | 503 | 504;
  readonly code: string;
  readonly param: string | null;
  constructor(status: HttpError["status"], code: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

const errorTypes: Readonly<Record<number, string>> = {
  401: "authentication_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "server_error",
  504: "server_error",
};
const retryable = new Set([429, 503]);

type Generate = Extract<Task, { kind: "generate" }>;
type Env = { Variables: { id: string } };

/** The HTTP face of an engine: OpenAI's endpoints, and Chainrule's own. */
export function createApp(engine: EngineClient, traffic: Traffic, isDraining: () => boolean, options: AppOptions = {}): Hono<Env> {
  const { maxRequests = 128, maxBodyBytes = 4 * 2 ** 20, firstTokenMs = 120_000, totalMs = 600_000 } = options;
  const app = new Hono<Env>();
  const keys = (options.apiKeys ?? []).map(digest);
  const created = () => Math.floor(Date.now() / 1000);

  app.use(async (c, next) => {
    const started = performance.now();
    const given = c.req.header("x-request-id");
    const id = given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    c.set("id", id);
    await next();
    c.header("x-request-id", id);
    c.header("x-content-type-options", "nosniff");
    c.header("referrer-policy", "no-referrer");
    c.header(
      "content-security-policy",
      "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    );
    options.onRequest?.({ id, method: c.req.method, path: c.req.path, status: c.res.status, ms: performance.now() - started });
  });

  app.use(async (c, next) => {
    const isOpen = c.req.path === "/health" || c.req.path === "/ready" || !isApi(c.req.path);
    if (keys.length > 0 && !isOpen) {
      const [, key] = /^Bearer (.+)$/.exec(c.req.header("authorization") ?? "") ?? [];
      const mine = digest(key ?? "");
      let isKnown = false;
      for (const known of keys) isKnown = timingSafeEqual(known, mine) || isKnown; // every key is compared, whichever fits
      if (key === undefined || !isKnown) throw new HttpError(401, "invalid_api_key", "a valid key is needed: Authorization: Bearer KEY");
    }
    await next();
  });

  app.onError((error, c) => {
    const known = asHttpError(error);
    if (retryable.has(known.status)) {
      c.header("retry-after", "1");
      c.header("retry-after-ms", "500");
    }
    if (known.status === 413) c.header("connection", "close"); // the rest of the body is not read
    c.header("x-should-retry", String(retryable.has(known.status)));
    return c.json({ error: errorBody(known) }, known.status);
  });
  app.notFound((c) => c.json({ error: errorBody(new HttpError(404, "not_found", `there is no ${c.req.method} ${c.req.path}`)) }, 404));

  app.get("/health", (c) => c.json({ status: "ok" }));
  app.get("/ready", (c) => (engine.isReady && !isDraining() ? c.json({ status: "ready" }) : c.json({ status: "not ready" }, 503)));
  app.get("/openapi.json", (c) => c.json(openApi()));
  app.get("/v1/models", (c) => c.json({ object: "list", data: engine.info === undefined ? [] : [modelOf()] }));
  app.get("/v1/models/:id{.+}", (c) => {
    if (c.req.param("id") !== engine.info?.name) throw new HttpError(404, "model_not_found", `there is no model ${c.req.param("id")}`);
    return c.json(modelOf());
  });
  app.get("/v1/chainrule/methods", (c) => c.json(info().methods));
  app.get("/v1/chainrule/status", (c) =>
    c.json({
      ready: engine.isReady,
      requests: { running: traffic.running, accepted: traffic.accepted, refused: traffic.refused },
      tokens: { prompt: traffic.promptTokens, completion: traffic.completionTokens },
      restarts: engine.restarts,
      engine: engine.status ?? null,
      model:
        engine.info === undefined ? null : { name: engine.info.name, contextLength: engine.info.contextLength, blocks: engine.info.blocks },
    }),
  );
  app.get("/v1/chainrule/cost-curve", async (c) => c.json((await engine.call({ kind: "costCurve" }, c.req.raw.signal)) as object));

  app.post("/tokenize", async (c) => {
    const { text, special = false, bos } = parseBody(tokenizeRequest, await readBody(c.req.raw));
    const tokens = (await admitted(() =>
      engine.call({ kind: "tokenize", text, special, ...(bos === undefined ? {} : { bos }) }),
    )) as number[];
    return c.json({ tokens, count: tokens.length });
  });
  app.post("/detokenize", async (c) => {
    const { tokens, special = false } = parseBody(detokenizeRequest, await readBody(c.req.raw));
    return c.json({ text: await admitted(() => engine.call({ kind: "detokenize", tokens, special })) });
  });

  app.post("/v1/embeddings", async (c) => {
    const { input, model, encoding_format: format = "float" } = parseBody(embeddingRequest, await readBody(c.req.raw));
    checkModel(model);
    const texts = typeof input === "string" ? [input] : input;
    const result = await admitted(() => engine.call({ kind: "embed", texts, options: {} }, c.req.raw.signal));
    const { vectors, usage } = result as { vectors: Float32Array[]; usage: { promptTokens: number } };
    const data = vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: format === "float" ? [...vector] : Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64"),
    }));
    return c.json({
      object: "list",
      data,
      model: info().name,
      usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens },
    });
  });

  app.post("/v1/chat/completions", async (c) => {
    const request = parseBody(chatRequest, await readBody(c.req.raw));
    checkModel(request.model);
    const task = chatTask(request);
    const withFacts = request.chainrule?.facts !== false;
    const base = { id: `chatcmpl-${c.get("id")}`, created: created(), model: info().name };
    if (request.stream !== true) {
      const { answers, results } = await collect([task], c.req.raw.signal);
      return c.json({
        ...base,
        object: "chat.completion",
        choices: answers.map(({ text, logprobs }, index) => ({
          index,
          message: { role: "assistant", content: text, refusal: null },
          logprobs: request.logprobs === true ? { content: logprobs.map(chatLogprob), refusal: null } : null,
          finish_reason: finishReason(results[index]!),
        })),
        usage: usageOf(results, 1),
        ...(withFacts ? { chainrule: { choices: results.map(extensionOf) } } : {}),
      });
    }
    const chunk = (choices: readonly object[], more: object = {}) => ({ ...base, object: "chat.completion.chunk", choices, ...more });
    return respond(c, [task], request.stream_options?.include_usage === true, {
      begin: (index) => chunk([{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }]),
      token: (index, { text, fact, logprob }) =>
        chunk(
          [
            {
              index,
              delta: { content: text },
              logprobs: logprob === undefined ? null : { content: [chatLogprob(logprob)], refusal: null },
              finish_reason: null,
            },
          ],
          withFacts ? { chainrule: { choice: index, token: fact } } : {},
        ),
      finish: (index, { text, result }) =>
        chunk(
          [{ index, delta: text === "" ? {} : { content: text }, logprobs: null, finish_reason: finishReason(result) }],
          withFacts ? { chainrule: { choice: index, ...extensionOf(result) } } : {},
        ),
      usage: (results) => chunk([], { usage: usageOf(results, 1) }),
    });
  });

  app.post("/v1/completions", async (c) => {
    const request = parseBody(completionRequest, await readBody(c.req.raw));
    checkModel(request.model);
    const tasks = completionTasks(request);
    const withFacts = request.chainrule?.facts !== false;
    const echoed = await Promise.all(tasks.map(({ prompt }) => (request.echo === true ? promptText(prompt) : "")));
    const perPrompt = request.n ?? 1;
    const base = { id: `cmpl-${c.get("id")}`, object: "text_completion", created: created(), model: info().name };
    const promptLogprobs = (index: number, result: WireResult | undefined): LegacyLogprobs =>
      result?.promptLogprobs === undefined
        ? legacyLogprobs([], echoed[Math.floor(index / perPrompt)]!.length)
        : legacyLogprobs(result.promptLogprobs, 0, result.firstPromptText);
    if (request.stream !== true) {
      const { answers, results } = await collect(tasks, c.req.raw.signal);
      return c.json({
        ...base,
        choices: answers.map(({ text, logprobs }, index) => {
          const prompt = echoed[Math.floor(index / perPrompt)]!;
          const before = promptLogprobs(index, results[index]);
          return {
            index,
            text: prompt + text,
            logprobs: request.logprobs == null ? null : joinLegacy(before, legacyLogprobs(logprobs, prompt.length)),
            finish_reason: finishReason(results[index]!),
          };
        }),
        usage: usageOf(results, tasks.length),
        ...(withFacts ? { chainrule: { choices: results.map(extensionOf) } } : {}),
      });
    }
    if (request.echo === true && request.logprobs != null)
      throw new RequestError("echo", "unsupported_parameter", "echo with logprobs is answered in one piece: leave stream out");
    const lengths = new Map<number, number>();
    const chunk = (choices: readonly object[], more: object = {}) => ({ ...base, choices, ...more });
    return respond(c, tasks, request.stream_options?.include_usage === true, {
      begin: (index) => {
        const text = echoed[Math.floor(index / perPrompt)]!;
        lengths.set(index, text.length);
        return text === "" ? undefined : chunk([{ index, text, logprobs: null, finish_reason: null }]);
      },
      token: (index, { text, fact, logprob }) => {
        const at = lengths.get(index)!;
        lengths.set(index, at + text.length);
        return chunk(
          [{ index, text, logprobs: logprob === undefined ? null : legacyLogprobs([logprob], at), finish_reason: null }],
          withFacts ? { chainrule: { choice: index, token: fact } } : {},
        );
      },
      finish: (index, { text, result }) =>
        chunk(
          [{ index, text, logprobs: null, finish_reason: finishReason(result) }],
          withFacts ? { chainrule: { choice: index, ...extensionOf(result) } } : {},
        ),
      usage: (results) => chunk([], { usage: usageOf(results, tasks.length) }),
    });
  });

  return app;

  function info() {
    if (engine.info === undefined) throw new HttpError(503, "engine_not_ready", "the model is still loading");
    return engine.info;
  }

  function modelOf() {
    const { name, contextLength } = info();
    return { id: name, object: "model", created: 0, owned_by: "chainrule", context_length: contextLength };
  }

  function checkModel(name: string | undefined): void {
    if (name !== undefined && name !== info().name)
      throw new HttpError(
        404,
        "model_not_found",
        `there is no model ${JSON.stringify(name)}; this server has ${JSON.stringify(info().name)}`,
        "model",
      );
  }

  async function promptText(prompt: Generate["prompt"]): Promise<string> {
    if (typeof prompt === "string") return prompt;
    return (await engine.call({ kind: "detokenize", tokens: prompt as readonly number[], special: true })) as string;
  }

  /** Reads a body of JSON, counting its bytes whatever its header says. */
  async function readBody(request: Request): Promise<unknown> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of request.body ?? []) {
      bytes += (chunk as Uint8Array).length;
      if (bytes > maxBodyBytes) throw new HttpError(413, "body_too_large", `the body is larger than ${maxBodyBytes} bytes`);
      chunks.push(chunk as Uint8Array);
    }
    try {
      return JSON.parse(Buffer.concat(chunks).toString("utf8"));
    } catch {
      throw new HttpError(400, "invalid_json", "the body is no JSON");
    }
  }

  /** Runs work if the server has room for it. */
  async function admitted<T>(work: () => Promise<T>): Promise<T> {
    admit();
    try {
      return await work();
    } finally {
      traffic.running -= 1;
    }
  }

  function admit(): void {
    if (isDraining()) throw new HttpError(503, "shutting_down", "the server is shutting down");
    if (!engine.isReady) throw new HttpError(503, "engine_not_ready", "the engine is not ready");
    if (traffic.running >= maxRequests) {
      traffic.refused += 1;
      throw new HttpError(429, "too_many_requests", `the server has ${maxRequests} requests under way`);
    }
    traffic.running += 1;
    traffic.accepted += 1;
  }

  /** The events of all tasks as they come, with the choice's number over all of them. Admission, limits of time and counting are here. */
  async function* events(tasks: readonly Generate[], client: AbortSignal): AsyncGenerator<WireEvent> {
    admit();
    const limit = new AbortController();
    const stop = (code: string, message: string) => () => limit.abort(new HttpError(504, code, message));
    const total = setTimeout(stop("total_timeout", `the answer took longer than ${totalMs} ms`), totalMs);
    const first = setTimeout(stop("first_token_timeout", `no token came within ${firstTokenMs} ms`), firstTokenMs);
    const signal = AbortSignal.any([client, limit.signal]);
    const started = performance.now();
    let last = 0;
    const sources = tasks.map((task) => engine.stream(task, signal));
    try {
      for await (const { index, event } of merged(sources)) {
        clearTimeout(first);
        if (event.kind === "token") {
          const now = performance.now();
          if (last === 0) traffic.onFirstToken((now - started) / 1000);
          else traffic.onToken((now - last) / 1000);
          last = now;
          traffic.completionTokens += 1;
        } else if (event.choice === 0) traffic.promptTokens += event.result.usage.promptTokens;
        yield { ...event, choice: index * tasks[index]!.count + event.choice };
      }
    } finally {
      clearTimeout(total);
      clearTimeout(first);
      traffic.running -= 1;
    }
  }

  /** Whole answers, by choice. */
  async function collect(tasks: readonly Generate[], client: AbortSignal) {
    const count = tasks.reduce((sum, task) => sum + task.count, 0);
    const answers = Array.from({ length: count }, () => ({ text: "", logprobs: [] as TokenLogprob[] }));
    const results: WireResult[] = [];
    for await (const event of events(tasks, client)) {
      answers[event.choice]!.text += event.text;
      if (event.kind === "finish") results[event.choice] = event.result;
      else if (event.logprob !== undefined) answers[event.choice]!.logprobs.push(event.logprob);
    }
    return { answers, results };
  }

  /** The same as server-sent events. An error before the first event is an ordinary answer, later an error event, and no [DONE]. */
  async function respond(
    c: import("hono").Context<Env>,
    tasks: readonly Generate[],
    includeUsage: boolean,
    shape: ChunkShape,
  ): Promise<Response> {
    const source = events(tasks, c.req.raw.signal);
    const first = await source.next(); // what is wrong with the request shows here
    c.header("cache-control", "no-store");
    c.header("x-accel-buffering", "no");
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => void source.return(undefined));
      const send = (data: object | undefined) => (data === undefined ? undefined : stream.writeSSE({ data: JSON.stringify(data) }));
      const begun = new Set<number>();
      const results: WireResult[] = [];
      try {
        for (let next = first; next.done !== true; next = await source.next()) {
          const event = next.value;
          if (!begun.has(event.choice)) await send(shape.begin(event.choice));
          begun.add(event.choice);
          if (event.kind === "token") await send(shape.token(event.choice, event));
          else {
            results[event.choice] = event.result;
            await send(shape.finish(event.choice, event));
          }
        }
        if (includeUsage) await send(shape.usage(results));
        await stream.writeSSE({ data: "[DONE]" });
      } catch (error) {
        if (!stream.aborted) await stream.writeSSE({ event: "error", data: JSON.stringify({ error: errorBody(asHttpError(error)) }) });
      } finally {
        await source.return(undefined);
      }
    });
  }
}

interface ChunkShape {
  begin(choice: number): object | undefined;
  token(choice: number, event: Extract<WireEvent, { kind: "token" }>): object;
  finish(choice: number, event: Extract<WireEvent, { kind: "finish" }>): object;
  usage(results: readonly WireResult[]): object;
}

/** What comes next of several generators, whichever has it. */
async function* merged(sources: readonly AsyncGenerator<WireEvent>[]): AsyncGenerator<{ index: number; event: WireEvent }> {
  const waiting = new Map(sources.map((source, index) => [index, source.next().then((next) => ({ index, next }))]));
  try {
    while (waiting.size > 0) {
      const { index, next } = await Promise.race(waiting.values());
      if (next.done === true) waiting.delete(index);
      else {
        yield { index, event: next.value };
        waiting.set(
          index,
          sources[index]!.next().then((following) => ({ index, next: following })),
        );
      }
    }
  } finally {
    for (const pending of waiting.values()) pending.catch(() => undefined); // the first failure was thrown above
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}

const extensionOf = ({ facts, timings, finishReason: reason, tokens }: WireResult) => ({ facts, timings, finishReason: reason, tokens });

/** Whether a path is the server's own; everything else is the playground's. */
export const isApi = (path: string): boolean => /^\/(v1\/|tokenize$|detokenize$|metrics$|health$|ready$|openapi\.json$)/.test(path);

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function errorBody({ message, status, param, code }: HttpError) {
  return { message, type: errorTypes[status] ?? "invalid_request_error", param, code };
}

function asHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof RequestError) return new HttpError(400, error.code, error.message, error.param);
  if (error instanceof TaskError) return new HttpError(error.error.status, error.error.code, error.error.message, error.error.param);
  if (error instanceof z.ZodError) return new HttpError(400, "invalid_value", error.message);
  return new HttpError(500, "internal_error", "internal error");
}
