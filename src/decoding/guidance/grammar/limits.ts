import { OptionError } from "../../../errors.ts";

/** Bounds on what a grammar may cost. Every one ends in an OptionError (or a TimeoutError) that names it. */
export interface GrammarLimits {
  /** Wall clock of a compilation, in milliseconds. Default 5000. */
  readonly timeoutMs: number;
  /** Heap of the compiling thread, in MiB. Default 256. */
  readonly memoryMiB: number;
  /** Length of the source text (a schema's as JSON), in UTF-16 units. Default 262,144. */
  readonly maxSourceLength: number;
  /** Nesting of groups, schemas and JSON values in the source. Default 64. */
  readonly maxSourceDepth: number;
  /** States of all automata built on the way, determinized, before minimization. Default 100,000. */
  readonly maxStates: number;
  /** Elementary steps of the compiler: states visited, pairs combined, schemas merged. Default 20,000,000. */
  readonly maxWork: number;
  /** Greatest count in a repetition such as `{3,1000}`, `maxLength` or `maxItems`. Default 1,000,000. */
  readonly maxRepeat: number;
}

export const defaultLimits: GrammarLimits = {
  timeoutMs: 5000,
  memoryMiB: 256,
  maxSourceLength: 262_144,
  maxSourceDepth: 64,
  maxStates: 100_000,
  maxWork: 20_000_000,
  maxRepeat: 1_000_000,
};

/** Counts what one compilation has spent; a hostile grammar ends here, at the same place on every machine. */
export class Budget {
  readonly limits: GrammarLimits;
  #states = 0;
  #work = 0;

  constructor(limits: GrammarLimits) {
    this.limits = limits;
  }

  /** @throws OptionError `maxWork` */
  work(steps: number): void {
    this.#work += steps;
    if (this.#work > this.limits.maxWork) throw new OptionError("maxWork", `the grammar needs more than ${this.limits.maxWork} steps`);
  }

  /** @throws OptionError `maxStates` */
  state(): void {
    if (++this.#states > this.limits.maxStates) {
      throw new OptionError("maxStates", `the grammar needs more than ${this.limits.maxStates} automaton states`);
    }
  }

  /** @throws OptionError `maxSourceDepth` */
  depth(depth: number): void {
    if (depth > this.limits.maxSourceDepth) {
      throw new OptionError("maxSourceDepth", `the source is nested deeper than ${this.limits.maxSourceDepth}`);
    }
  }

  /** @throws OptionError `maxRepeat` */
  repeat(count: number): void {
    if (count !== Number.POSITIVE_INFINITY && count > this.limits.maxRepeat) {
      throw new OptionError("maxRepeat", `a repetition of ${count} is above ${this.limits.maxRepeat}`);
    }
  }
}
