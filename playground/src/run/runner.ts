import { type ReadonlySignal, signal } from "@preact/signals";
import { ApiError, type Client } from "../api/client.ts";
import type { Chunk } from "../api/wire.ts";
import { applyChunks, isUnderWay, type Run, startedRun } from "./run.ts";
import { type RunRequest, requestOf, streamed } from "./settings.ts";

/** Runs one request at a time and shows it as it comes. Starting another, or {@link cancel}, ends the one under way. */
export class Runner {
  readonly #client: Client;
  readonly #run = signal<Run | undefined>(undefined);
  #controller: AbortController | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  get run(): ReadonlySignal<Run | undefined> {
    return this.#run;
  }

  get isUnderWay(): boolean {
    return isUnderWay(this.#run.value);
  }

  cancel(): void {
    this.#controller?.abort();
  }

  clear(): void {
    this.cancel();
    this.#controller = undefined;
    this.#run.value = undefined;
  }

  /** The run at its end. */
  async start(request: RunRequest): Promise<Run> {
    this.cancel();
    const controller = new AbortController();
    this.#controller = controller;
    let run = startedRun(request);
    const show = (next: Run) => {
      run = next;
      if (this.#controller === controller) this.#run.value = run;
    };
    show(run);
    const { path, body } = requestOf(request);
    let waiting: Chunk[] = [];
    let frame: number | undefined;
    const flush = () => {
      if (frame !== undefined) cancelAnimationFrame(frame);
      frame = undefined;
      const chunks = waiting;
      waiting = [];
      if (chunks.length > 0) show(applyChunks(run, chunks));
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
      if (isUnderWay(run)) throw new ApiError(0, "the connection ended before the answer did");
    } catch (error) {
      flush();
      if (controller.signal.aborted) show({ ...run, status: "stopped" });
      else if (error instanceof ApiError) show({ ...run, status: "failed", error: { message: error.message, param: error.param } });
      else throw error;
    }
    return run;
  }
}

function streamError(data: string): ApiError {
  const { error } = JSON.parse(data) as { error: { message: string; param?: string | null } };
  return new ApiError(0, error.message, error.param);
}
