import type { Ticket } from "./admission.ts";
import { HttpError } from "./http-error.ts";
import { RequestError } from "./parse-body.ts";

export interface BodyLimits {
  /** Bytes of one body; more get 413. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** Milliseconds that a body may take to arrive; then 408. Default 30,000. */
  readonly bodyMs?: number;
}

function cutShort(): never {
  throw new HttpError(400, "body_incomplete", "the body ended before it was complete");
}

/**
 * Reads a body of JSON.
 * @throws HttpError 400, 408, 413, 429
 */
export async function readBody(request: Request, ticket: Ticket, limits: BodyLimits): Promise<unknown> {
  return parseJson(await readBytes(request, ticket, limits));
}

/** @throws RequestError */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
  } catch {
    throw new RequestError(null, "invalid_json", "the body is no JSON");
  }
}

/**
 * Reads a body, counting its bytes as they come, whatever its header says.
 * @throws HttpError 400, 408, 413, 429
 */
export async function readBytes(request: Request, ticket: Ticket, limits: BodyLimits): Promise<Buffer> {
  const { maxBodyBytes = 4 * 2 ** 20, bodyMs = 30_000 } = limits;
  const reader = request.body?.getReader();
  const chunks: Uint8Array[] = [];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new HttpError(408, "body_timeout", `the body did not arrive within ${bodyMs} ms`)), bodyMs);
  });
  try {
    for (let bytes = 0; reader !== undefined; ) {
      const { done, value } = await Promise.race([reader.read().catch(cutShort), late]);
      if (done) break;
      bytes += value.length;
      if (bytes > maxBodyBytes) throw new HttpError(413, "body_too_large", `the body is larger than ${maxBodyBytes} bytes`);
      ticket.addBytes(value.length);
      chunks.push(value);
    }
  } finally {
    clearTimeout(timer);
    late.catch(() => undefined);
  }
  return Buffer.concat(chunks);
}
