import fc from "fast-check";
import { expect, test } from "vitest";
import { ThreadTuner } from "./thread-tuner.ts";

/** Runs passes on a machine where a pass costs `cost(threads, pass)`; returns the threads of each and the time of all. */
function simulate(tuner: ThreadTuner, passes: number, cost: (threads: number, pass: number) => number, kind = (_: number) => "step") {
  const threads: number[] = [];
  let total = 0;
  for (let pass = 0; pass < passes; pass += 1) {
    const ms = cost(tuner.threads, pass);
    threads.push(tuner.threads);
    total += ms;
    tuner.observe(kind(pass), ms);
  }
  return { threads, total };
}
const idle = (threads: number) => 14 / threads + 1;
const busy = (threads: number) => (threads === 1 ? 15 : 60);

test("on an idle machine all threads stay, and trials cost less than 2 %", () => {
  const { threads, total } = simulate(new ThreadTuner(2), 2000, idle);
  expect(threads.filter((count) => count === 2).length).toBeGreaterThan(1950);
  expect(total).toBeLessThan(1.02 * 2000 * idle(2));
});

test("beside a busy process one thread is found at once, and kept while it lasts", () => {
  const tuner = new ThreadTuner(2);
  simulate(tuner, 500, idle);
  const { threads, total } = simulate(tuner, 1000, busy);
  expect(threads.indexOf(1)).toBeLessThan(10);
  expect(total).toBeLessThan((1000 * 15) / 0.8);
  const after = simulate(tuner, 1000, idle);
  expect(after.threads.at(-1)).toBe(2);
});

test("from the start beside a busy process, and with kinds of passes that alternate", () => {
  const scale = [1, 5, 2.5];
  const { threads, total } = simulate(
    new ThreadTuner(2),
    1000,
    (count, pass) => busy(count) * scale[pass % 3]!,
    (pass) => `kind ${pass % 3}`,
  );
  expect(threads.at(-1)).toBe(1);
  expect(total).toBeLessThan((1000 * 15 * (1 + 5 + 2.5)) / 3 / 0.8);
});

test("of eight threads the number that is fastest is found", () => {
  for (const best of [8, 4, 2, 1]) {
    const { threads } = simulate(new ThreadTuner(8), 3000, (count) => 10 + 5 * Math.abs(Math.log2(count) - Math.log2(best)));
    expect(threads.slice(-500).filter((count) => count === best).length).toBeGreaterThan(450);
  }
});

test("whatever passes cost, the number is one of those allowed", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.double({ min: 0.01, max: 1e4, noNaN: true }), { maxLength: 300 }),
      (most, times) => {
        const tuner = new ThreadTuner(most);
        for (const [pass, ms] of times.entries()) {
          expect(tuner.threads).toBeGreaterThanOrEqual(1);
          expect(tuner.threads).toBeLessThanOrEqual(most);
          tuner.observe(`kind ${pass % 2}`, ms);
        }
      },
    ),
  );
  expect(simulate(new ThreadTuner(1), 100, idle).threads.every((count) => count === 1)).toBe(true);
});
