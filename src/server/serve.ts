import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { totalmem } from "node:os";
import { serve as listen } from "@hono/node-server";
import { Admission, type AdmissionLimits } from "./admission.ts";
import { type AppOptions, createApp } from "./app.ts";
import { checkServeOptions } from "./check-options.ts";
import { EngineClient, type EngineClientOptions } from "./engine-client.ts";
import { type ForecastLimits, Forecasts } from "./forecasts.ts";
import { Metrics } from "./metrics.ts";
import type { ChildSettings } from "./protocol.ts";

export interface ServeOptions extends AppOptions, AdmissionLimits, ForecastLimits, EngineClientOptions {
  /** As for `load()`. Default "smollm2". */
  readonly model?: string;
  readonly load?: ChildSettings["load"];
  /** Default 127.0.0.1: nobody but this machine. */
  readonly host?: string;
  /** 0 takes any that is free. Default 8080. */
  readonly port?: number;
  /** Prompt tokens of all requests under way; more get 429. Default 65,536. */
  readonly maxTokens?: number;
  /**
   * Bytes of host memory for the caches of runs that have to make room for others, or for which nobody reads. Above it requests get 429, and
   * the youngest runs of the lowest priority 503. Default: a quarter of the machine's memory.
   */
  readonly maxAsideBytes?: number;
  /** Milliseconds that a request's header may take to arrive; then its connection is closed. Default 10,000. */
  readonly headerMs?: number;
  /** Milliseconds that a run may wait for a reader that doesn't read before it makes room for others. Default 30,000. */
  readonly unreadMs?: number;
  /** Milliseconds that requests under way have to finish when the server is told to stop. Default 30,000. */
  readonly stopMs?: number;
  /** Gives up while the model loads; a server that runs is ended with `stop`. */
  readonly signal?: AbortSignal;
}

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  readonly engine: EngineClient;
  /**
   * Says that it is not ready and refuses new requests by 503, lets those under way finish, cuts them at the deadline, also by 503; then
   * nobody listens any more.
   * @param deadlineMs  default: the option `stopMs`
   */
  stop(deadlineMs?: number): Promise<void>;
}

/**
 * Starts a server on a model; resolves when it takes requests.
 * @throws OptionError before anything starts; EngineLoadError, with the code of what is wrong with the model; Error where the port is
 *         taken; the signal's reason
 */
export async function serve(options: ServeOptions = {}): Promise<RunningServer> {
  checkServeOptions(options);
  options.signal?.throwIfAborted();
  const settings: ChildSettings = {
    model: options.model ?? "smollm2",
    load: options.load ?? {},
    maxTokens: options.maxTokens ?? 65_536,
    maxAsideBytes: options.maxAsideBytes ?? Math.floor(memoryBytes() / 4),
    unreadMs: options.unreadMs ?? 30_000,
  };
  const engine = new EngineClient(settings, options);
  let face: Face | undefined;
  try {
    face = await listenOn(engine, options);
    await engine.ready(options.signal);
  } catch (error) {
    await engine.close();
    await face?.stop(0);
    throw error;
  }
  const { url, stop: stopFace } = face;
  let stopping: Promise<void> | undefined;
  const stop = (deadlineMs = options.stopMs ?? 30_000) => {
    stopping ??= (async () => {
      const cut = setTimeout(() => void engine.close(), deadlineMs);
      await stopFace(deadlineMs);
      clearTimeout(cut);
      await engine.close();
    })();
    return stopping;
  };
  return { url, engine, stop, [Symbol.asyncDispose]: () => stop(0) };
}

/** What the machine has, or as much of it as this process may have. */
function memoryBytes(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
}

/** The sockets of a server. */
export interface Face {
  readonly url: string;
  readonly admission: Admission;
  readonly forecasts: Forecasts;
  /** As {@link RunningServer.stop}, but the engine stays. */
  stop(deadlineMs: number): Promise<void>;
}

/** Takes requests for an engine. Stands apart from {@link serve} so that tests can give one engine several faces. */
export async function listenOn(engine: EngineClient, options: Omit<ServeOptions, "model" | "load">): Promise<Face> {
  const { host = "127.0.0.1", port = 8080, headerMs = 10_000, bodyMs = 30_000 } = options;
  let isDraining = false;
  const admission = new Admission(options);
  const forecasts = new Forecasts(options);
  const metrics = new Metrics(engine, admission, forecasts);
  const app = createApp({ engine, admission, forecasts, metrics, isDraining: () => isDraining }, options);
  const server = await new Promise<Server>((resolve, reject) => {
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
  const address = server.address() as AddressInfo;
  const stop = async (deadlineMs: number) => {
    if (isDraining) return;
    isDraining = true;
    // what is under way has failed by then, or fails now: its clients have a moment to read that
    const cuts = [setTimeout(() => forecasts.close(), deadlineMs), setTimeout(() => server.closeAllConnections(), deadlineMs + cutMs)];
    while (admission.size > 0) await new Promise((resolve) => setTimeout(resolve, 20)); // who comes meanwhile is told
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    await closed;
    for (const cut of cuts) clearTimeout(cut);
    forecasts.close();
  };
  return { url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`, admission, forecasts, stop };
}

/** Milliseconds from the deadline of `stop` until connections are closed whatever is on them. */
const cutMs = 250;
