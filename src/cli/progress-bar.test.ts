import { expect, test } from "vitest";
import { formatBytes, formatProgress, ProgressBar } from "./progress-bar.ts";

const progress = { source: "PyPI x", receivedBytes: 50e6, totalBytes: 200e6, bytesPerSecond: 2e6, secondsLeft: 75 };

test("a line shows source, share, size, speed and time left", () => {
  expect(formatProgress(progress, 100)).toBe(`PyPI x ${"█".repeat(6)}${"─".repeat(18)}  50.0 MB of 200.0 MB  2.0 MB/s  1 min 15 s left`);
});

test("on a narrow terminal the name gives way first, then the bar", () => {
  const long = { ...progress, source: "PyPI a-package-with-a-long-name 1.0" };
  expect(formatProgress(long, 85)).toBe(`PyPI a-pac… ${"█".repeat(6)}${"─".repeat(18)}  50.0 MB of 200.0 MB  2.0 MB/s  1 min 15 s left`);
  expect(formatProgress(long, 60)).toBe("PyPI a-pa…  50.0 MB of 200.0 MB  2.0 MB/s  1 min 15 s left");
});

test("without a total there is no bar", () => {
  expect(formatProgress({ source: "npm x", receivedBytes: 1500, bytesPerSecond: 0 }, 80)).toBe("npm x  2 kB  0 kB/s");
});

test("a line is always narrower than the terminal, or it would wrap and not be cleared", () => {
  for (let columns = 1; columns < 200; columns++) expect(formatProgress(progress, columns).length).toBeLessThan(columns);
});

test("a terminal gets the bar, anything else only the notes", () => {
  const written = (isTTY: boolean) => {
    let text = "";
    const bar = new ProgressBar({ isTTY, columns: 60, write: (piece) => (text += piece) });
    bar.update(progress);
    bar.note("hub x: not reachable");
    bar.update(progress);
    bar.clear();
    return text;
  };
  expect(written(false)).toBe("hub x: not reachable\n");
  expect(written(true)).toMatch(/PyPI x.*hub x: not reachable\n.*PyPI x/s);
});

test("bytes are written in decimal units", () => {
  expect([0, 999, 98_362_432, 1.5e9].map(formatBytes)).toEqual(["0 kB", "1 kB", "98.4 MB", "1.50 GB"]);
});
