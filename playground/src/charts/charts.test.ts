import fc from "fast-check";
import { expect, test } from "vitest";
import type { ServerStatus } from "../api/wire.ts";
import { History, historyMs } from "./history.ts";
import { linear, linePath, ticks } from "./scale.ts";

test("ticks are round and reach the largest value", () => {
  expect(ticks(8.7)).toEqual([0, 5, 10]);
  expect(ticks(100, 3)).toEqual([0, 50, 100]);
  expect(ticks(0.3, 3)).toEqual([0, 0.1, 0.2, 0.3]);
  expect(ticks(0)).toEqual([0, 1]);
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), (max) => {
      const marks = ticks(max);
      expect(marks.at(-1)! * (1 + 1e-6)).toBeGreaterThanOrEqual(max);
      expect(marks.length).toBeLessThanOrEqual(7);
    }),
  );
});

test("a scale maps its ends, and a domain without extent to its start", () => {
  const scale = linear([0, 10], [100, 0]);
  expect([0, 5, 10].map(scale)).toEqual([100, 50, 0]);
  expect(linear([3, 3], [0, 9])(3)).toBe(0);
});

test("a line has a gap where a value is missing", () => {
  expect(
    linePath([
      [0, 1],
      [1, 2],
      [2, undefined],
      [3, 4],
    ]),
  ).toBe("M0.0 1.0L1.0 2.0M3.0 4.0");
});

const status = (completion: number, engine: ServerStatus["engine"]): ServerStatus => ({
  ...{ ready: true, restarts: 0, model: null, engine },
  requests: { running: 2, waiting: 3, accepted: 5, refused: 0 },
  tokens: { prompt: 0, completion },
});
const engine = { running: 2, queued: 1, streams: 8, streamsUsed: 2, preemptions: 0, passes: 9, residentBytes: 1 };

test("throughput is tokens by the time between two answers; a server that was started again counts anew", () => {
  const history = new History();
  history.add(status(100, engine), 1000);
  history.add(status(120, engine), 3000);
  history.add(status(5, null), 4000);
  expect(history.samples.map(({ tokensPerSecond, waiting, queued, cache }) => ({ tokensPerSecond, waiting, queued, cache }))).toEqual([
    { tokensPerSecond: undefined, waiting: 3, queued: 1, cache: 0.25 },
    { tokensPerSecond: 10, waiting: 3, queued: 1, cache: 0.25 },
    { tokensPerSecond: undefined, waiting: 3, queued: undefined, cache: undefined },
  ]);
});

test("what is older than two minutes is forgotten", () => {
  const history = new History();
  for (let atMs = 0; atMs <= 2 * historyMs; atMs += 1000) history.add(status(0, engine), atMs);
  expect(history.samples).toHaveLength(historyMs / 1000);
});
