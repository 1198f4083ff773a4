import { availableParallelism } from "node:os";
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { type ForecastingMethod, forecasters, isTrainedModel } from "../forecasting/index.ts";
import { Admission, type AdmissionLimits } from "./admission.ts";
import { type BodyLimits, readBytes } from "./body.ts";
import { ForecastPool, type ForecastPoolOptions } from "./forecast-pool.ts";
import type { ForecastJob, ForecastSizes, FromForecaster } from "./forecast-protocol.ts";
import { asHttpError } from "./http-error.ts";
import type { Env } from "./runs.ts";
import { type TimeLimits, timeLimit } from "./time-limit.ts";

export interface ForecastLimits {
  /** Forecasts that are worked on at the same time, each on a core; the others wait. Default: half of the cores. */
  readonly maxForecasts?: number;
  /** Bytes of one body; more get 413. Default 16 MiB. */
  readonly maxForecastBytes?: number;
  /** Rows of one table; more get 413. Default 200,000. */
  readonly maxForecastRows?: number;
  /** Series of one table; more get 413. Default 2,000. */
  readonly maxForecastSeries?: number;
  /** Steps ahead; more get 400. Default 10,000. */
  readonly maxForecastHorizon?: number;
}

export interface ForecastOptions extends ForecastLimits, ForecastPoolOptions, BodyLimits, TimeLimits, AdmissionLimits {}

/** Numbers of one answer, series times steps. */
const maxValues = 1_000_000;

/** What metrics count. */
export interface FinishedForecast {
  readonly outcome: "done" | "error" | "abort";
  readonly seconds: number;
}

/** Forecasts of tables that requests bring. The parent passes bytes on, both ways; all else happens in processes of `ForecastPool`. */
export class Forecasts {
  readonly #options: ForecastOptions;
  readonly #sizes: ForecastSizes;
  readonly #pool: ForecastPool;
  /** Whose turn it is, apart from the engine's requests. */
  readonly admission: Admission;
  onFinish: ((finished: FinishedForecast) => void) | undefined;

  constructor(options: ForecastOptions = {}) {
    this.#options = options;
    this.#pool = new ForecastPool(options);
    const { maxForecasts = Math.max(1, availableParallelism() >> 1), maxRequests, queueMs } = options;
    this.admission = new Admission({
      maxRunning: maxForecasts,
      ...(maxRequests === undefined ? {} : { maxRequests }),
      ...(queueMs === undefined ? {} : { queueMs }),
    });
    this.#sizes = {
      rows: options.maxForecastRows ?? 200_000,
      series: options.maxForecastSeries ?? 2000,
      horizon: options.maxForecastHorizon ?? 10_000,
      values: maxValues,
    };
  }

  /** Processes that are there. */
  get processes(): number {
    return this.#pool.size;
  }

  /** @internal for tests */
  crash(): void {
    this.#pool.crash();
  }

  close(): void {
    this.#pool.close();
  }

  /** Answers a request whole, or as events where it asks for them. @throws HttpError, TaskError before the first event */
  async answer(c: Context<Env>, kind: ForecastJob["kind"]): Promise<Response> {
    const { maxForecastBytes: maxBodyBytes = 16 * 2 ** 20, bodyMs } = this.#options;
    const body = await readBytes(c.req.raw, c.get("ticket"), { maxBodyBytes, ...(bodyMs === undefined ? {} : { bodyMs }) });
    const messages = this.#messages(c, { kind, body, limits: this.#sizes });
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const message = next.value;
      if (message.kind === "begun" && message.isStreamed) return this.#stream(c, messages); // what is wrong with the request shows before
      if (message.kind !== "done") continue;
      await messages.return(undefined);
      return c.body(message.json, 200, { "content-type": "application/json" });
    }
    throw new Error("internal: a forecast ended without an answer");
  }

  #stream(c: Context<Env>, messages: AsyncGenerator<Exclude<FromForecaster, { kind: "failed" }>>): Response {
    const record = c.get("record");
    record.isStreaming = true;
    c.header("cache-control", "no-store");
    c.header("x-accel-buffering", "no");
    return streamSSE(c, async (stream) => {
      try {
        for await (const message of messages) {
          if (message.kind === "event") await stream.writeSSE({ data: message.json });
          else if (message.kind === "done") await stream.writeSSE({ data: `{"answer":${message.json}}` });
        }
        await stream.writeSSE({ data: "[DONE]" });
      } catch (error) {
        const known = asHttpError(error);
        if (!stream.aborted) {
          record.failed(known);
          await stream.writeSSE({ event: "error", data: JSON.stringify({ error: known.body }) });
        }
      } finally {
        c.get("ticket").leave();
        if (stream.aborted || c.req.raw.signal.aborted) record.left();
        record.end(200);
      }
    });
  }

  /** A job's messages when its turn has come, within its time. */
  async *#messages(c: Context<Env>, job: ForecastJob): AsyncGenerator<Exclude<FromForecaster, { kind: "failed" }>> {
    const limit = timeLimit(c, this.#options);
    const startedAt = performance.now();
    let outcome: FinishedForecast["outcome"] = "abort";
    const turn = this.admission.enter();
    try {
      await turn.start(0, limit.signal);
      for await (const message of this.#pool.run(job, limit.signal)) {
        if (message.kind === "done") outcome = "done";
        yield message;
      }
    } catch (error) {
      if (!c.req.raw.signal.aborted) outcome = "error";
      throw error;
    } finally {
      turn.leave();
      limit.clear();
      this.onFinish?.({ outcome, seconds: (performance.now() - startedAt) / 1000 });
    }
  }
}

/** The models that a request may name, with their parameters: none that opens files which parameters name, and trains for minutes. */
export function forecastModels() {
  const served = Object.values(forecasters).filter(({ name }) => !isTrainedModel(name));
  return served.map((forecaster: ForecastingMethod) => {
    const { name, summary, source, parameters, isOnRequest = false } = forecaster;
    return { name, summary, source, isOnRequest, parameters };
  });
}
