import { expect, test } from "vitest";
import { checkpointClock } from "./checkpoint-clock.ts";

test("steps are counted, whatever time passes", () => {
  const clock = checkpointClock({ steps: 3 }, () => 0);
  expect([1, 2, 3, 4, 5, 6].filter((step) => clock.isDue(step))).toEqual([3, 6]);
});

test("seconds are counted from the last checkpoint, and checkpoints take a twentieth of the time at most", () => {
  for (const [savingMs, most] of [
    [10, 1000],
    [4000, 0.05 * 600_000 + 4000],
  ] as const) {
    let nowMs = 0;
    let spentMs = 0;
    let lastMs = 0;
    const clock = checkpointClock({ seconds: 6 }, () => nowMs);
    for (let step = 1; nowMs < 600_000; step += 1) {
      nowMs += 700;
      if (!clock.isDue(step)) continue;
      expect(nowMs - lastMs).toBeGreaterThanOrEqual(6000);
      clock.time(() => {
        nowMs += savingMs;
        spentMs += savingMs;
      });
      lastMs = nowMs;
    }
    expect(spentMs).toBeGreaterThan(0);
    expect(spentMs).toBeLessThanOrEqual(most);
  }
});

test("nothing but a positive number will do", () => {
  expect(() => checkpointClock({ seconds: 0 })).toThrow("checkpointEvery: must be > 0, got 0");
});
