import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { ApiError, type Client } from "../api/client.ts";
import type { Chunk } from "../api/wire.ts";
import { applyChunks, isUnderWay, type Run, startedRun } from "./run.ts";
import { type RunRequest, requestOf, streamed } from "./settings.ts";

/** Runs one request at a time and shows its answers as they come. Starting another, or {@link cancel}, ends the one under way. */
export class Runner {
  readonly #client: Client;
  readonly #runs = signal<readonly Run[]>([]);
  #controller: AbortController | undefined;
  /** Which answer is looked at. */
  readonly selected = signal(0);
  /** The answer that is looked at. */
  readonly run: ReadonlySignal<Run | undefined> = computed(() => this.#runs.value[this.selected.value]);

  constructor(client: Client) {
    this.#client = client;
  }

  /** All answers. */
  get runs(): ReadonlySignal<readonly Run[]> {
    return this.#runs;
  }

  get isUnderWay(): boolean {
    return this.#runs.value.some(isUnderWay);
  }

  cancel(): void {
    this.#controller?.abort();
  }

  clear(): void {
    this.cancel();
    this.#controller = undefined;
    this.#show([]);
  }

  async start(request: RunRequest): Promise<void> {
    this.cancel();
    const controller = new AbortController();
    this.#controller = controller;
    let runs: readonly Run[] = Array.from({ length: request.settings.answers }, (_, choice) => startedRun(request, choice));
    const show = (next: (run: Run) => Run) => {
      runs = runs.map(next);
      if (this.#controller === controller) this.#runs.value = runs;
    };
    this.#show(runs);
    const { path, body } = requestOf(request);
    let waiting: Chunk[] = [];
    let frame: number | undefined;
    const flush = () => {
      if (frame !== undefined) cancelAnimationFrame(frame);
      frame = undefined;
      const chunks = waiting;
      waiting = [];
      if (chunks.length === 0) return;
      show((run) => {
        const own = chunks.filter(({ choices }) => choices[0]?.index === run.choice);
        return own.length === 0 ? run : applyChunks(run, own);
      });
    };
    try {
      for await (const events of this.#client.stream(path, streamed(body), controller.signal)) {
        for (const { event, data } of events) {
          if (event === "error") throw streamError(data);
          if (data !== "[DONE]") waiting.push(JSON.parse(data) as Chunk);
        }
        frame ??= requestAnimationFrame(flush); // however fast tokens come, the page is drawn once a frame
      }
      flush();
      if (runs.some(isUnderWay)) throw new ApiError(0, "the connection ended before the answer did");
    } catch (error) {
      flush();
      const end = (how: Partial<Run>) => show((run) => (isUnderWay(run) ? { ...run, ...how } : run));
      if (controller.signal.aborted) end({ status: "stopped" });
      else if (error instanceof ApiError) end({ status: "failed", error: { message: error.message, param: error.param } });
      else throw error;
    }
  }

  #show(runs: readonly Run[]): void {
    this.selected.value = 0;
    this.#runs.value = runs;
  }
}

function streamError(data: string): ApiError {
  const { error } = JSON.parse(data) as { error: { message: string; param?: string | null } };
  return new ApiError(0, error.message, error.param);
}
