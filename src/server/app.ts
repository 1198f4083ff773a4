import { randomUUID } from "node:crypto";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { z } from "zod";
import type { Admission } from "./admission.ts";
import { fieldOf } from "./answers.ts";
import { type BodyLimits, readBody } from "./body.ts";
import { chatAnswer, chatStream, chatTask } from "./chat.ts";
import { completionAnswer, completionStream, completionTasks } from "./completions.ts";
import type { EngineClient } from "./engine-client.ts";
import { type Forecasts, forecastModels } from "./forecasts.ts";
import { asHttpError, HttpError } from "./http-error.ts";
import { Keys } from "./keys.ts";
import type { Metrics } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import { annotations, parseBody, refused } from "./parse-body.ts";
import { type RequestLog, RequestRecord } from "./request-record.ts";
import { responsesAnswer, responsesStream, responsesTask } from "./responses.ts";
import { type Env, type GenerateTask, type RunOptions, Runs } from "./runs.ts";
import { chatRequest, completionRequest, detokenizeRequest, embeddingRequest, responsesRequest, tokenizeRequest } from "./schemas.ts";
import { contentSecurityPolicy, playground, playgroundFolder, trainingPage } from "./static.ts";
import { newId } from "./tools.ts";

export interface AppOptions extends RunOptions, BodyLimits {
  /** Keys one of which a request must bring as `Authorization: Bearer …`. Default: none is asked for. */
  readonly apiKeys?: readonly string[];
  /** Folder of a training run whose curves `GET /training` shows, like the playground for anybody, without a key. */
  readonly training?: string;
  /** Told of every request when its answer has ended. */
  readonly onRequest?: (log: RequestLog) => void;
}

/** What the app stands on; all of it lives in the parent. */
export interface AppParts {
  readonly engine: EngineClient;
  readonly admission: Admission;
  readonly forecasts: Forecasts;
  readonly metrics: Metrics;
  readonly isDraining: () => boolean;
}

