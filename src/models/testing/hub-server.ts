import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the server does wrong. */
export interface HubFaults {
  /** the next answers with a body end in a closed connection after so many bytes, one entry for each */
  cuts: number[];
  /** after so many bytes of a body nothing more comes */
  stallAfterBytes?: number;
  /** gives the whole file, whatever range is asked for (after the first request, which asks for its size) */
  ignoresRanges?: boolean;
  /** answers everything with this status */
  status?: number;
  /** gives these bytes under the file's version */
  content?: Buffer;
}

export interface HubServer {
  readonly url: string;
  readonly files: Map<string, Buffer>;
  readonly faults: HubFaults;
  /** of every request for a body: the byte it starts from */
  readonly starts: number[];
  readonly authorizations: Set<string | undefined>;
  close(): Promise<void>;
}

/** A server on the loopback interface with the hub's ways for files in large-file storage: version and hash in `X-Linked-ETag`, ranges. */
export async function startHub(files: Record<string, Buffer>): Promise<HubServer> {
  const hub = {
    files: new Map(Object.entries(files)),
    faults: { cuts: [] } as HubFaults,
    starts: [] as number[],
    authorizations: new Set<string | undefined>(),
  };
  const server = createServer((request, response) => answer(hub, request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () => {
    server.closeAllConnections();
    return new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())));
  };
  return { ...hub, url, close };
}

function answer(hub: Omit<HubServer, "url" | "close">, request: IncomingMessage, response: ServerResponse): void {
  const { files, faults, starts, authorizations } = hub;
  authorizations.add(request.headers.authorization);
  const [, repo, path] = /^\/([^/]+\/[^/]+)\/resolve\/main\/(.+)$/.exec(request.url ?? "") ?? [];
  const file = files.get(`${repo}/${path}`);
  if (faults.status !== undefined || file === undefined) {
    response.writeHead(faults.status ?? 404, { "X-Error-Code": "EntryNotFound" }).end();
    return;
  }
  const version = { "X-Linked-ETag": `"${createHash("sha256").update(file).digest("hex")}"` };
  const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (asked?.[2] === "0") {
    response.writeHead(206, { ...version, "Content-Range": `bytes 0-0/${file.length}` }).end(file.subarray(0, 1));
    return;
  }
  const start = faults.ignoresRanges ? 0 : Number(asked?.[1] ?? 0);
  starts.push(start);
  const body = (faults.content ?? file).subarray(start);
  const range = start === 0 ? {} : { "Content-Range": `bytes ${start}-${file.length - 1}/${file.length}` };
  response.writeHead(start === 0 ? 200 : 206, { ...version, ...range, "Content-Length": body.length });
  const cut = faults.cuts.shift();
  // A client drops what it has received and not yet read when the connection breaks: give it the time to read.
  if (cut !== undefined) response.write(body.subarray(0, cut), () => setTimeout(() => response.socket?.end(), 100));
  else if (faults.stallAfterBytes !== undefined) response.write(body.subarray(0, faults.stallAfterBytes));
  else response.end(body);
}
