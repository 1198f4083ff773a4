import { z } from "zod";
import { TaskError } from "./engine-client.ts";
import { RequestError } from "./parse-body.ts";

/** A failure with its status; the body is OpenAI's. */
export class HttpError extends Error {
  readonly status: 400 | 401 | 404 | 405 | 408 | 413 | 429 | 500 | 503 | 504;
  readonly code: string;
  readonly param: string | null;
  constructor(status: HttpError["status"], code: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }

  /** Whether the same request may do better later. */
  get isRetryable(): boolean {
    return this.status === 429 || this.status === 503 || this.code === "engine_crashed";
  }

  get body() {
    const { message, status, param, code } = this;
    return { message, type: errorTypes[status] ?? "invalid_request_error", param, code };
  }
}

const errorTypes: Readonly<Record<number, string>> = {
  401: "authentication_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "server_error",
  504: "server_error",
};

/**
 * What a client is told of any error; what it can't help stays general.
 *
 * @param fieldOf  the request's field for an option that the engine names
 */
export function asHttpError(error: unknown, fieldOf = (option: string) => option): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof RequestError) return new HttpError(400, error.code, error.message, error.param);
  if (error instanceof TaskError) {
    const { status, code, message, param } = error.error;
    return new HttpError(status, code, message, param === null ? null : fieldOf(param));
  }
  if (error instanceof z.ZodError) return new HttpError(400, "invalid_value", error.message);
  return new HttpError(500, "internal_error", "internal error");
}