/** The HTTP face of an engine: OpenAI's endpoints, Chainrule's own, and the playground's files. */
export function createApp({ engine, admission, forecasts, metrics, isDraining }: AppParts, options: AppOptions = {}): Hono<Env> {
  const runs = new Runs(engine, options);
  const keys = new Keys(options.apiKeys ?? []);
  const app = new Hono<Env>();
  const created = () => Math.floor(Date.now() / 1000);
  const bodyOf = (c: Context<Env>) => readBody(c.req.raw, c.get("ticket"), options);
  /** A request for text; what is wrong with it later is told by its own fields. */
  const requestOf = async <T extends object>(c: Context<Env>, schema: z.ZodType<T>): Promise<T> => {
    const request = parseBody(schema, await bodyOf(c));
    c.set("fieldOf", (option) => fieldOf(request, option));
    return request;
  };

  app.use(async (c, next) => {
    const given = c.req.header("x-request-id");
    const id = given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    const { method, path } = c.req;
    const record = new RequestRecord({ id, method, path, headers: c.req.raw.headers }, metrics, (log) => options.onRequest?.(log));
    c.set("id", id);
    c.set("record", record);
    await next();
    c.header("x-request-id", id);
    c.header("x-content-type-options", "nosniff");
    c.header("referrer-policy", "no-referrer");
    if (!c.res.headers.has("content-security-policy")) c.header("content-security-policy", contentSecurityPolicy);
    if (record.isStreaming) return;
    if (c.req.raw.signal.aborted) record.left();
    record.end(c.res.status);
  });

  app.use(async (c, next) => {
    const isOpen = c.req.path === "/health" || c.req.path === "/ready" || !isApi(c.req.path);
    if (!isOpen) c.set("client", keys.check(c.req.header("authorization")));
    await next();
  });

  app.onError((error, c) => {
    const known = asHttpError(error, c.get("fieldOf"));
    c.get("record").failed(known);
    if (known.code === "internal_error" && !c.req.raw.signal.aborted) options.onError?.(error, c.get("id"));
    if (known.isRetryable) {
      c.header("retry-after", "1");
      c.header("retry-after-ms", "500");
    }
    if (known.status === 413 || known.status === 408) c.header("connection", "close"); // the rest of the body is not read
    c.header("x-should-retry", String(known.isRetryable));
    return c.json({ error: known.body }, known.status);
  });
  app.notFound((c) => {
    const { method, path } = c.req;
    const allowed = app.routes.filter((route) => route.path === path && route.method !== "ALL").map((route) => route.method);
    if (allowed.length === 0) throw new HttpError(404, "not_found", `there is no ${method} ${path}`);
    c.header("allow", [...new Set(allowed)].join(", "));
    throw new HttpError(405, "method_not_allowed", `${path} takes ${allowed[0]}, not ${method}`);
  });

  /** Lets a request in, or says at once that it can't. */
  const admitted: MiddlewareHandler<Env> = async (c, next) => {
    if (!engine.isReady && !isDraining()) throw new HttpError(503, "engine_not_ready", "the engine is not ready");
    await admittedWithoutEngine(c, next);
  };
  const admittedWithoutEngine: MiddlewareHandler<Env> = async (c, next) => {
    if (isDraining()) throw new HttpError(503, "shutting_down", "the server is shutting down");
    const ticket = admission.enter();
    c.set("ticket", ticket);
    try {
      await next();
    } finally {
      if (!c.get("record").isStreaming) ticket.leave();
    }
  };

  app.get("/health", (c) => c.json({ status: "ok" }));
  app.get("/ready", (c) => (engine.isReady && !isDraining() ? c.json({ status: "ready" }) : c.json({ status: "not ready" }, 503)));
  app.get("/metrics", async (c) => c.text(await metrics.text(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }));
  app.get("/openapi.json", (c) => c.json(openApi()));
  app.get("/v1/models", (c) => c.json({ object: "list", data: engine.info === undefined ? [] : [modelOf()] }));
  app.get("/v1/models/:id{.+}", (c) => {
    if (c.req.param("id") !== engine.info?.name) throw new HttpError(404, "model_not_found", `there is no model ${c.req.param("id")}`);
    return c.json(modelOf());
  });
  app.get("/v1/chainrule/methods", (c) => c.json(info().methods));
  app.get("/v1/chainrule/fields", (c) => c.json({ annotations, refused }));
  app.get("/v1/chainrule/status", (c) => {
    const { accepted, refused: refusals, running, waiting } = admission;
    return c.json({
      ready: engine.isReady,
      requests: { running, waiting, accepted, refused: refusals },
      tokens: { prompt: metrics.promptTokens, completion: metrics.completionTokens },
      restarts: engine.restarts,
      lastCrash: engine.lastCrash ?? null,
      training: options.training === undefined ? null : "/training",
      engine: engine.status ?? null,
      model:
        engine.info === undefined ? null : { name: engine.info.name, contextLength: engine.info.contextLength, blocks: engine.info.blocks },
    });
  });
  app.get("/v1/chainrule/cost-curve", admitted, async (c) => c.json((await runs.call(c, { kind: "costCurve" })) as object));

  app.post("/tokenize", admitted, async (c) => {
    const { text, special = false, bos } = parseBody(tokenizeRequest, await bodyOf(c));
    const tokens = (await runs.call(c, { kind: "tokenize", text, special, ...(bos === undefined ? {} : { bos }) })) as number[];
    return c.json({ tokens, count: tokens.length });
  });
  app.post("/detokenize", admitted, async (c) => {
    const { tokens, special = false } = parseBody(detokenizeRequest, await bodyOf(c));
    const isOne = tokens.length === 0 || typeof tokens[0] === "number";
    const lists = (isOne ? [tokens] : tokens) as number[][];
    const texts = (await runs.call(c, { kind: "detokenize", lists, special })) as string[];
    return c.json(isOne ? { text: texts[0] } : { texts });
  });

  app.post("/v1/embeddings", admitted, async (c) => {
    const { input, model, encoding_format: format = "float" } = parseBody(embeddingRequest, await bodyOf(c));
    const served = modelName(model);
    const result = await runs.call(c, { kind: "embed", texts: typeof input === "string" ? [input] : input, options: {} });
    const { vectors, usage } = result as { vectors: Float32Array[]; usage: { promptTokens: number } };
    const data = vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: format === "float" ? [...vector] : Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64"),
    }));
    return c.json({
      object: "list",
      data,
      model: served,
      usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens },
    });
  });

  app.post("/v1/chat/completions", admitted, async (c) => {
    const request = await requestOf(c, chatRequest);
    const head = { id: `chatcmpl-${c.get("id")}`, created: created(), model: modelName(request.model) };
    const { task, form } = chatTask(request);
    if (request.stream === true) return runs.stream(c, [task], chatStream(request, form, head));
    return c.json(chatAnswer(request, form, head, await runs.collect(c, [task])));
  });

  app.post("/v1/responses", admitted, async (c) => {
    const request = await requestOf(c, responsesRequest);
    const head = { id: newId("resp"), created_at: created(), model: modelName(request.model) };
    const { task, form } = responsesTask(request);
    if (request.stream === true) return runs.stream(c, [task], responsesStream(request, form, head));
    const [answer] = await runs.collect(c, [task]);
    return c.json(responsesAnswer(request, form, head, answer!));
  });

  app.post("/v1/completions", admitted, async (c) => {
    const request = await requestOf(c, completionRequest);
    const head = { id: `cmpl-${c.get("id")}`, created: created(), model: modelName(request.model) };
    const tasks = completionTasks(request);
    const echoed = request.echo === true ? await promptTexts(c, tasks) : tasks.map(() => "");
    if (request.stream === true) return runs.stream(c, tasks, completionStream(request, echoed, head));
    return c.json(completionAnswer(request, echoed, head, await runs.collect(c, tasks)));
  });

  app.post("/v1/forecasts", admittedWithoutEngine, (c) => forecasts.answer(c, "forecast"));
  app.post("/v1/forecasts/table", admittedWithoutEngine, (c) => forecasts.answer(c, "table"));
  app.get("/v1/forecasts/models", (c) => c.json(forecastModels()));

  if (options.training !== undefined) app.get("/training", trainingPage(options.training));
  const files = playground(playgroundFolder());
  app.get("*", (c, next) => (isApi(c.req.path) ? next() : files(c, next)));
  return app;

  function info() {
    if (engine.info === undefined) throw new HttpError(503, "engine_not_ready", "the model is still loading");
    return engine.info;
  }

  function modelOf() {
    const { name, contextLength } = info();
    return { id: name, object: "model", created: 0, owned_by: "chainrule", context_length: contextLength };
  }

  /** @param asked  the model that a request names */
  function modelName(asked: string | undefined): string {
    const { name } = info();
    if (asked !== undefined && asked !== name)
      throw new HttpError(
        404,
        "model_not_found",
        `there is no model ${JSON.stringify(asked)}; this server has ${JSON.stringify(name)}`,
        "model",
      );
    return name;
  }

  /** The prompts of a request as text: all are texts, or all are tokens. */
  async function promptTexts(c: Context<Env>, tasks: readonly GenerateTask[]): Promise<readonly string[]> {
    const prompts = tasks.map(({ prompt }) => prompt);
    if (prompts.every((prompt) => typeof prompt === "string")) return prompts;
    const lists = prompts as unknown as readonly (readonly number[])[];
    return (await runs.call(c, { kind: "detokenize", lists, special: true }, tasks[0]!.options.priority)) as string[];
  }
}

/** Whether a path is the server's own; everything else is the playground's. */
export const isApi = (path: string): boolean => /^\/(v1\/|tokenize$|detokenize$|metrics$|health$|ready$|openapi\.json$)/.test(path);
