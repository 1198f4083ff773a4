import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AtomicFile } from "../weights/index.ts";

/** What a run of preferences reached on pairs that it did not learn from. Runs of before `validationPairs` don't say of how many. */
export interface HeldOutRanking {
  readonly share: number;
  readonly numPairs?: number;
}

/** A run's `metrics.jsonl`: a line for each step, in the order of the steps, each once. */
export class MetricsFile implements Disposable {
  #descriptor: number | undefined;

  /** Opens the file of a run that has done `steps` steps: what was written of later ones is taken away, since they are done again. */
  constructor(path: string, steps: number) {
    using file = new AtomicFile(path);
    file.write(
      Buffer.from(
        linesOf(path)
          .filter((line) => stepOf(line) <= steps)
          .join(""),
      ),
    );
    file.commit();
    this.#descriptor = openSync(path, "a");
  }

  append(metrics: { readonly step: number }): void {
    writeSync(this.#descriptor!, `${JSON.stringify(metrics)}\n`);
  }

  /** Flushes what was appended to the disk, so that a checkpoint never outlives the lines of its steps. */
  sync(): void {
    fsyncSync(this.#descriptor!);
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

/**
 * How many of the held-out pairs of answers a run ranked right when it last looked at them.
 *
 * @param result  what the run wrote: its `model.gguf`, `adapter/` or `adapter.gguf`
 * @returns `share` in [0, 1], `numPairs` >= 1 where the run wrote it; undefined where no `metrics.jsonl` stands beside it, or none that
 *          compares pairs
 */
export function heldOutRanking(result: string): HeldOutRanking | undefined {
  const lines = linesOf(join(dirname(resolve(result)), "metrics.jsonl"));
  const last = lines.map(valuesOf).findLast(({ validationAccuracy }) => validationAccuracy !== undefined);
  const { validationAccuracy: share, validationPairs: numPairs } = last ?? {};
  if (typeof share !== "number" || !(share >= 0 && share <= 1)) return undefined;
  return { share, ...(Number.isSafeInteger(numPairs) && Number(numPairs) >= 1 ? { numPairs: Number(numPairs) } : {}) };
}

/** Whole lines with their ends; none where there is no file. */
function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").match(/.*\n/g) ?? [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return [];
  }
}

/** Infinity where there is something else than a line of a step. */
const stepOf = (line: string): number => Number(valuesOf(line).step ?? Number.POSITIVE_INFINITY);

/** None where a power failure left something else than a line of a step. */
function valuesOf(line: string): { readonly step?: unknown; readonly validationAccuracy?: unknown; readonly validationPairs?: unknown } {
  try {
    return JSON.parse(line) ?? {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return {};
  }
}
