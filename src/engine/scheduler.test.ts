import fc from "fast-check";
import { expect, test } from "vitest";
import { type ModelJob, SchedulerModel } from "./testing/scheduler-model.ts";

const actionsPerRun = 250; // about half of them steps, and those in which what is left ends
const wantedSteps = process.env.CHAINRULE_SOAK ? 10_000_000 : 100_000;
const runs = Math.ceil((2 * wantedSteps) / actionsPerRun);

/** A prompt's tokens: texts of a kind share their beginnings, as chats and templates do. */
const promptOf = (kind: number, length: number) =>
  Array.from({ length }, (_, index) => (index < 70 ? 1 : index < 140 ? 2 + (kind % 2) : 4 + kind));

const action = fc.record({
  kind: fc.oneof(
    { weight: 12, arbitrary: fc.constant("step" as const) },
    { weight: 3, arbitrary: fc.constant("open" as const) },
    { weight: 5, arbitrary: fc.constant("ask" as const) },
    { weight: 2, arbitrary: fc.constant("dispose" as const) },
    { weight: 1, arbitrary: fc.constantFrom("cancel" as const, "fork" as const, "rewind" as const) },
  ),
  pick: fc.nat(99),
  size: fc.nat(255),
});
const setting = fc.record({
  streams: fc.integer({ min: 1, max: 6 }),
  strict: fc.boolean(),
  chunkRows: fc.constantFrom(64, 128, 512),
  prefixCells: fc.constantFrom(0, 100, 2000),
});
const cells = 256;

test("whatever happens, no request is lost, doubled or left out, no cell leaks, and every cell holds what it holds alone", () => {
  let reused = 0;
  let preempted = 0;
  let steps = 0;
  fc.assert(
    fc.property(setting, fc.array(action, { minLength: actionsPerRun, maxLength: actionsPerRun }), ({ streams, ...options }, actions) => {
      const model = new SchedulerModel({ streams, cells }, { contextLength: cells, ...options });
      const { scheduler, live } = model;
      const waiting = new Map<number, ModelJob>();
      const step = () => {
        steps += 1;
        for (const job of model.run()) {
          expect(waiting.delete(job.id)).toBe(true); // asked for, and ended once
          expect(job.rows.length).toBe(job.request.rows);
          expect(job.computed.size + job.reusedRows).toBe(job.request.rows);
          expect(job.request.logitRows.every((row) => job.computed.has(row))).toBe(true);
          expect(model.contentOf(job.sequence)).toEqual(job.sequence.expected);
          reused += job.reusedRows;
        }
        expect(scheduler.queuedCount).toBe(waiting.size);
      };
      for (const { kind, pick, size } of actions) {
        const sequence = live[pick % Math.max(live.length, 1)];
        if (kind === "step") step();
        else if (kind === "open" && live.length < 12) model.open(pick % 3, "x".repeat(pick % 2));
        else if (sequence === undefined) continue;
        else if (kind === "ask" && sequence.job === undefined) {
          const length = sequence.entries.length;
          const rows = Math.min(1 + (pick % 3 === 0 ? size : size % 8), cells - length);
          if (rows < 1) continue;
          const tokens = promptOf(pick % 4, cells).slice(length, length + rows);
          const job = model.ask(sequence, { tokens, skipped: pick % 11 === 0 ? ["blocks.0.ffn"] : [], wantsAll: pick % 7 === 0 });
          waiting.set(job.id, job);
        } else if (kind === "cancel" || kind === "dispose") {
          if (sequence.job !== undefined) waiting.delete(sequence.job.id);
          if (kind === "cancel") model.cancel(sequence);
          else model.dispose(sequence);
        } else if (kind === "fork" && live.length < 12) model.fork(sequence);
        else if (kind === "rewind") model.rewind(sequence, size % (sequence.entries.length + 1));
      }
      // what is left ends soon: each step at least one waiting request has a pass
      for (let last = 0; scheduler.queuedCount > 0; last += 1) {
        expect(last).toBeLessThan(12 * 8);
        step();
      }
      expect(model.finished + model.cancelled).toBe(model.asked);
      for (const sequence of live) expect(model.contentOf(sequence)).toEqual(sequence.expected);
      preempted += scheduler.streams.preemptions;
      for (const sequence of [...live]) model.dispose(sequence);
      const { kept, keptCells } = scheduler.prefixes;
      expect(scheduler.streams).toMatchObject({ usedCount: 0, savedBytes: 0 });
      expect(keptCells).toBeLessThanOrEqual(options.prefixCells);
      for (const family of kept) {
        expect(family.usedCells()).toEqual(family.held.map(({ cell }) => cell)); // nothing but what is kept
        scheduler.prefixes.drop(family);
        expect(family.end).toBe(0);
      }
    }),
    { numRuns: runs },
  );
  expect(steps).toBeGreaterThanOrEqual(wantedSteps);
  expect(reused).toBeGreaterThan(runs * 20); // prefixes were handed on, and streams put aside
  expect(preempted).toBeGreaterThan(runs);
});

