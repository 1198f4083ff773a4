import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AtomicFile } from "../weights/index.ts";

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
 * Share of the held-out pairs of answers that a run ranked right when it last looked at them.
 *
 * @param result  what the run wrote: its `model.gguf`, `adapter/` or `adapter.gguf`
 * @returns in [0, 1]; undefined where no `metrics.jsonl` stands beside it, or none that compares pairs
 */
export function heldOutAccuracy(result: string): number | undefined {
  const lines = linesOf(join(dirname(resolve(result)), "metrics.jsonl"));
  const found = lines.map((line) => valuesOf(line).validationAccuracy).findLast((accuracy) => accuracy !== undefined);
  return typeof found === "number" && found >= 0 && found <= 1 ? found : undefined;
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
function valuesOf(line: string): { readonly step?: unknown; readonly validationAccuracy?: unknown } {
  try {
    return JSON.parse(line) ?? {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return {};
  }
}
