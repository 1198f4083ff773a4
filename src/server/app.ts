import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { Hono } from "hono";
import { chatAnswer, chatStream, chatTask } from "./chat.ts";
import { completionAnswer, completionStream, completionTasks } from "./completions.ts";
import type { EngineClient } from "./engine-client.ts";
import { asHttpError, HttpError } from "./http-error.ts";
import { openApi } from "./openapi.ts";
import { responsesAnswer, responsesStream, responsesTask } from "./responses.ts";
import { type Env, type GenerateTask, type RunLimits, Runs, type Traffic } from "./runs.ts";
import {
  chatRequest,
  completionRequest,
  detokenizeRequest,
  embeddingRequest,
  parseBody,
  responsesRequest,
  tokenizeRequest,
} from "./schemas.ts";
import { contentSecurityPolicy } from "./static.ts";
import { newId } from "./tools.ts";

export interface AppOptions extends RunLimits {
  /** Keys one of which a request must bring as `Authorization: Bearer …`. Default: none is asked for. */
  readonly apiKeys?: readonly string[];
  /** Bytes of one body. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  readonly onRequest?: (log: RequestLog) => void;
}

export interface RequestLog {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly ms: number;
}

/** The HTTP face of an engine: OpenAI's endpoints, and Chainrule's own. */
export function createApp(engine: EngineClient, traffic: Traffic, isDraining: () => boolean, options: AppOptions = {}): Hono<Env> {
  const { maxBodyBytes = 4 * 2 ** 20 } = options;
  const runs = new Runs(engine, traffic, isDraining, options);
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
    c.header("content-security-policy", contentSecurityPolicy);
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
    if (known.isRetryable) {
      c.header("retry-after", "1");
      c.header("retry-after-ms", "500");
    }
    if (known.status === 413) c.header("connection", "close"); // the rest of the body is not read
    c.header("x-should-retry", String(known.isRetryable));
    return c.json({ error: known.body }, known.status);
  });
  app.notFound((c) => c.json({ error: new HttpError(404, "not_found", `there is no ${c.req.method} ${c.req.path}`).body }, 404));

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
    const tokens = (await runs.admitted(() =>
      engine.call({ kind: "tokenize", text, special, ...(bos === undefined ? {} : { bos }) }),
    )) as number[];
    return c.json({ tokens, count: tokens.length });
  });
  app.post("/detokenize", async (c) => {
    const { tokens, special = false } = parseBody(detokenizeRequest, await readBody(c.req.raw));
    const text = (list: readonly number[]) => engine.call({ kind: "detokenize", tokens: list, special });
    if (tokens.length === 0 || typeof tokens[0] === "number") return c.json({ text: await runs.admitted(() => text(tokens as number[])) });
    return c.json({ texts: await runs.admitted(() => Promise.all((tokens as number[][]).map(text))) });
  });

  app.post("/v1/embeddings", async (c) => {
    const { input, model, encoding_format: format = "float" } = parseBody(embeddingRequest, await readBody(c.req.raw));
    const served = modelName(model);
    const texts = typeof input === "string" ? [input] : input;
    const result = await runs.admitted(() => engine.call({ kind: "embed", texts, options: {} }, c.req.raw.signal));
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

  app.post("/v1/chat/completions", async (c) => {
    const request = parseBody(chatRequest, await readBody(c.req.raw));
    const head = { id: `chatcmpl-${c.get("id")}`, created: created(), model: modelName(request.model) };
    const { task, form } = chatTask(request);
    if (request.stream === true) return runs.stream(c, [task], chatStream(request, form, head));
    return c.json(chatAnswer(request, form, head, await runs.collect([task], c.req.raw.signal)));
  });

  app.post("/v1/responses", async (c) => {
    const request = parseBody(responsesRequest, await readBody(c.req.raw));
    const head = { id: newId("resp"), created_at: created(), model: modelName(request.model) };
    const { task, form } = responsesTask(request);
    if (request.stream === true) return runs.stream(c, [task], responsesStream(request, form, head));
    const [answer] = await runs.collect([task], c.req.raw.signal);
    return c.json(responsesAnswer(request, form, head, answer!));
  });

  app.post("/v1/completions", async (c) => {
    const request = parseBody(completionRequest, await readBody(c.req.raw));
    const head = { id: `cmpl-${c.get("id")}`, created: created(), model: modelName(request.model) };
    const tasks = completionTasks(request);
    const echoed = await Promise.all(tasks.map(({ prompt }) => (request.echo === true ? promptText(prompt) : "")));
    if (request.stream === true) return runs.stream(c, tasks, completionStream(request, echoed, head));
    return c.json(completionAnswer(request, echoed, head, await runs.collect(tasks, c.req.raw.signal)));
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

  async function promptText(prompt: GenerateTask["prompt"]): Promise<string> {
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
}

/** Whether a path is the server's own; everything else is the playground's. */
export const isApi = (path: string): boolean => /^\/(v1\/|tokenize$|detokenize$|metrics$|health$|ready$|openapi\.json$)/.test(path);

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
