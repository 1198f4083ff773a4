import type { Entry, Family } from "../family.ts";
import { type Holder, type Placement, Scheduler, type SchedulerOptions, type Work } from "../scheduler.ts";
import type { CellStore } from "../streams.ts";
import { gridRows } from "../structure.ts";

// The scheduler over an array, with an arithmetic in the place of a model: what a cell holds tells from which tokens it was computed, after
// what it read in the cell before, and by which kind of pass.

/** A cache whose cells hold one number each. */
class ArrayStore implements CellStore {
  readonly shape: CellStore["shape"];
  readonly values: Float64Array;

  constructor(shape: CellStore["shape"]) {
    this.shape = shape;
    this.values = new Float64Array(shape.streams * shape.cells);
  }

  save(rows: readonly number[]): Uint8Array {
    return new Uint8Array(Float64Array.from(rows, (row) => this.#at(row)).buffer);
  }

  restore(saved: Uint8Array, rows: readonly number[]): void {
    new Float64Array(saved.buffer).forEach((value, index) => {
      this.#at(rows[index]!);
      this.values[rows[index]!] = value;
    });
  }

  copyRows(from: readonly number[], to: readonly number[]): void {
    this.restore(this.save(from), to);
  }

  #at(row: number): number {
    const value = this.values[row];
    if (value === undefined) throw new RangeError(`no row ${row}`);
    return value;
  }
}

/** Mixes numbers to one in [0, 2^32). */
function mix(...values: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const value of values) {
    hash = Math.imul(hash ^ value, 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    hash ^= hash >>> 13;
  }
  return hash >>> 0;
}

/** How a row is computed: on the backend for prompts at places of the grid, there at any other (then it may matter where), or on the other one. */
type Way = readonly number[];

/** A sequence as a strategy holds it, with what its cells must hold. */
export class ModelSequence implements Holder {
  family: Family;
  readonly entries: Entry[] = [];
  /** What the cells must hold, whatever else was served. */
  readonly expected: number[] = [];
  job: ModelJob | undefined;

  constructor(
    readonly id: number,
    family: Family,
    readonly root: number,
  ) {
    family.isShared ||= family.memberCount > 0;
    this.family = family;
    family.join(this.entries);
  }
}

export interface ModelJob extends Work {
  readonly sequence: ModelSequence;
  readonly expected: readonly number[];
  readonly queuedAt: number;
  /** Rows that passes computed, of which there can be results. */
  readonly computed: Set<number>;
}

export interface Ask {
  readonly tokens: readonly number[];
  readonly skipped?: readonly string[];
  readonly wantsAll?: boolean;
}

export class SchedulerModel {
  readonly scheduler: Scheduler<ModelJob>;
  readonly store: ArrayStore;
  readonly #options: SchedulerOptions;
  readonly live: ModelSequence[] = [];
  finished = 0;
  cancelled = 0;
  asked = 0;
  step = 0;
  #sequences = 0;

  constructor(shape: CellStore["shape"], options: SchedulerOptions) {
    this.#options = options;
    this.store = new ArrayStore(shape);
    this.scheduler = new Scheduler(this.store, options);
  }

  open(priority: number, tenant: string): ModelSequence {
    return this.#join(this.scheduler.family(priority, tenant), mix(tenant.length));
  }

  #join(family: Family, root: number): ModelSequence {
    this.#sequences += 1;
    const sequence = new ModelSequence(this.#sequences, family, root);
    this.live.push(sequence);
    return sequence;
  }

  ask(sequence: ModelSequence, { tokens, skipped = [], wantsAll = false }: Ask): ModelJob {
    const base = sequence.entries.length;
    const rows = tokens.length;
    this.asked += 1;
    const job: ModelJob = {
      ...{ id: this.asked, sequence, base, rows: [], arrival: sequence.family.group, since: 0, reusedRows: 0, seenVersion: undefined },
      request: {
        ...{ rows, contents: tokens, positions: tokens.map((_, row) => base + row), sees: new Array(rows).fill(undefined) },
        ...{ isChain: true, isWhole: false, logitRows: wantsAll ? tokens.map((_, row) => row) : [rows - 1], hiddenRows: [], skipped },
        ...{ rule: undefined, decides: [], taps: [], exits: [], adapters: [], original: {} },
      },
      expected: this.#solo(sequence, tokens, skipped),
      queuedAt: this.step,
      computed: new Set(),
    };
    sequence.job = job;
    this.scheduler.add(job);
    return job;
  }

