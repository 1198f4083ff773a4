import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import type { TokenLogprob } from "../decoding/index.ts";
import type { EngineClient } from "./engine-client.ts";
import { asHttpError, HttpError } from "./http-error.ts";
import type { Task, WireEvent, WireResult } from "./protocol.ts";

export type Env = { Variables: { id: string } };
export type GenerateTask = Extract<Task, { kind: "generate" }>;
export type TokenEvent = Extract<WireEvent, { kind: "token" }>;
export type BranchEvent = Extract<WireEvent, { kind: "branch" }>;
export type FinishEvent = Extract<WireEvent, { kind: "finish" }>;

/** What happens to requests, for metrics. */
export interface Traffic {
  running: number;
  accepted: number;
  refused: number;
  promptTokens: number;
  completionTokens: number;
  onFirstToken: (seconds: number) => void;
  onToken: (seconds: number) => void;
}

export interface RunLimits {
  /** Requests that may be under way or wait at the same time; more get 429. Default 128. */
  readonly maxRequests?: number;
  /** Milliseconds until the first token, and in all. Defaults 120,000 and 600,000. */
  readonly firstTokenMs?: number;
  readonly totalMs?: number;
}

/** One server-sent event. */
export interface Message {
  readonly event?: string;
  readonly data: object | string;
}

/** How an endpoint writes a run as it goes. Choices count from 0 over all tasks. */
export interface StreamShape {
  begin(choice: number): readonly Message[];
  token(choice: number, event: TokenEvent): readonly Message[];
  branch(choice: number, event: BranchEvent): readonly Message[];
  finish(choice: number, event: FinishEvent): readonly Message[];
  end(results: readonly WireResult[]): readonly Message[];
  failed(error: HttpError): Message;
}

/** A choice's answer. */
export interface Answer {
  readonly text: string;
  readonly logprobs: readonly TokenLogprob[];
  readonly result: WireResult;
}

/** Admits requests to the engine, bounds their time, and gives their events whole or as a stream. */
export class Runs {
  readonly #engine: EngineClient;
  readonly #traffic: Traffic;
  readonly #isDraining: () => boolean;
  readonly #maxRequests: number;
  readonly #firstTokenMs: number;
  readonly #totalMs: number;

  constructor(engine: EngineClient, traffic: Traffic, isDraining: () => boolean, limits: RunLimits) {
    this.#engine = engine;
    this.#traffic = traffic;
    this.#isDraining = isDraining;
    this.#maxRequests = limits.maxRequests ?? 128;
    this.#firstTokenMs = limits.firstTokenMs ?? 120_000;
    this.#totalMs = limits.totalMs ?? 600_000;
  }

  /** Does work if the server has room for it. @throws HttpError */
  async admitted<T>(work: () => Promise<T>): Promise<T> {
    this.#admit();
    try {
      return await work();
    } finally {
      this.#traffic.running -= 1;
    }
  }

  /** Whole answers, by choice. @throws HttpError, TaskError */
  async collect(tasks: readonly GenerateTask[], client: AbortSignal): Promise<Answer[]> {
    const texts: string[] = [];
    const logprobs: TokenLogprob[][] = [];
    const answers: Answer[] = [];
    for await (const event of this.#events(tasks, client)) {
      if (event.kind === "branch") continue; // it is in the result's facts
      const { choice } = event;
      texts[choice] = (texts[choice] ?? "") + event.text;
      logprobs[choice] ??= [];
      if (event.kind === "finish") answers[choice] = { text: texts[choice], logprobs: logprobs[choice], result: event.result };
      else if (event.logprob !== undefined) logprobs[choice].push(event.logprob);
    }
    return answers;
  }

