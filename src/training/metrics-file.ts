import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
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

/** Whole lines with their ends; none where there is no file. */
function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").match(/.*\n/g) ?? [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return [];
  }
}

/** Infinity where a power failure left something else than a line of a step. */
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as { readonly step: number }).step;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return Number.POSITIVE_INFINITY;
  }
}
