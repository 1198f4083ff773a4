import { DisposedError, OptionError } from "../errors.ts";
import type { Engine } from "./engine.ts";
import type { Entry, Family } from "./family.ts";
import type { ForwardRequest, ForwardResult, Sequence } from "./sequence.ts";

/** A {@link Sequence} of a model: entries whose keys and values lie in a stream of the cache. */
export class ModelSequence implements Sequence {
  readonly #engine: Engine;
  /** Order in which sequences were made: the last tie-breaker of the plan. */
  readonly id: number;
  /** Adapters of the requests that name none. */
  readonly adapters: NonNullable<ForwardRequest["adapters"]>;
  /** @internal the engine's */
  family: Family;
  /** @internal the engine's; replaced, never shared */
  entries: Entry[] = [];
  /** The last request's tree, until `keep` says which of its rows stay. */
  #tree: { readonly base: number; readonly parents: readonly number[] } | undefined;
  #needsKeep = false;
  #isBusy = false;
  #isDisposed = false;

  constructor(engine: Engine, family: Family, id: number, adapters: NonNullable<ForwardRequest["adapters"]>) {
    this.#engine = engine;
    this.family = family;
    this.id = id;
    this.adapters = adapters;
    family.join(this.entries);
  }

  get length(): number {
    return this.entries.length;
  }

  get vocabSize(): number {
    return this.#engine.model.config.vocabSize;
  }

  get contextLength(): number {
    return this.#engine.contextLength;
  }

  get isDisposed(): boolean {
    return this.#isDisposed;
  }

  async forward(request: ForwardRequest): Promise<ForwardResult> {
    this.#check("forward");
    if (this.#needsKeep)
      throw new OptionError("parents", "the last request was a tree: say with keep() which of its rows stay, or rewind() before it");
    const base = this.length;
    this.#isBusy = true;
    try {
      const { result, parents, isChain } = await this.#engine.evaluate(this, { adapters: this.adapters, ...request });
      this.#tree = { base, parents };
      this.#needsKeep = !isChain;
      return result;
    } finally {
      this.#isBusy = false;
      if (this.#isDisposed) this.#end();
    }
  }

  fork(): ModelSequence {
    if (this.#isDisposed) throw new DisposedError("a sequence");
    if (this.#needsKeep) throw new OptionError("fork", "the last request was a tree: say with keep() which of its rows stay first");
    const copy = this.#engine.join(this.family, this.adapters);
    copy.adopt(this.#isBusy ? this.entries.slice() : this.entries);
    return copy;
  }

  /** @internal shares the entries of another sequence of the same family */
  adopt(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.family.retain(entry.cell);
      this.entries.push(entry);
    }
  }

  rewind(length: number): void {
    this.#check("rewind");
    if (!Number.isInteger(length) || length < 0 || length > this.length)
      throw new RangeError(`rewind: length must be an integer in [0, ${this.length}], got ${length}`);
    if (this.#needsKeep && length > this.#tree!.base) {
      throw new OptionError(
        "rewind",
        `the last request was a tree: keep() chooses among its rows; rewind() may go back to ${this.#tree!.base} or before`,
      );
    }
    this.#engine.rewinding(this, length);
    this.#releaseFrom(length);
    this.#needsKeep = false;
    this.#tree = undefined;
  }

  keep(rows: readonly number[]): void {
    this.#check("keep");
    const tree = this.#tree;
    if (tree === undefined) throw new RangeError("keep: there is no last request whose rows could be kept");
    const { base, parents } = tree;
    rows.forEach((row, index) => {
      if (!Number.isInteger(row) || row < 0 || row >= parents.length)
        throw new RangeError(`keep: no row ${row}; rows are 0 to ${parents.length - 1}`);
      const before = index === 0 ? -1 : rows[index - 1]!;
      if (parents[row] !== before)
        throw new RangeError(`keep: the parent of row ${row} is ${parents[row]}, not ${before}: rows must be a path`);
    });
    const kept = new Set(rows);
    const path = rows.map((row) => this.entries[base + row]!);
    for (let row = 0; row < parents.length; row += 1) if (!kept.has(row)) this.family.release(this.entries[base + row]!.cell);
    this.entries.length = base;
    this.entries.push(...path);
    this.#tree = undefined;
    this.#needsKeep = false;
  }

  async fill(): Promise<void> {
    this.#check("fill");
    this.#isBusy = true;
    try {
      await this.#engine.fill(this);
    } finally {
      this.#isBusy = false;
      if (this.#isDisposed) this.#end();
    }
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#engine.cancel(this);
    if (!this.#isBusy) this.#end();
    // while a pass runs, its cells are given back when it ends (see forward)
  }

  #check(operation: string): void {
    if (this.#isDisposed) throw new DisposedError("a sequence");
    if (this.#isBusy) throw new OptionError(operation, "the sequence is busy with an earlier request: await that first");
  }

  #end(): void {
    this.#engine.ending(this);
    this.#releaseFrom(0);
    this.family.leave(this.entries);
    this.#engine.release(this.family);
  }

  #releaseFrom(length: number): void {
    for (let index = this.entries.length - 1; index >= length; index -= 1) this.family.release(this.entries[index]!.cell);
    this.entries.length = length;
  }
}
