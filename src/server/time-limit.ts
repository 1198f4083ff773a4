import type { Context } from "hono";
import { HttpError } from "./http-error.ts";
import type { Env } from "./runs.ts";

export interface TimeLimits {
  /** Milliseconds from a run's turn until its first token. Default 120,000. */
  readonly firstTokenMs?: number;
  /** Milliseconds from a request's arrival to the end of its answer. Default 600,000. */
  readonly totalMs?: number;
}

export interface Limit {
  readonly signal: AbortSignal;
  /** The run's turn has come; its first token is due. */
  expectToken(): void;
  hasToken(): void;
  clear(): void;
}

/** The client's leaving and the time limits as one signal. */
export function timeLimit(c: Context<Env>, { firstTokenMs = 120_000, totalMs = 600_000 }: TimeLimits): Limit {
  const controller = new AbortController();
  const after = (ms: number, code: string, message: string) =>
    setTimeout(() => controller.abort(new HttpError(504, code, message)), Math.max(ms, 0));
  const total = after(
    totalMs - (performance.now() - c.get("ticket").arrivedAt),
    "total_timeout",
    `the answer took longer than ${totalMs} ms`,
  );
  let first: NodeJS.Timeout | undefined;
  const client = c.req.raw.signal;
  const onLeft = () => controller.abort(new HttpError(400, "client_left", "the client left")); // the socket's own reason is no Error
  if (client.aborted) onLeft();
  else client.addEventListener("abort", onLeft, { once: true });
  return {
    signal: controller.signal,
    expectToken: () => {
      first = after(firstTokenMs, "first_token_timeout", `no token came within ${firstTokenMs} ms`);
    },
    hasToken: () => clearTimeout(first),
    clear: () => {
      client.removeEventListener("abort", onLeft);
      clearTimeout(total);
      clearTimeout(first);
    },
  };
}
