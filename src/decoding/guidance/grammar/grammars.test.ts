import { expect, test } from "vitest";
import { toyTokenizer } from "../../testing/toy-tokenizer.ts";
import { compileSource, type GrammarSource } from "./compile.ts";
import { Grammar } from "./grammar.ts";
import { Grammars } from "./grammars.ts";
import { defaultLimits } from "./limits.ts";

const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
const regex = (pattern: string): GrammarSource => ({ kind: "regex", pattern });

/** A shelf whose compilations end when the test says so, in this thread. */
function shelf(maxBytes?: number) {
  const begun: { readonly pattern: string; readonly signal: AbortSignal; readonly end: () => void }[] = [];
  let running = 0;
  let mostRunning = 0;
  const grammars = new Grammars(toyTokenizer(bytes), {
    ...(maxBytes === undefined ? {} : { maxBytes }),
    async compile(source, options) {
      mostRunning = Math.max(mostRunning, ++running);
      const signal = options!.signal!;
      try {
        await new Promise<void>((resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
          begun.push({ pattern: (source as { pattern: string }).pattern, signal, end: resolve });
        });
        return new Grammar(compileSource(source, defaultLimits));
      } finally {
        running -= 1;
      }
    },
  });
  /** Ends every compilation, also those that begin meanwhile. */
  const endAll = async <T>(work: Promise<T>): Promise<T> => {
    let isDone = false;
    const settled = work.finally(() => {
      isDone = true;
    });
    settled.catch(() => undefined);
    for (let next = 0; !isDone; await new Promise((resolve) => setImmediate(resolve)))
      for (; next < begun.length; next++) begun[next]!.end();
    return settled;
  };
  return { grammars, begun, endAll, mostRunning: () => mostRunning };
}

test("one source is compiled once, for all who ask at once and later", async () => {
  const { grammars, begun, endAll } = shelf();
  const all = await endAll(Promise.all(Array.from({ length: 50 }, () => grammars.get(regex("a{3}")))));
  expect(new Set(all).size).toBe(1);
  expect(await grammars.get(regex("a{3}"))).toBe(all[0]);
  expect(await endAll(grammars.get(regex("a{4}")))).not.toBe(all[0]);
  expect(begun.map(({ pattern }) => pattern)).toEqual(["a{3}", "a{4}"]);
});

test("at most two compile at the same time, and one that fails stops no other and is not kept", async () => {
  const { grammars, begun, endAll, mostRunning } = shelf();
  const sources = ["(", ...Array.from({ length: 9 }, (_, count) => `b{${count + 1}}`)];
  const all = await endAll(Promise.allSettled(sources.map((pattern) => grammars.get(regex(pattern)))));
  expect(all.map(({ status }) => status)).toEqual(sources.map((pattern) => (pattern === "(" ? "rejected" : "fulfilled")));
  expect([mostRunning(), grammars.size, begun.length]).toEqual([2, 9, 10]);
  await expect(endAll(grammars.get(regex("(")))).rejects.toThrow("regex");
  expect(begun).toHaveLength(11);
});

test("who leaves stops waiting; when the last has left the compilation ends, or never begins", async () => {
  const { grammars, begun, endAll } = shelf();
  const leaving = [new AbortController(), new AbortController(), new AbortController()];
  const [first, second, queued] = leaving.map(({ signal }, index) => grammars.get(regex(index === 2 ? "z" : "x"), signal));
  const other = grammars.get(regex("y"));
  // x and y compile, z waits
  leaving[0]!.abort("gone");
  await expect(first).rejects.toBe("gone");
  expect(begun.find(({ pattern }) => pattern === "x")!.signal.aborted).toBe(false);
  leaving[1]!.abort("gone too");
  await expect(second).rejects.toBe("gone too");
  expect(begun.find(({ pattern }) => pattern === "x")!.signal.aborted).toBe(true);
  leaving[2]!.abort("never begun");
  await expect(queued).rejects.toBe("never begun");
  await endAll(other);
  expect(grammars.size).toBe(1);
  await endAll(grammars.get(regex("x")));
  expect(begun.map(({ pattern }) => pattern).filter((pattern) => pattern === "x")).toHaveLength(2);
});

test("what is kept is bounded in bytes: the one not asked for the longest goes, the last one stays whatever it holds", async () => {
  const probe = shelf();
  const { bytes: each } = await probe.endAll(probe.grammars.get(regex("c{1}")));
  const { grammars, begun, endAll } = shelf(3.5 * each);
  for (const count of [1, 2, 3, 1, 4, 1]) await endAll(grammars.get(regex(`c{${count}}`)));
  expect(grammars.size).toBe(3);
  expect(begun).toHaveLength(4); // 1 was kept throughout
  await endAll(grammars.get(regex("c{2}")));
  expect(begun).toHaveLength(5);
  await endAll(grammars.get(regex("x".repeat(2000))));
  expect(grammars.size).toBe(1);
});
