import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { EngineClient } from "./engine-client.ts";
import type { Traffic } from "./runs.ts";

/** Metrics under vLLM's names, with our prefix. */
export function metricsOf(engine: EngineClient): { readonly traffic: Traffic; text(): Promise<string> } {
  const registry = new Registry();
  const registers = [registry];
  const first = new Histogram({
    name: "chainrule:time_to_first_token_seconds",
    help: "From the request to its first token.",
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const between = new Histogram({
    name: "chainrule:inter_token_latency_seconds",
    help: "From one token of a request to the next.",
    buckets: [0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1, 2.5],
    registers,
  });
  const traffic: Traffic = {
    running: 0,
    accepted: 0,
    refused: 0,
    promptTokens: 0,
    completionTokens: 0,
    onFirstToken: (seconds) => first.observe(seconds),
    onToken: (seconds) => between.observe(seconds),
  };
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `chainrule:${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  gauge("num_requests_running", "Requests under way.", () => Math.max(0, traffic.running - (engine.status?.queued ?? 0)));
  gauge("num_requests_waiting", "Forward requests that wait for a pass.", () => engine.status?.queued ?? 0);
  gauge("kv_cache_usage_perc", "Share of the cache's streams in use, 0 to 1.", () =>
    engine.status === undefined ? 0 : engine.status.streamsUsed / engine.status.streams,
  );
  gauge("engine_ready", "1 when the engine takes requests.", () => (engine.isReady ? 1 : 0));
  gauge("process_resident_memory_bytes", "Resident memory of the engine's process.", () => engine.status?.residentBytes ?? 0);
  const counter = (name: string, help: string, value: () => number) => {
    let known = 0;
    new Counter({
      name: `chainrule:${name}`,
      help,
      registers,
      collect() {
        const now = value();
        if (now > known) this.inc(now - known);
        known = Math.max(known, now);
      },
    });
  };
  counter("prompt_tokens_total", "Prompt tokens of finished answers.", () => traffic.promptTokens);
  counter("generation_tokens_total", "Tokens generated.", () => traffic.completionTokens);
  counter("requests_total", "Requests admitted.", () => traffic.accepted);
  counter("requests_refused_total", "Requests refused because the server was full.", () => traffic.refused);
  counter("num_preemptions_total", "Groups put aside to make room.", () => engine.status?.preemptions ?? 0);
  counter("engine_restarts_total", "Times the engine's process was started again.", () => engine.restarts);
  return { traffic, text: () => registry.metrics() };
}
