import { EventStreamParser, type ServerEvent } from "./event-stream.ts";

/** What went wrong, in the server's words where it had some. */
export class ApiError extends Error {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** The field of the request that is to blame. */
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(status: number, message: string, param?: string | null, retryAfterMs?: number) {
    super(message);
    this.status = status;
    this.param = param ?? undefined;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The server's public API, with the key that the person gave for this tab. */
export class Client {
  readonly #key: () => string | undefined;
  readonly #onUnauthorized: () => void;

  /** @param onUnauthorized  called whenever the server asks for a key or refuses the one it got */
  constructor(key: () => string | undefined, onUnauthorized: () => void) {
    this.#key = key;
    this.#onUnauthorized = onUnauthorized;
  }

  /** @throws ApiError */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.#fetch(path, { method: "GET" }, signal)).json()) as T;
  }

  /** @throws ApiError */
  async post<T>(path: string, body: object, signal?: AbortSignal): Promise<T> {
    return (await (await this.#fetch(path, { method: "POST", body: JSON.stringify(body) }, signal)).json()) as T;
  }

  /** The events of a streamed answer, several at a time as they arrive. @throws ApiError; the signal's reason */
  async *stream(path: string, body: object, signal: AbortSignal): AsyncGenerator<readonly ServerEvent[]> {
    const response = await this.#fetch(path, { method: "POST", body: JSON.stringify(body) }, signal);
    const parser = new EventStreamParser();
    const decoder = new TextDecoder();
    const reader = response.body!.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const events = parser.push(decoder.decode(value, { stream: true }));
        if (events.length > 0) yield events;
      }
    } finally {
      await reader.cancel().catch(() => undefined); // an aborted stream can't be cancelled again
    }
  }

  async #fetch(path: string, init: RequestInit, signal: AbortSignal | undefined): Promise<Response> {
    const key = this.#key();
    const headers = {
      ...(init.body === undefined ? {} : { "content-type": "application/json" }),
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    };
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers, ...(signal === undefined ? {} : { signal }) });
    } catch (error) {
      signal?.throwIfAborted();
      throw new ApiError(0, `the server does not answer (${error instanceof Error ? error.message : String(error)})`);
    }
    if (response.ok) return response;
    if (response.status === 401) this.#onUnauthorized();
    throw await errorOf(response);
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  const retryAfterMs = Number(response.headers.get("retry-after-ms")) || undefined;
  try {
    const { error } = JSON.parse(text) as { error: { message: string; param?: string | null } };
    return new ApiError(response.status, error.message, error.param, retryAfterMs);
  } catch {
    return new ApiError(response.status, `${response.status} ${response.statusText}`, null, retryAfterMs); // a proxy's page, say
  }
}
