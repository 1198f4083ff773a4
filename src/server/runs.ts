import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import type { Ticket } from "./admission.ts";
import type { EngineClient } from "./engine-client.ts";
import { asHttpError, type HttpError } from "./http-error.ts";
import type { Task, WireEvent, WireLogprob, WireResult } from "./protocol.ts";
import type { RequestRecord } from "./request-record.ts";
import { type Limit, type TimeLimits, timeLimit } from "./time-limit.ts";

export type Env = {
  Bindings: Partial<HttpBindings>;
  Variables: {
    id: string;
    record: RequestRecord;
    ticket: Ticket;
    client: string | undefined;
    fieldOf: ((option: string) => string) | undefined;
  };
};
export type GenerateTask = Extract<Task, { kind: "generate" }>;
export type TokenEvent = Extract<WireEvent, { kind: "token" }>;
export type SearchEvent = Extract<WireEvent, { kind: "search" }>;
export type FinishEvent = Extract<WireEvent, { kind: "finish" }>;

/** One server-sent event. */
export interface Message {
  readonly event?: string;
  readonly data: object | string;
}

/** How an endpoint writes a run as it goes. Choices count from 0 over all tasks. */
export interface StreamShape {
  begin(choice: number): readonly Message[];
  token(choice: number, event: TokenEvent): readonly Message[];
  search(choice: number, event: SearchEvent): readonly Message[];
  finish(choice: number, event: FinishEvent): readonly Message[];
  end(results: readonly WireResult[]): readonly Message[];
  failed(error: HttpError): Message;
}

/** A choice's answer. */
export interface Answer {
  readonly text: string;
  /** The text that became certain with each token; what follows the last one is the rest of `text`. */
  readonly pieces: readonly string[];
  readonly logprobs: readonly WireLogprob[];
  readonly result: WireResult;
}

/** Milliseconds that a reader has for the error event after its time is up, before its connection is cut. */
const graceMs = 500;

export interface RunOptions extends TimeLimits {
  /** Told of failures that are the server's own, which a client sees as "internal error" only. */
  readonly onError?: (error: unknown, requestId: string) => void;
}

/** Bounds the time of a request's work, and gives its events whole or as a stream. */
export class Runs {
  readonly #engine: EngineClient;
  readonly #limits: RunOptions;

  constructor(engine: EngineClient, options: RunOptions) {
    this.#engine = engine;
    this.#limits = options;
  }

  /** What a task without events gives, when its turn has come. @throws HttpError, TaskError */
  async call(c: Context<Env>, task: Task, priority = 0): Promise<unknown> {
    const limit = timeLimit(c, this.#limits);
    try {
      await c.get("ticket").start(priority, limit.signal);
      return await this.#engine.call(task.kind === "embed" ? ownedBy(c.get("client"), task) : task, limit.signal, c.get("id"));
    } finally {
      limit.clear();
    }
  }

  /** Whole answers, by choice. @throws HttpError, TaskError */
  async collect(c: Context<Env>, tasks: readonly GenerateTask[]): Promise<Answer[]> {
    const pieces: string[][] = [];
    const logprobs: WireLogprob[][] = [];
    const answers: Answer[] = [];
    for await (const event of this.#events(c, tasks, timeLimit(c, this.#limits))) {
      if (event.kind === "search") continue; // it is in the result's facts
      const { choice } = event;
      pieces[choice] ??= [];
      logprobs[choice] ??= [];
      const own = pieces[choice];
      if (event.kind === "finish")
        answers[choice] = { text: own.join("") + event.text, pieces: own, logprobs: logprobs[choice], result: event.result };
      else {
        own.push(event.text);
        if (event.logprob !== undefined) logprobs[choice].push(event.logprob);
      }
    }
    return answers;
  }

  /** Answers as server-sent events. An error before the first event is an ordinary answer, later it is an event and the last one. */
  async stream(c: Context<Env>, tasks: readonly GenerateTask[], shape: StreamShape): Promise<Response> {
    const limit = timeLimit(c, this.#limits);
    const source = this.#events(c, tasks, limit);
    const first = await source.next(); // what is wrong with the request shows here
    c.get("record").isStreaming = true; // from here on the answer's end is that of the stream
    const pieces = this.#pieces(c, source, first, shape, limit);
    const client = c.req.raw.signal;
    const leave = () => {
      end();
      void pieces.return(undefined);
    };
    // a listener that stayed would hold the request, and through the platform's finalizers the request itself: no answer would ever be freed
    const end = () => client.removeEventListener("abort", leave);
    client.addEventListener("abort", leave);
    const encoder = new TextEncoder();
    // a piece is made when the one before has been taken: a reader that doesn't read stops its run
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const next = await pieces.next();
        if (next.done === true) {
          end();
          controller.close();
        } else controller.enqueue(encoder.encode(next.value));
      },
      cancel: leave,
    });
    return c.body(body, 200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" });
  }

