import { expect, test } from "vitest";
import { TransferMeter, type TransferProgress } from "./transfer.ts";

function meterWithClock(options: { totalBytes?: number; keptBytes?: number } = {}) {
  const reports: TransferProgress[] = [];
  const clock = { ms: 0 };
  const meter = new TransferMeter({ source: "s", ...options, onProgress: (progress) => reports.push(progress), now: () => clock.ms });
  return { reports, clock, meter };
}

test("speed is bytes over time, and the time left what remains at that speed", () => {
  const { reports, clock, meter } = meterWithClock({ totalBytes: 10_000 });
  clock.ms = 1000;
  meter.update(2000);
  expect(reports).toEqual([{ source: "s", receivedBytes: 2000, totalBytes: 10_000, bytesPerSecond: 2000, secondsLeft: 4 }]);
});

test("bytes kept from an earlier transfer count as received, not as speed", () => {
  const { reports, clock, meter } = meterWithClock({ totalBytes: 10_000, keptBytes: 6000 });
  clock.ms = 1000;
  meter.update(7000);
  expect(reports[0]).toMatchObject({ receivedBytes: 7000, bytesPerSecond: 1000, secondsLeft: 3 });
});

test("speed follows the last seconds only", () => {
  const { reports, clock, meter } = meterWithClock({ totalBytes: 1_000_000 });
  let bytes = 0;
  for (let second = 1; second <= 20; second++) {
    clock.ms = second * 1000;
    bytes += second <= 10 ? 10_000 : 1000;
    meter.update(bytes);
  }
  expect(reports.at(-1)!.bytesPerSecond).toBe(1000);
});

test("ten reports a second at most, and always the last one", () => {
  const { reports, clock, meter } = meterWithClock({ totalBytes: 1000 });
  for (let ms = 1; ms <= 1000; ms++) {
    clock.ms = ms;
    meter.update(ms);
  }
  expect(reports.length).toBe(10);
  meter.finish(1000);
  expect(reports.at(-1)).toMatchObject({ receivedBytes: 1000, secondsLeft: 0 });
});

test("without a total there is no time left to tell", () => {
  const { reports, clock, meter } = meterWithClock();
  clock.ms = 500;
  meter.update(500);
  expect(reports).toEqual([{ source: "s", receivedBytes: 500, bytesPerSecond: 1000 }]);
});
