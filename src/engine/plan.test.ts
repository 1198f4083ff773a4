import fc from "fast-check";
import { expect, test } from "vitest";
import { plan, type QueueItem } from "./plan.ts";
import { rowStep } from "./structure.ts";

const item = fc.record({
  family: fc.integer({ min: 1, max: 12 }),
  priority: fc.integer({ min: -1, max: 1 }),
  arrival: fc.integer({ min: 1, max: 12 }),
  sequence: fc.integer({ min: 1, max: 40 }),
  rows: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 63 }), fc.integer({ min: 64, max: 512 })),
  since: fc.nat(20),
  structure: fc.constantFrom("a", "b"),
});
const queue = fc
  .array(item, { maxLength: 40 })
  .map((list) => list.map((one, id): QueueItem => ({ ...one, id, backend: one.rows >= 64 ? "fast" : "invariant" })));

test("every small request gets a pass, none twice, and every prompt its place in their order", () => {
  fc.assert(
    fc.property(queue, fc.constantFrom(1, 2, 8, 64), (items, maxStreams) => {
      const { passes, chunks } = plan(items, maxStreams, 1);
      const planned = [...passes, ...chunks].flatMap(({ streams }) => streams.flatMap((stream) => stream.items));
      expect(new Set(planned).size).toBe(planned.length);
      const small = items.filter(({ rows }) => rows < 64).map(({ id }) => id);
      const prompts = items.filter(({ rows }) => rows >= 64);
      expect(planned.filter((id) => small.includes(id)).length).toBe(small.length);
      expect(chunks.length).toBe(prompts.length);
      expect(chunks.every(({ streams }) => streams.length === 1 && streams[0]!.items.length === 1)).toBe(true);
    }),
  );
});

test("what shares a pass has one structure, fits its rows, and no stream appears twice", () => {
  fc.assert(
    fc.property(queue, fc.constantFrom(1, 2, 8, 64), (items, maxStreams) => {
      const { passes, chunks } = plan(items, maxStreams, 1);
      for (const pass of [...passes, ...chunks]) {
        const members = pass.streams.map((stream) => stream.items.map((id) => items[id]!));
        expect(new Set(members.flat().map(({ structure, backend }) => `${structure}${backend}`)).size).toBe(1);
        expect(new Set(pass.streams.map(({ family }) => family)).size).toBe(pass.streams.length);
        expect(pass.streams.length).toBeLessThanOrEqual(maxStreams);
        for (const stream of members) expect(rowStep(stream.reduce((sum, { rows }) => sum + rows, 0))).toBe(pass.rows);
      }
    }),
  );
});

test("the plan does not depend on the order in which requests were queued", () => {
  fc.assert(
    fc.property(queue, fc.nat(1000), (items, seed) => {
      const shuffled = [...items].sort((a, b) => ((a.id * 7919 + seed) % 101) - ((b.id * 7919 + seed) % 101));
      expect(plan(shuffled, 8, seed)).toEqual(plan(items, 8, seed));
    }),
  );
});

test("the prompt that goes on is the one of highest priority, then of earliest arrival", () => {
  const prompt = (id: number, priority: number, arrival: number): QueueItem => ({
    id,
    family: id,
    priority,
    arrival,
    sequence: id,
    rows: 512,
    backend: "fast",
    since: 10 - id,
    structure: "a",
  });
  const chunk = (id: number) => ({ backend: "fast", rows: 512, streams: [{ family: id, items: [id] }] });
  expect(plan([prompt(1, 0, 1), prompt(2, 1, 3), prompt(3, 1, 2)], 4, 1)).toEqual({
    passes: [],
    chunks: [3, 2, 1].map(chunk),
  });
  // every fourth step it is the one that has waited longest
  expect(plan([prompt(1, 0, 1), prompt(2, 1, 3), prompt(3, 1, 2)], 4, 8).chunks).toEqual([3, 2, 1].map(chunk));
  expect(plan([{ ...prompt(1, 0, 1), since: 0 }, prompt(2, 1, 3), prompt(3, 1, 2)], 4, 8).chunks).toEqual([1, 3, 2].map(chunk));
});