  /** What a stream sends, event by event of the run. Ends the run where it is left before its end. */
  async *#pieces(
    c: Context<Env>,
    source: AsyncGenerator<WireEvent>,
    first: IteratorResult<WireEvent>,
    shape: StreamShape,
    limit: Limit,
  ): AsyncGenerator<string, void> {
    const record = c.get("record");
    const client = c.req.raw.signal;
    let cut: NodeJS.Timeout | undefined;
    const onLimit = () => {
      if (client.aborted) return;
      cut = setTimeout(() => c.env?.outgoing?.destroy(), graceMs); // a reader that doesn't read would hold the answer for ever
    };
    limit.signal.addEventListener("abort", onLimit, { once: true });
    const begun = new Set<number>();
    const results: WireResult[] = [];
    let isOver = false;
    try {
      for (let next = first; next.done !== true; next = await source.next()) {
        const event = next.value;
        const head = begun.has(event.choice) ? [] : shape.begin(event.choice);
        begun.add(event.choice);
        if (event.kind === "finish") results[event.choice] = event.result;
        const piece = written([...head, ...messagesOf(shape, event)]);
        if (piece !== "") yield piece;
      }
      yield written(shape.end(results));
      isOver = true;
    } catch (error) {
      const known = asHttpError(error, c.get("fieldOf"));
      if (!client.aborted) {
        record.failed(known);
        if (known.code === "internal_error") this.#limits.onError?.(error, c.get("id"));
        yield written([shape.failed(known)]);
        isOver = true;
      }
    } finally {
      await source.return(undefined);
      limit.signal.removeEventListener("abort", onLimit);
      clearTimeout(cut);
      c.get("ticket").leave();
      if (!isOver) record.left();
      record.end(200);
    }
  }

  /** The events of all tasks as they come, with the choice's number over all of them. */
  async *#events(c: Context<Env>, tasks: readonly GenerateTask[], limit: Limit): AsyncGenerator<WireEvent> {
    const record = c.get("record");
    const priority = tasks[0]!.options.priority ?? 0;
    try {
      await c.get("ticket").start(priority, limit.signal);
      const operation = c.req.path.endsWith("/completions") && !c.req.path.endsWith("/chat/completions") ? "text_completion" : "chat";
      record.begin({ operation, model: this.#engine.info?.name ?? "", priority });
      limit.expectToken();
      const sources = tasks.map((task) => this.#engine.stream(ownedBy(c.get("client"), task), limit.signal, c.get("id")));
      for await (const { index, event } of merged(sources)) {
        limit.hasToken();
        if (event.kind === "token") record.token();
        else if (event.kind === "finish") record.finish(event.result, event.choice === 0);
        yield { ...event, choice: index * tasks[index]!.count + event.choice };
      }
    } finally {
      limit.clear();
    }
  }
}

function messagesOf(shape: StreamShape, event: WireEvent): readonly Message[] {
  switch (event.kind) {
    case "token":
      return shape.token(event.choice, event);
    case "search":
      return shape.search(event.choice, event);
    case "finish":
      return shape.finish(event.choice, event);
    default:
      return event satisfies never;
  }
}

/** Messages as they stand on the wire; JSON has no line breaks of its own. */
const written = (messages: readonly Message[]): string =>
  messages
    .map(
      ({ event, data }) =>
        `${event === undefined ? "" : `event: ${event}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`,
    )
    .join("");

/** A task whose prompts serve its client only: how soon an answer begins must tell nobody what others have sent. */
function ownedBy<T extends Extract<Task, { kind: "generate" | "embed" }>>(client: string | undefined, task: T): T {
  return client === undefined ? task : { ...task, options: { ...task.options, prefixKey: client } };
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
