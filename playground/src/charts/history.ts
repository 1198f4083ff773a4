import type { ServerStatus } from "../api/wire.ts";

/** What the charts show of a moment. Absent: not known. */
export interface Sample {
  readonly atMs: number;
  readonly tokensPerSecond?: number;
  readonly running: number;
  /** Requests whose turn has not come. */
  readonly waiting: number;
  /** Of those that run: requests to the engine that wait for a pass. */
  readonly queued?: number;
  /** Share of the cache's streams in use, 0 to 1. */
  readonly cache?: number;
}

export const historyMs = 120_000;

interface Entry extends Sample {
  readonly completionTokens: number;
}

/** The server's last two minutes from its answers to `GET /v1/chainrule/status`. */
export class History {
  #entries: readonly Entry[] = [];

  get samples(): readonly Sample[] {
    return this.#entries;
  }

  add(status: ServerStatus, atMs: number): void {
    const last = this.#entries.at(-1);
    const completionTokens = status.tokens.completion;
    const isFirst = last === undefined || completionTokens < last.completionTokens || atMs <= last.atMs; // a server that was started again counts anew
    const { engine } = status;
    const entry: Entry = {
      ...{ atMs, completionTokens, running: status.requests.running, waiting: status.requests.waiting },
      ...(isFirst ? {} : { tokensPerSecond: ((completionTokens - last.completionTokens) * 1000) / (atMs - last.atMs) }),
      ...(engine === null ? {} : { queued: engine.queued, cache: engine.streams === 0 ? 0 : engine.streamsUsed / engine.streams }),
    };
    this.#entries = [...this.#entries.filter((one) => one.atMs > atMs - historyMs), entry];
  }
}
