import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Admission } from "./admission.ts";
import type { EngineClient } from "./engine-client.ts";
import type { Forecasts } from "./forecasts.ts";

/** What a request that asked for text was, once it is over. Times in seconds. */
export interface FinishedRun {
  /** "stop", "length", "deadline", "abort" or "error". */
  readonly reason: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly seconds: { readonly queue: number; readonly prefill: number; readonly decode: number; readonly total: number };
}

/** Counts what happens, under vLLM's names with our prefix. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #registers = [this.#registry];
  readonly #first = this.#histogram("time_to_first_token_seconds", "From a request to its first token.", seconds);
  readonly #between = this.#histogram("inter_token_latency_seconds", "From one token of a request to its next.", shortSeconds);
  readonly #perToken = this.#histogram(
    "request_time_per_output_token_seconds",
    "Mean time of a request's tokens after the first.",
    shortSeconds,
  );
  readonly #total = this.#histogram("e2e_request_latency_seconds", "From a request to the end of its answer.", seconds);
  readonly #queue = this.#histogram("request_queue_time_seconds", "From a request to its first pass.", seconds);
  readonly #prefill = this.#histogram("request_prefill_time_seconds", "From the first pass to the first token.", seconds);
  readonly #decode = this.#histogram("request_decode_time_seconds", "From the first token to the last.", seconds);
  readonly #inference = this.#histogram("request_inference_time_seconds", "From the first pass to the last token.", seconds);
  readonly #promptTokens = this.#histogram("request_prompt_tokens", "Prompt tokens of a request.", tokens);
  readonly #newTokens = this.#histogram("request_generation_tokens", "Tokens generated for a request.", tokens);
  readonly #success = new Counter({
    name: "chainrule:request_success_total",
    help: "Requests that ended, by why.",
    labelNames: ["finished_reason"],
    registers: this.#registers,
  });
  readonly #forecastSeconds = this.#histogram("forecast_seconds", "From the arrival of a table to the end of its answer.", seconds);
  readonly #forecasts = new Counter({
    name: "chainrule:forecasts_total",
    help: "Forecasts that ended, by how.",
    labelNames: ["outcome"],
    registers: this.#registers,
  });
  promptTokens = 0;
  completionTokens = 0;

  constructor(engine: EngineClient, admission: Admission, forecasts: Forecasts) {
    const status = () => engine.status;
    this.#gauge("num_requests_running", "Requests that the engine works on.", () => admission.running);
    this.#gauge("num_requests_waiting", "Requests whose turn has not come.", () => admission.waiting);
    this.#gauge("kv_cache_usage_perc", "Share of the cache's streams in use, 0 to 1.", () => {
      const now = status();
      return now === undefined ? 0 : now.streamsUsed / now.streams;
    });
    this.#gauge("engine_ready", "1 when the engine takes requests.", () => (engine.isReady ? 1 : 0));
    this.#gauge("process_resident_memory_bytes", "Resident memory of the engine's process.", () => status()?.residentBytes ?? 0);
    this.#gauge("num_forecasts_running", "Forecasts that are worked on.", () => forecasts.admission.running);
    this.#gauge("num_forecasts_waiting", "Forecasts whose turn has not come.", () => forecasts.admission.waiting);
    forecasts.onFinish = ({ outcome, seconds: spent }) => {
      this.#forecasts.inc({ outcome });
      if (outcome === "done") this.#forecastSeconds.observe(spent);
    };
    this.#counter("prompt_tokens_total", "Prompt tokens of finished answers.", () => this.promptTokens);
    this.#counter("generation_tokens_total", "Tokens generated.", () => this.completionTokens);
    this.#counter("requests_total", "Requests admitted.", () => admission.accepted);
    this.#counter("requests_refused_total", "Requests refused because the server was full.", () => admission.refused);
    this.#counter("num_preemptions_total", "Groups put aside to make room.", () => status()?.preemptions ?? 0);
    this.#counter("engine_restarts_total", "Times the engine's process was started again.", () => engine.restarts);
  }

  onFirstToken(afterSeconds: number): void {
    this.#first.observe(afterSeconds);
  }

  onToken(afterSeconds: number): void {
    this.#between.observe(afterSeconds);
  }

  onFinish({ reason, promptTokens, completionTokens, seconds: spent }: FinishedRun): void {
    this.#success.inc({ finished_reason: reason });
    this.#total.observe(spent.total);
    if (reason === "abort" || reason === "error") return; // of these nobody knows where the time went
    this.#promptTokens.observe(promptTokens);
    this.#newTokens.observe(completionTokens);
    this.#queue.observe(spent.queue);
    this.#prefill.observe(spent.prefill);
    this.#decode.observe(spent.decode);
    this.#inference.observe(spent.prefill + spent.decode);
    if (completionTokens > 1) this.#perToken.observe(spent.decode / (completionTokens - 1));
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `chainrule:${name}`, help, buckets, registers: this.#registers });
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name: `chainrule:${name}`,
      help,
      registers: this.#registers,
      collect() {
        this.set(value());
      },
    });
  }

  #counter(name: string, help: string, value: () => number): void {
    let last = 0;
    new Counter({
      name: `chainrule:${name}`,
      help,
      registers: this.#registers,
      collect() {
        const now = value();
        this.inc(now >= last ? now - last : now); // a new child counts from zero
        last = now;
      },
    });
  }
}

const shortSeconds = [0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1, 2.5, 5];
const seconds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const tokens = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];
