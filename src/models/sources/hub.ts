import { createHash } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type FileDownloadInfoOutput, fileDownloadInfo, HubApiError } from "@huggingface/hub";
import { DownloadError } from "../../errors.ts";
import { requireFreeSpace } from "../free-space.ts";
import { type FileFacts, StagedFile } from "../staged-file.ts";
import { ifAbsent } from "../store.ts";
import { TransferMeter } from "../transfer.ts";
import type { FetchJob, HubAccess, Source } from "./source.ts";

const maxAttempts = 4;
const firstPauseMs = 250;
/** Longer than the pauses of a slow line, shorter than a person's patience with a dead one. */
const defaultSilenceMs = 20_000;

/** The line was cut or the server stumbled: what has arrived is kept, and trying again makes sense. */
class TransferCut extends DownloadError {}

/**
 * A file on the Hugging Face hub. What a cut transfer has brought stays in the partial folder under the name of the file's version
 * (its ETag), and the next attempt, or the next run, asks for the rest of the same version.
 *
 * The bytes are fetched from the file's own URL in one stream: the hub's chunk store has no order of arrival that could be resumed.
 *
 * @param silenceMs how long the hub may say nothing
 */
export function hubSource(location: { repo: string; path: string }, hub: HubAccess, silenceMs = defaultSilenceMs): Source {
  const label = `hub ${location.repo}/${location.path}`;
  return {
    label,
    async fetch(job) {
      const info = await describe(label, location, hub, silenceMs, job.signal);
      const sha256 = checkVersion(label, info, job.expected);
      const path = join(job.partialFolder, partialName(location, info));
      for (const other of await readdir(job.partialFolder)) {
        if (other !== basename(path)) await rm(join(job.partialFolder, other), { recursive: true });
      }
      for (let attempt = 1; ; attempt++) {
        try {
          const file = await transfer(label, path, info, hub, silenceMs, job);
          if (sha256 !== undefined && file.sha256 !== sha256) {
            await rm(path);
            throw new DownloadError(`${label}: the file has SHA-256 ${file.sha256}, expected ${sha256}`);
          }
          return { ...file, fileName: basename(location.path) };
        } catch (error) {
          if (!(error instanceof TransferCut) || attempt === maxAttempts) throw error;
          await delay(firstPauseMs * 2 ** (attempt - 1), undefined, { signal: job.signal }).catch(() => job.signal?.throwIfAborted());
        }
      }
    },
  };
}

async function describe(
  label: string,
  location: { repo: string; path: string },
  hub: HubAccess,
  silenceMs: number,
  signal: AbortSignal | undefined,
): Promise<FileDownloadInfoOutput> {
  const timeout = AbortSignal.timeout(silenceMs);
  try {
    const info = await fileDownloadInfo({
      ...location,
      ...(hub.url === undefined ? {} : { hubUrl: hub.url.replace(/\/+$/, "") }),
      ...(hub.accessToken === undefined ? {} : { accessToken: hub.accessToken }),
      fetch: (input, init) => fetch(input, { ...init, signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) }),
    });
    if (info === null) throw new DownloadError(`${label}: the repository has no such file`);
    return info;
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof DownloadError ? error : new DownloadError(`${label}: ${explain(error)}`, { cause: error });
  }
}

function explain(error: unknown): string {
  if (error instanceof HubApiError) {
    const needsToken = error.statusCode === 401 || error.statusCode === 403;
    return `the hub answered ${error.statusCode}${needsToken ? "; if the model asks for access, set HF_TOKEN to a token that has it" : ""}`;
  }
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return "the hub did not answer in time";
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

/** What the hub says of its version against what is pinned, before a byte is fetched. @returns the hash the file must have */
function checkVersion(label: string, info: FileDownloadInfoOutput, expected: FetchJob["expected"]): string | undefined {
  const linked = /^"?([0-9a-f]{64})"?$/.exec(info.etag)?.[1]; // for files in large-file storage the ETag is the file's SHA-256
  if (expected === undefined) return linked;
  if (info.size !== expected.sizeBytes)
    throw new DownloadError(`${label}: the hub's file has ${info.size} bytes, expected ${expected.sizeBytes}`);
  if (linked !== undefined && linked !== expected.sha256) {
    throw new DownloadError(`${label}: the hub's file has SHA-256 ${linked}, expected ${expected.sha256}`);
  }
  return expected.sha256;
}

function partialName(location: { repo: string; path: string }, info: FileDownloadInfoOutput): string {
  const version = JSON.stringify([location.repo, location.path, info.etag, info.size]);
  return `${createHash("sha256").update(version).digest("hex").slice(0, 16)}.part`;
}

/** Fetches what is missing of the file at `path`. @throws TransferCut when trying again makes sense; the file then keeps what came */
async function transfer(
  label: string,
  path: string,
  info: FileDownloadInfoOutput,
  hub: HubAccess,
  silenceMs: number,
  job: FetchJob,
): Promise<FileFacts> {
  const silent = new AbortController();
  const signal = job.signal === undefined ? silent.signal : AbortSignal.any([job.signal, silent.signal]);
  /** Every wait for the hub goes through here: it is bounded, and what fails is a cut transfer. */
  const fromHub = async <T>(step: () => Promise<T>): Promise<T> => {
    const timer = setTimeout(() => silent.abort(new TransferCut(`${label}: nothing came for ${silenceMs / 1000} s`)), silenceMs);
    try {
      return await step();
    } catch (error) {
      job.signal?.throwIfAborted();
      throw error instanceof DownloadError ? error : new TransferCut(`${label}: ${explain(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  };

  const kept = await stat(path).then(({ size }) => size, ifAbsent(0));
  await requireFreeSpace(job.partialFolder, info.size - kept);
  const body = kept < info.size ? await fromHub(() => openBody(label, info, kept, hub, signal)) : undefined;
  const file = body?.startsAt === 0 ? await StagedFile.create(path, info.size) : await StagedFile.resume(path, info.size);
  try {
    const meter = new TransferMeter({ source: label, totalBytes: info.size, keptBytes: file.sizeBytes, onProgress: job.onProgress });
    meter.update(file.sizeBytes);
    while (body !== undefined) {
      const { done, value } = await fromHub(() => body.reader.read());
      if (done) break;
      await file.write(value);
      meter.update(file.sizeBytes);
    }
    meter.finish(file.sizeBytes);
    if (file.sizeBytes < info.size) throw new TransferCut(`${label}: the transfer ended after ${file.sizeBytes} of ${info.size} bytes`);
    return await file.finish();
  } finally {
    await body?.reader.cancel().catch(() => {}); // a stream that has failed says so once more here
    await file.close();
  }
}

interface Body {
  /** a server may give the whole file when asked for its rest */
  readonly startsAt: number;
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
}

async function openBody(label: string, info: FileDownloadInfoOutput, from: number, hub: HubAccess, signal: AbortSignal): Promise<Body> {
  const headers: Record<string, string> = { "Accept-Encoding": "identity" };
  if (from > 0) headers.Range = `bytes=${from}-`;
  if (hub.accessToken !== undefined) headers.Authorization = `Bearer ${hub.accessToken}`;
  const response = await fetch(info.url, { headers, signal });
  const startsAt = response.status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get("Content-Range") ?? "")?.[1]) : 0;
  if (response.ok && response.body !== null && (startsAt === 0 || startsAt === from))
    return { startsAt, reader: response.body.getReader() };
  await response.body?.cancel();
  const Failure = response.status >= 500 ? TransferCut : DownloadError;
  throw new Failure(`${label}: the hub answered ${response.status} when asked for the file from byte ${from}`);
}
