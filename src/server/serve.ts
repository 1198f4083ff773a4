import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve as listen } from "@hono/node-server";
import { Admission, type AdmissionLimits } from "./admission.ts";
import { type AppOptions, createApp } from "./app.ts";
import { EngineClient, type EngineClientOptions } from "./engine-client.ts";
import { Metrics } from "./metrics.ts";
import type { ChildSettings } from "./protocol.ts";

export interface ServeOptions extends AppOptions, AdmissionLimits, EngineClientOptions {
  /** As for `load()`. Default "smollm2". */
  readonly model?: string;
  readonly load?: ChildSettings["load"];
  /** Default 127.0.0.1: nobody but this machine. */
  readonly host?: string;
  /** 0 takes any that is free. Default 8080. */
  readonly port?: number;
  /** Prompt tokens of all requests under way; more get 429. Default 65,536. */
  readonly maxTokens?: number;
  /** Milliseconds that a request's header may take to arrive; then its connection is closed. Default 10,000. */
  readonly headerMs?: number;
  /** Milliseconds that a run may wait for a reader that doesn't read before it makes room for others. Default 30,000. */
  readonly unreadMs?: number;
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
  const { host = "127.0.0.1", port = 8080, headerMs = 10_000, bodyMs = 30_000 } = options;
  const settings: ChildSettings = {
    model: options.model ?? "smollm2",
    load: options.load ?? {},
    maxTokens: options.maxTokens ?? 65_536,
    unreadMs: options.unreadMs ?? 30_000,
  };
  const engine = new EngineClient(settings, options);
  let isDraining = false;
  const admission = new Admission(options);
  const metrics = new Metrics(engine, admission);
  const app = createApp({ engine, admission, metrics, isDraining: () => isDraining }, options);
  let server: Server | undefined;
  try {
    server = await new Promise<Server>((resolve, reject) => {
      const starting = listen(
        {
          fetch: app.fetch,
          hostname: host,
          port,
          serverOptions: {
            headersTimeout: headerMs,
            requestTimeout: headerMs + bodyMs + 5_000, // the app's own limit comes first and has a body
            connectionsCheckingInterval: Math.min(headerMs / 2, 5_000), // Node looks at both limits so often
            keepAliveTimeout: 5_000,
          },
        },
        () => resolve(starting as Server),
      );
      starting.once("error", reject);
    });
    await engine.ready();
  } catch (error) {
    server?.close();
    await engine.close();
    throw error;
  }
  const listening = server;
  const address = listening.address() as AddressInfo;
  const shown = host.includes(":") ? `[${host}]` : host;
  const stop = async (deadlineMs = 30_000) => {
    if (isDraining) return;
    isDraining = true;
    const closed = new Promise<void>((resolve) => listening.close(() => resolve()));
    const cut = setTimeout(() => {
      void engine.close().then(() => listening.closeAllConnections());
    }, deadlineMs);
    while (admission.size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    listening.closeIdleConnections();
    await engine.close();
    await closed;
    clearTimeout(cut);
  };
  return { url: `http://${shown}:${address.port}`, engine, stop, [Symbol.asyncDispose]: () => stop(0) };
}