  /** What a request's cells hold where nothing else is served: by the engine's rule for dividing a request, written down once more. */
  #solo(sequence: ModelSequence, tokens: readonly number[], skipped: readonly string[]): number[] {
    const { strict, chunkRows } = this.#options;
    const base = sequence.entries.length;
    const values: number[] = [];
    while (values.length < tokens.length) {
      const at = base + values.length;
      let rows = Math.min(tokens.length - values.length, chunkRows - (at % chunkRows));
      let way: Way = [0];
      if (!strict && !sequence.family.isShared && rows >= gridRows) {
        if (at % gridRows === 0) rows -= rows % gridRows;
        way = at % gridRows === 0 ? [1] : [2, at, rows];
      }
      for (let row = 0; row < rows; row += 1) {
        const before = values.at(-1) ?? sequence.expected.at(-1) ?? sequence.root;
        values.push(mix(before, tokens[values.length]!, skipped.length, ...way));
      }
    }
    return values;
  }

  cancel(sequence: ModelSequence): void {
    const { job } = sequence;
    if (job === undefined || !this.scheduler.remove(job)) return;
    this.scheduler.abandon(job);
    sequence.job = undefined;
    this.cancelled += 1;
  }

  fork(sequence: ModelSequence): void {
    if (sequence.job !== undefined) return;
    const copy = this.#join(sequence.family, sequence.root);
    for (const entry of sequence.entries) {
      copy.family.retain(entry.cell);
      copy.entries.push(entry);
    }
    copy.expected.push(...sequence.expected);
  }

  rewind(sequence: ModelSequence, length: number): void {
    if (sequence.job !== undefined) return;
    this.scheduler.rewinding(sequence, length);
    this.#release(sequence, length);
  }

  dispose(sequence: ModelSequence): void {
    this.cancel(sequence);
    this.scheduler.ending(sequence);
    this.#release(sequence, 0);
    sequence.family.leave(sequence.entries);
    this.scheduler.release(sequence.family);
    this.live.splice(this.live.indexOf(sequence), 1);
  }

  #release(sequence: ModelSequence, length: number): void {
    for (const { cell } of sequence.entries.splice(length)) sequence.family.release(cell);
    sequence.expected.length = length;
  }

  /** One step of the engine, on this arithmetic. Returns the jobs that ended. */
  run(): ModelJob[] {
    this.step += 1;
    const { passes, chunks } = this.scheduler.begin();
    const ended: ModelJob[] = [];
    let hasRun = false;
    for (const planned of passes) {
      const placed = this.scheduler.place(planned);
      hasRun ||= placed !== undefined;
      if (placed !== undefined) ended.push(...this.#compute(placed));
    }
    for (const planned of chunks) {
      const placed = this.scheduler.place(planned);
      if (placed === undefined) continue;
      hasRun = true;
      ended.push(...this.#compute(placed));
      break;
    }
    if (!hasRun && this.scheduler.queuedCount > 0) throw new Error("nobody could be given a stream");
    for (const job of ended) {
      this.scheduler.finish(job);
      job.sequence.expected.push(...job.expected);
      job.sequence.job = undefined;
      this.finished += 1;
    }
    return ended;
  }

  #compute(placed: Placement<ModelJob>): ModelJob[] {
    const { parts, families, first, width, rows, backend } = placed;
    if (parts.length === 0) return [];
    const { cells } = this.store.shape;
    if (new Set(families.map(({ slot }) => slot)).size !== families.length) throw new Error("two families in one stream");
    for (const { slot } of families)
      if (slot === undefined || slot < first || slot >= first + width) throw new Error("a stream outside its pass");
    for (const list of parts) {
      if (list.reduce((sum, { entries }) => sum + entries.length, 0) > rows) throw new Error("more rows than the pass has");
      for (const { job, from, entries } of list) {
        const { sequence, request } = job;
        const base = sequence.family.slot! * cells;
        const at = job.base + from;
        // on the prompt's backend it may matter where cells lie: alone a sequence has them from the stream's first on
        const shift = entries[0]!.cell - at;
        const way: Way = backend === "invariant" ? [0] : at % gridRows === 0 ? [1 + shift] : [2 + shift, at, entries.length];
        let last = (job.rows.at(-1) ?? sequence.entries.at(-1))?.cell;
        for (const { cell, content } of entries) {
          if (last !== undefined && cell <= last) throw new Error("cells that do not ascend");
          const before = last === undefined ? sequence.root : this.store.values[base + last]!;
          this.store.values[base + cell] = mix(before, content as number, request.skipped.length, ...way);
          last = cell;
        }
        for (const index of entries.keys()) job.computed.add(from + index);
      }
    }
    this.scheduler.commit(placed);
    return parts.flat().flatMap(({ job }) => (job.rows.length === job.request.rows ? [job] : []));
  }

  /** What a sequence's cells hold now, in the cache or put aside. */
  contentOf({ family, entries }: ModelSequence): number[] {
    if (family.slot !== undefined) return entries.map(({ cell }) => this.store.values[family.slot! * this.store.shape.cells + cell]!);
    if (family.saved === undefined) return [];
    const saved = new Float64Array(family.saved.bytes.buffer);
    const at = new Map(family.saved.cells.map((cell, index) => [cell, index]));
    return entries.map(({ cell }) => saved[at.get(cell)!]!);
  }
}
