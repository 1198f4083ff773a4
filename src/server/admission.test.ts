import fc from "fast-check";
import { expect, test } from "vitest";
import { Admission, type Ticket } from "./admission.ts";
import { HttpError } from "./http-error.ts";

const never = new AbortController().signal;
const codeOf = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return (error as HttpError).code;
  }
  return undefined;
};

test("more requests, or more bytes, than there is room for get 429; a body alone may always come in", () => {
  const admission = new Admission({ maxRequests: 2, maxBytes: 10 });
  const first = admission.enter();
  first.addBytes(50); // its own limit is the body's
  const second = admission.enter();
  expect(codeOf(() => second.addBytes(1))).toBe("too_many_bytes");
  expect(codeOf(() => admission.enter())).toBe("too_many_requests");
  first.leave();
  first.leave();
  second.addBytes(10);
  expect([admission.size, admission.bytes, admission.refused]).toEqual([1, 10, 2]);
});

test("turns go by priority, then by arrival; who leaves or waits too long is out of the queue", async () => {
  const admission = new Admission({ maxRunning: 1, queueMs: 30 });
  const running = admission.enter();
  await running.start(0, never);
  const order: string[] = [];
  const wait = (name: string, priority: number, signal = never) => {
    const ticket = admission.enter();
    return ticket.start(priority, signal).then(
      () => {
        order.push(name);
        ticket.leave();
      },
      (error: unknown) => {
        order.push(`${name}: ${error instanceof HttpError ? error.code : error}`);
        ticket.leave();
      },
    );
  };
  const gone = new AbortController();
  const all = [wait("b", 0), wait("c", 0), wait("left", 9, gone.signal), wait("a", 1)];
  gone.abort("gone");
  await Promise.resolve();
  running.leave();
  await Promise.all(all);
  expect(order).toEqual(["left: gone", "a", "b", "c"]);
  const again = admission.enter();
  await again.start(0, never);
  await wait("late", 0);
  expect(order.at(-1)).toBe("late: queue_timeout");
  expect([admission.running, admission.waiting, admission.size]).toEqual([1, 0, 1]);
});

test("a request whose parts ask at the same time waits once, and nobody who comes later is before it", async () => {
  const admission = new Admission({ maxRunning: 1 });
  const running = admission.enter();
  await running.start(0, never);
  const many = admission.enter();
  const parts = [1, 2, 3].map(() => many.start(0, never));
  expect(admission.waiting).toBe(1);
  const later = admission.enter();
  const laterTurn = later.start(0, never);
  running.leave();
  await Promise.all(parts);
  expect([admission.running, admission.waiting, later.startedAt]).toEqual([1, 1, undefined]);
  many.leave();
  await laterTurn;
  expect([admission.running, admission.waiting]).toEqual([1, 0]);
});

test("whatever comes and goes: never more than the limit run, nobody waits while there is room, and all counts end at zero", async () => {
  const step = fc.record({
    what: fc.constantFrom("enter", "again", "abort", "leave"), // again: another part of a request asks for its turn
    ...{ which: fc.nat(), priority: fc.integer({ min: -2, max: 2 }) },
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), async (steps, maxRunning) => {
      const admission = new Admission({ maxRequests: 12, maxRunning, queueMs: 60_000 });
      const all: { ticket: Ticket; abort: AbortController; done: Promise<void> }[] = [];
      for (const { what, which, priority } of steps) {
        const one = all[which % Math.max(all.length, 1)];
        if (what === "enter") {
          if (admission.size >= 12) {
            expect(codeOf(() => admission.enter())).toBe("too_many_requests");
            continue;
          }
          const ticket = admission.enter();
          const abort = new AbortController();
          all.push({ ticket, abort, done: ticket.start(priority, abort.signal).catch(() => ticket.leave()) });
        } else if (what === "again") one?.ticket.start(priority, one.abort.signal).catch(() => undefined);
        else if (what === "abort") one?.abort.abort();
        else if (one?.ticket.startedAt !== undefined) one.ticket.leave();
        await new Promise((resolve) => setImmediate(resolve));
        expect(admission.running).toBeLessThanOrEqual(maxRunning);
        if (admission.running < maxRunning) expect(admission.waiting).toBe(0);
        expect(admission.running + admission.waiting).toBe(admission.size);
      }
      for (const { abort, ticket, done } of all) {
        abort.abort();
        await done;
        ticket.leave();
      }
      expect([admission.size, admission.running, admission.waiting, admission.bytes]).toEqual([0, 0, 0, 0]);
    }),
  );
});