test("what a prompt's pass wrote off the grid is not handed on, nor what comes after it", () => {
  const model = new SchedulerModel({ streams: 4, cells }, { contextLength: cells, chunkRows: 512, strict: false, prefixCells: 1000 });
  const tokens = promptOf(0, cells);
  const first = model.open(0, "");
  const ask = (sequence: typeof first, from: number, to: number) => {
    const job = model.ask(sequence, { tokens: tokens.slice(from, to) });
    while (sequence.job !== undefined) model.run();
    expect(model.contentOf(sequence)).toEqual(sequence.expected);
    return job.reusedRows;
  };
  ask(first, 0, 128);
  model.rewind(first, 70);
  ask(first, 70, 192);
  ask(first, 192, 256);
  expect(ask(model.open(0, ""), 0, 250)).toBe(64);
});

test.each([1, 2, 4])("with %i streams a stream of short requests of higher priority starves nobody", (streams) => {
  const model = new SchedulerModel({ streams, cells }, { contextLength: cells, chunkRows: 64, strict: false, prefixCells: 0 });
  const low = model.open(0, "");
  const job = model.ask(low, { tokens: promptOf(1, 200) });
  const others = Array.from({ length: streams + 3 }, () => model.open(5, ""));
  for (const other of others) model.ask(other, { tokens: promptOf(3, 70) });
  while (low.job !== undefined) {
    for (const ended of model.run()) {
      if (ended === job) continue;
      model.dispose(ended.sequence); // the next one comes at once
      model.ask(model.open(5, ""), { tokens: promptOf(3, 65 + (model.step % 40)) });
    }
    expect(model.step).toBeLessThan(600);
  }
  for (let token = 0; token < 20; token += 1) {
    const since = model.step;
    model.ask(low, { tokens: [token] });
    while (low.job !== undefined) {
      for (const ended of model.run()) {
        if (ended.sequence === low) continue;
        model.dispose(ended.sequence);
        model.ask(model.open(5, ""), { tokens: promptOf(3, 65 + (model.step % 40)) });
      }
      expect(model.step - since).toBeLessThan(300);
    }
  }
  expect(model.contentOf(low)).toEqual(low.expected);
});

test("a short prompt does not wait until a long one is read, nor does the long one wait for ever", () => {
  const model = new SchedulerModel({ streams: 4, cells: 4096 }, { contextLength: 4096, chunkRows: 64, strict: false, prefixCells: 0 });
  const long = model.open(0, "");
  model.ask(long, { tokens: promptOf(0, 4096) }); // 64 chunks
  let short = model.ask(model.open(0, ""), { tokens: promptOf(1, 128) });
  const waits: number[] = [];
  while (long.job !== undefined) {
    for (const ended of model.run()) {
      if (ended !== short) continue;
      waits.push(model.step - ended.queuedAt);
      model.dispose(ended.sequence);
      short = model.ask(model.open(0, ""), { tokens: promptOf(1, 128) });
    }
    expect(model.step).toBeLessThan(100);
  }
  expect(waits.length).toBeGreaterThan(5);
  expect(Math.max(...waits)).toBeLessThanOrEqual(8);
});