  /** Answers as server-sent events. An error before the first event is an ordinary answer, later it is an event and the last one. */
  async stream(c: Context<Env>, tasks: readonly GenerateTask[], shape: StreamShape): Promise<Response> {
    const source = this.#events(tasks, c.req.raw.signal);
    const first = await source.next(); // what is wrong with the request shows here
    c.header("cache-control", "no-store");
    c.header("x-accel-buffering", "no");
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => void source.return(undefined));
      const send = async (messages: readonly Message[]) => {
        for (const { event, data } of messages)
          await stream.writeSSE({
            ...(event === undefined ? {} : { event }),
            data: typeof data === "string" ? data : JSON.stringify(data),
          });
      };
      const begun = new Set<number>();
      const results: WireResult[] = [];
      try {
        for (let next = first; next.done !== true; next = await source.next()) {
          const event = next.value;
          if (!begun.has(event.choice)) await send(shape.begin(event.choice));
          begun.add(event.choice);
          if (event.kind === "token") await send(shape.token(event.choice, event));
          else if (event.kind === "branch") await send(shape.branch(event.choice, event));
          else {
            results[event.choice] = event.result;
            await send(shape.finish(event.choice, event));
          }
        }
        await send(shape.end(results));
      } catch (error) {
        if (!stream.aborted) await send([shape.failed(asHttpError(error))]);
      } finally {
        await source.return(undefined);
      }
    });
  }

  #admit(): void {
    if (this.#isDraining()) throw new HttpError(503, "shutting_down", "the server is shutting down");
    if (!this.#engine.isReady) throw new HttpError(503, "engine_not_ready", "the engine is not ready");
    if (this.#traffic.running >= this.#maxRequests) {
      this.#traffic.refused += 1;
      throw new HttpError(429, "too_many_requests", `the server has ${this.#maxRequests} requests under way`);
    }
    this.#traffic.running += 1;
    this.#traffic.accepted += 1;
  }

  /** The events of all tasks as they come, with the choice's number over all of them. */
  async *#events(tasks: readonly GenerateTask[], client: AbortSignal): AsyncGenerator<WireEvent> {
    this.#admit();
    const traffic = this.#traffic;
    const limit = new AbortController();
    const stopAfter = (ms: number, code: string, message: string) =>
      setTimeout(() => limit.abort(new HttpError(504, code, `${message} ${ms} ms`)), ms);
    const total = stopAfter(this.#totalMs, "total_timeout", "the answer took longer than");
    const first = stopAfter(this.#firstTokenMs, "first_token_timeout", "no token came within");
    const signal = AbortSignal.any([client, limit.signal]);
    const started = performance.now();
    let last = 0;
    const sources = tasks.map((task) => this.#engine.stream(task, signal));
    try {
      for await (const { index, event } of merged(sources)) {
        clearTimeout(first);
        if (event.kind === "token") {
          const now = performance.now();
          if (last === 0) traffic.onFirstToken((now - started) / 1000);
          else traffic.onToken((now - last) / 1000);
          last = now;
          traffic.completionTokens += 1;
        } else if (event.kind === "finish" && event.choice === 0) traffic.promptTokens += event.result.usage.promptTokens;
        yield { ...event, choice: index * tasks[index]!.count + event.choice };
      }
    } finally {
      clearTimeout(total);
      clearTimeout(first);
      traffic.running -= 1;
    }
  }
}

/** What comes next of several generators, whichever has it. */
async function* merged(sources: readonly AsyncGenerator<WireEvent>[]): AsyncGenerator<{ index: number; event: WireEvent }> {
  const waiting = new Map(sources.map((source, index) => [index, source.next().then((next) => ({ index, next }))]));
  try {
    while (waiting.size > 0) {
      const { index, next } = await Promise.race(waiting.values());
      if (next.done === true) waiting.delete(index);
      else {
        yield { index, event: next.value };
        waiting.set(
          index,
          sources[index]!.next().then((following) => ({ index, next: following })),
        );
      }
    }
  } finally {
    for (const pending of waiting.values()) pending.catch(() => undefined); // the first failure was thrown above
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}
