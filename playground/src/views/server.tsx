import { signal } from "@preact/signals";
import { ApiError } from "../api/client.ts";
import type { CostCurve } from "../api/wire.ts";
import { client, samples, status } from "../app-state.ts";
import { CostChart } from "../charts/cost-chart.tsx";
import { TimeChart } from "../charts/time-chart.tsx";

const curve = signal<{ kind: "none" | "loading" } | { kind: "ready"; curve: CostCurve } | { kind: "failed"; message: string }>({
  kind: "none",
});

async function loadCurve(): Promise<void> {
  curve.value = { kind: "loading" };
  try {
    curve.value = { kind: "ready", curve: await client.get<CostCurve>("/v1/chainrule/cost-curve") };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    curve.value = { kind: "failed", message: error.message };
  }
}

export function ServerView() {
  const now = status.value;
  const last = samples.value.at(-1);
  const engine = now?.engine ?? undefined;
  return (
    <div class="server">
      <h1 class="sr-only">Server</h1>
      <div class="charts">
        <TimeChart
          title="Throughput"
          unit="tokens/s"
          samples={samples.value}
          lines={[{ name: "tokens per second", value: ({ tokensPerSecond }) => tokensPerSecond }]}
          now={last?.tokensPerSecond?.toFixed(1)}
        />
        <TimeChart
          title="Requests"
          unit="under way"
          samples={samples.value}
          lines={[
            { name: "under way", value: ({ running }) => running },
            { name: "waiting for their turn", value: ({ waiting }) => waiting },
            { name: "waiting for a pass", value: ({ queued }) => queued },
          ]}
          now={last === undefined ? undefined : String(last.running)}
          note={
            last === undefined
              ? undefined
              : `${last.waiting} waiting for their turn${last.queued === undefined ? "" : `, ${last.queued} for a pass`}`
          }
        />
        <TimeChart
          title="Cache"
          unit="% of streams"
          samples={samples.value}
          most={100}
          lines={[{ name: "streams in use", value: ({ cache }) => (cache === undefined ? undefined : 100 * cache) }]}
          now={last?.cache === undefined ? undefined : (100 * last.cache).toFixed(0)}
          note={engine === undefined ? undefined : `${engine.streamsUsed} of ${engine.streams} streams`}
        />
      </div>
      <section class="section">
        <h2>Cost curve</h2>
        <p class="quiet measure">
          How long a pass over n rows takes against a pass over one. It rules how wide drafts and beams may be. It is measured once per
          model file and kept.
        </p>
        {curve.value.kind === "none" && (
          <button type="button" class="button" onClick={() => void loadCurve()}>
            Show the curve
          </button>
        )}
        {curve.value.kind === "loading" && (
          <p class="quiet loading" role="status">
            Measuring, unless it was measured before…
          </p>
        )}
        {curve.value.kind === "failed" && (
          <div class="notice" role="alert">
            <p>{curve.value.message}</p>
            <button type="button" class="link" onClick={() => void loadCurve()}>
              Try again
            </button>
          </div>
        )}
        {curve.value.kind === "ready" && <CostChart curve={curve.value.curve} />}
      </section>
      {now?.training && (
        <section class="section">
          <h2>Training</h2>
          <p>
            <a href={now.training} target="_blank" rel="noreferrer">
              Loss, learning rate and gradients of the run, as it goes
            </a>
          </p>
        </section>
      )}
      <section class="section">
        <h2>Since the start</h2>
        {now === undefined ? (
          <p class="quiet loading">Asking the server…</p>
        ) : (
          <dl class="numbers">
            {(
              [
                ["Requests", now.requests.accepted],
                ["Refused", now.requests.refused],
                ["Prompt tokens", now.tokens.prompt],
                ["Generated tokens", now.tokens.completion],
                ...(engine === undefined
                  ? []
                  : ([
                      ["Passes", engine.passes],
                      ["Preemptions", engine.preemptions],
                      ["Resident memory", engine.residentBytes / 2 ** 20, "MiB"],
                    ] as const)),
                ["Engine restarts", now.restarts],
              ] as const
            ).map(([label, value, unit]) => (
              <div key={label}>
                <dt>{label}</dt>
                <dd>
                  {Math.round(value).toLocaleString("en")} {unit !== undefined && <span class="quiet">{unit}</span>}
                </dd>
              </div>
            ))}
          </dl>
        )}
      </section>
    </div>
  );
}
