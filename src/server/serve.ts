import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve as listen } from "@hono/node-server";
import { type AppOptions, createApp, isApi } from "./app.ts";
import { EngineClient, type EngineClientOptions } from "./engine-client.ts";
import { metricsOf } from "./metrics.ts";
import type { ChildSettings } from "./protocol.ts";
import { playground, playgroundFolder } from "./static.ts";

export interface ServeOptions extends AppOptions, EngineClientOptions {
  /** As for `load()`. Default "smollm2". */
  readonly model?: string;
  readonly load?: ChildSettings["load"];
  /** Default 127.0.0.1: nobody but this machine. */
  readonly host?: string;
  /** 0 takes any that is free. Default 8080. */
  readonly port?: number;
  /** Prompt tokens of all requests under way; more get 429. Default 65,536. */
  readonly maxTokens?: number;
}

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  readonly engine: EngineClient;
  /**
   * Refuses new requests, lets those under way finish, cuts them at the deadline.
   * @param deadlineMs  default 30,000
   */
  stop(deadlineMs?: number): Promise<void>;
}

/** Starts a server on a model; resolves when it takes requests. @throws Error where the model can't be loaded or the port is taken */
export async function serve(options: ServeOptions = {}): Promise<RunningServer> {
  const { host = "127.0.0.1", port = 8080 } = options;
  const settings: ChildSettings = { model: options.model ?? "smollm2", load: options.load ?? {}, maxTokens: options.maxTokens ?? 65_536 };
  const engine = new EngineClient(settings, options);
  let isDraining = false;
  const metrics = metricsOf(engine);
  const { traffic } = metrics;
  const app = createApp(engine, traffic, () => isDraining, options);
  app.get("/metrics", async (c) => c.text(await metrics.text(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }));
  const files = playground(playgroundFolder());
  app.get("*", (c, next) => (isApi(c.req.path) ? next() : files(c, next)));
  let server: Server;
  try {
    server = await new Promise<Server>((resolve, reject) => {
      const listening = listen(
        {
          fetch: app.fetch,
          hostname: host,
          port,
          serverOptions: { headersTimeout: 10_000, requestTimeout: 60_000, keepAliveTimeout: 5_000 },
        },
        () => resolve(listening as Server),
      );
      listening.once("error", reject);
    });
    await engine.ready();
  } catch (error) {
    await engine.close();
    throw error;
  }
  const address = server.address() as AddressInfo;
  const shown = host.includes(":") ? `[${host}]` : host;
  const stop = async (deadlineMs = 30_000) => {
    if (isDraining) return;
    isDraining = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const cut = setTimeout(() => {
      void engine.close().then(() => server.closeAllConnections());
    }, deadlineMs);
    while (traffic.running > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    server.closeIdleConnections();
    await engine.close();
    await closed;
    clearTimeout(cut);
  };
  return { url: `http://${shown}:${address.port}`, engine, stop, [Symbol.asyncDispose]: () => stop(0) };
}
