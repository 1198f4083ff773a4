import { context, propagation, type Span, type Context as SpanContext, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { FinishedRun, Metrics } from "./metrics.ts";
import type { WireResult } from "./protocol.ts";

/** What is written of a request when it is over. */
export interface RequestLog {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  /** 499 where the client left before its answer was complete. */
  readonly status: number;
  readonly ms: number;
  /** An error's. */
  readonly code?: string;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
}

/** One request from its first byte to its last: what log, metrics and spans tell of it. */
export class RequestRecord {
  readonly id: string;
  readonly #method: string;
  readonly #path: string;
  readonly #metrics: Metrics;
  readonly #onEnd: (log: RequestLog) => void;
  readonly #startedAt = performance.now();
  readonly #span: Span;
  readonly #spans: SpanContext;
  #run: Span | undefined;
  #turnAt = 0;
  #firstAt = 0;
  #lastAt = 0;
  readonly #results: WireResult[] = [];
  #promptTokens = 0;
  #error: { readonly code: string; readonly status: number } | undefined;
  #hasEnded = false;
  /** Whether its answer goes on after its head has been sent. */
  isStreaming = false;

  constructor(
    request: { readonly id: string; readonly method: string; readonly path: string; readonly headers: Headers },
    metrics: Metrics,
    onEnd: (log: RequestLog) => void,
  ) {
    this.id = request.id;
    this.#method = request.method;
    this.#path = request.path;
    this.#metrics = metrics;
    this.#onEnd = onEnd;
    // a caller's trace goes on here; without an SDK in the process all of this is nothing
    const parent = propagation.extract(context.active(), request.headers, {
      get: (carrier, key) => carrier.get(key) ?? undefined,
      keys: (carrier) => [...carrier.keys()],
    });
    const attributes = { "http.request.method": request.method, "url.path": request.path, "chainrule.request_id": request.id };
    this.#span = trace.getTracer("chainrule").startSpan(`${request.method} ${request.path}`, { kind: SpanKind.SERVER, attributes }, parent);
    this.#spans = trace.setSpan(parent, this.#span);
  }

  /** Its turn came: the engine works on it. */
  begin(facts: { readonly operation: string; readonly model: string; readonly priority: number }): void {
    this.#turnAt = performance.now();
    this.#run = trace.getTracer("chainrule").startSpan(
      `${facts.operation} ${facts.model}`,
      {
        attributes: {
          "gen_ai.operation.name": facts.operation,
          "gen_ai.request.model": facts.model,
          "chainrule.priority": facts.priority,
        },
      },
      this.#spans,
    );
  }

  token(): void {
    const now = performance.now();
    if (this.#firstAt === 0) {
      this.#firstAt = now;
      this.#metrics.onFirstToken((now - this.#startedAt) / 1000);
      this.#run?.addEvent("first token");
    } else this.#metrics.onToken((now - this.#lastAt) / 1000);
    this.#lastAt = now;
    this.#metrics.completionTokens += 1;
  }

  /** One of its answers is complete. @param countsPrompt  whether it is the first to its prompt */
  finish(result: WireResult, countsPrompt: boolean): void {
    this.#results.push(result);
    if (!countsPrompt) return;
    this.#promptTokens += result.usage.promptTokens;
    this.#metrics.promptTokens += result.usage.promptTokens;
  }

  failed(error: { readonly code: string; readonly status: number }): void {
    this.#error = error;
  }

  /** The client left before its answer was complete. */
  left(): void {
    this.#error = { code: "client_left", status: 499 };
  }

  /** It is over. Idempotent. @param sent  the answer's status */
  end(sent: number): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const status = this.#error?.code === "client_left" ? 499 : sent;
    const ms = performance.now() - this.#startedAt;
    const code = this.#error?.code;
    const completionTokens = this.#results.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
    if (this.#run !== undefined) this.#endRun(this.#run, ms, completionTokens);
    this.#span.setAttribute("http.response.status_code", status);
    if (code !== undefined) this.#span.setAttribute("error.type", code);
    if (status >= 500) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end();
    this.#onEnd({
      ...{ id: this.id, method: this.#method, path: this.#path, status, ms: Math.round(ms * 10) / 10 },
      ...(code === undefined ? {} : { code }),
      ...(this.#results.length === 0 ? {} : { promptTokens: this.#promptTokens, completionTokens }),
    });
  }

  #endRun(run: Span, ms: number, completionTokens: number): void {
    const reasons = this.#results.map(({ finishReason }) => finishReason);
    const reason = this.#error === undefined ? reasons[0] : this.#error.code === "client_left" ? "abort" : "error";
    if (reason !== undefined) {
      const times = this.#results[0]?.facts.times;
      const queueMs = this.#turnAt - this.#startedAt + (times?.queueMs ?? 0);
      const firstMs = (this.#firstAt === 0 ? performance.now() : this.#firstAt) - this.#startedAt;
      const finished: FinishedRun = {
        ...{ reason, promptTokens: this.#promptTokens, completionTokens },
        seconds: {
          queue: queueMs / 1000,
          prefill: Math.max(firstMs - queueMs, 0) / 1000,
          decode: (this.#lastAt - this.#firstAt) / 1000,
          total: ms / 1000,
        },
      };
      this.#metrics.onFinish(finished);
    }
    run.setAttributes({
      "gen_ai.usage.input_tokens": this.#promptTokens,
      "gen_ai.usage.output_tokens": completionTokens,
      "gen_ai.response.finish_reasons": reasons,
    });
    if (this.#error !== undefined) run.setStatus({ code: SpanStatusCode.ERROR, message: this.#error.code });
    run.end();
  }
}
