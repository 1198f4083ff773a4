import { expect, test } from "vitest";
import type { FitProgress } from "../types.ts";
import { atOnce, inTurns, ofAll } from "./in-parts.ts";

/** Parts of 20 ms, so that turns come after every third. */
function* slowParts(count: number, held: { freed: number }): Generator<FitProgress, string> {
  try {
    for (let done = 1; done <= count; done++) {
      const until = performance.now() + 20;
      while (performance.now() < until);
      yield { done, total: count };
    }
    return "fitted";
  } finally {
    held.freed++;
  }
}

test("the event loop turns between the parts, and how far it is is told with the time that is left", async () => {
  const held = { freed: 0 };
  const [seen, turns]: [FitProgress[], number[]] = [[], []];
  const timer = setInterval(() => turns.push(seen.length), 1);
  expect(await inTurns(slowParts(12, held), { onProgress: (progress) => seen.push(progress) })).toBe("fitted");
  clearInterval(timer);
  expect(seen.length).toBeGreaterThan(0);
  expect(turns.length).toBeGreaterThan(0); // before the end: some of them ran in between
  expect(turns[0]).toBeLessThan(seen.length);
  for (const { done, total, secondsLeft } of seen)
    expect([total, done < total ? secondsLeft! > 0 : secondsLeft]).toEqual([12, done < total || 0]);
  expect(held.freed).toBe(1);
});

test("an abort from outside ends it with its reason, and frees what it holds", async () => {
  const held = { freed: 0 };
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("enough")), 1);
  await expect(inTurns(slowParts(100_000, held), { signal: controller.signal })).rejects.toThrow("enough");
  expect(held.freed).toBe(1);
});

test("at once: no turn in between, the same result", () => {
  expect(atOnce(slowParts(2, { freed: 0 }))).toBe("fitted");
  expect(ofAll({ done: 3, total: 10 }, 1, 4)).toEqual({ done: 13, total: 40 });
});
