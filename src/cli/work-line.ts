import type { Terminal } from "./progress-bar.ts";

export interface WorkLine {
  update(what: string, done: number, total: number | undefined): void;
  clear(): void;
}

/**
 * Says what is going on, once it has taken a second: one line drawn over and over on a terminal, elsewhere a line every ten seconds.
 *
 * @param now  milliseconds, for tests
 */
export function showWork(terminal: Terminal = process.stderr, now: () => number = () => performance.now()): WorkLine {
  const interval = terminal.isTTY ? 100 : 10_000;
  let last = now() + 1000 - interval;
  let isDrawn = false;
  return {
    update(what, done, total) {
      const time = now();
      if (time - last < interval) return;
      last = time;
      const text =
        total === undefined ? `${what} ${done.toLocaleString("en")}` : `${what} ${Math.floor((100 * done) / Math.max(1, total))} %`;
      terminal.write(terminal.isTTY ? `\r\x1b[K${text.slice(0, (terminal.columns ?? 80) - 1)}` : `${text}\n`);
      isDrawn = true;
    },
    clear() {
      if (isDrawn && terminal.isTTY) terminal.write("\r\x1b[K");
    },
  };
}
